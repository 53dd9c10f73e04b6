"""`python -m ired_interp.cluster.rehearsal`, as the preflight starts it inside a fresh clone."""

import sys

from ired_interp.cluster.rehearsal.rehearse import main

sys.exit(main())
