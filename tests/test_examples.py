"""The examples in docstrings run and show what they say."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import ired_interp

ROOT = Path(ired_interp.__file__).parent
FILES = [file for file in sorted(ROOT.rglob("*.py")) if "\n    >>> " in file.read_text()]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_examples(file: Path) -> None:
    module = import_module(".".join(("ired_interp", *file.relative_to(ROOT).with_suffix("").parts)))
    found = doctest.testmod(module)
    assert found.attempted
    assert found.failed == 0
