"""What `import ired_interp as ii` offers: everything at run time and to type checkers, and nothing before it is used."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import ired_interp as ii

pytestmark = pytest.mark.process

HEAVY = ("torch", "lightning", "numpy", "xarray", "jsonargparse", "matplotlib")


def test_import_costs_nothing() -> None:
    script = f"import sys, ired_interp; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", ii.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(ii, name) is not None
    assert name in dir(ii)


def test_names_are_those_that_they_stand_for() -> None:
    from ired_interp.errors import InputError
    from ired_interp.results import open_results

    assert ii.InputError is InputError
    assert issubclass(ii.InputError, ValueError)
    assert ii.open is open_results
    assert inspect.ismodule(ii.probes)
    assert ii.probe is ii.probes.probe
    with pytest.raises(AttributeError, match="nothing"):
        ii.nothing  # noqa: B018


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(ii.__file__).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    static = {alias.asname or alias.name for node in block.body for alias in node.names}
    assert static | {"__version__"} == set(ii.__all__)
    assert (Path(ii.__file__).parent / "py.typed").is_file()
