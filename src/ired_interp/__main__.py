"""`python -m ired_interp`: the program `ired` of this very interpreter."""

from ired_interp.cli import main

raise SystemExit(main())
