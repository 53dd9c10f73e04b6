"""The code's imports are those that docs/architecture.md allows, from the ground up, without circles."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple

import pytest

from conftest import ROOT
from ired_interp.cli import COMMANDS

PACKAGE = "ired_interp"
SOURCE = ROOT / "src" / PACKAGE


class Row(NamedTuple):
    """A row of the table: what a part may import, and libraries it must not load."""

    part: str
    allowed: frozenset[str]
    libraries: frozenset[str]


class Import(NamedTuple):
    """One imported module, and whether importing the file imports it, too."""

    name: str
    at_once: bool


def table() -> list[Row]:
    rows = []
    for line in (ROOT / "docs" / "architecture.md").read_text().splitlines():
        if match := re.fullmatch(r"\| `(\w+)` \|[^|]+\|([^|]*)\|([^|]*)\|", line):
            part, allowed, libraries = match.groups()
            rows.append(
                Row(part, *(frozenset(re.findall(r"\w+", c)) for c in (allowed, libraries)))
            )
    return rows


@cache
def modules() -> dict[str, list[Import]]:
    """What every file imports, by its module's name."""
    files = {}
    for file in SOURCE.rglob("*.py"):
        parts = [PACKAGE, *file.relative_to(SOURCE).with_suffix("").parts]
        files[".".join(parts).removesuffix(".__init__")] = file
    return {name: list(imports(file.read_text(), set(files))) for name, file in files.items()}


def imports(text: str, known: set[str]) -> Iterator[Import]:
    tree = ast.parse(text)
    later = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where they lead"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in known else str(node.module) for name in inner]
        else:
            continue
        yield from (Import(name, id(node) not in later) for name in names)


def part(module: str) -> str:
    """The row that a module belongs to; "" for the package itself."""
    return module.split(".")[1] if "." in module else ""


def own(module: str) -> bool:
    return module == PACKAGE or module.startswith(f"{PACKAGE}.")


@cache
def reached(name: str, at_once: bool) -> frozenset[str]:
    """Every module that importing a part (at once, or ever) leads to, with where it came from."""
    found: set[str] = set()
    waiting = [module for module in modules() if part(module) == name]
    while waiting:
        module = waiting.pop()
        if module in found:
            continue
        found.add(module)
        if own(module):
            if module != PACKAGE or at_once:  # which names every part, and imports it when asked
                waiting += [i.name for i in modules().get(module, []) if i.at_once or not at_once]
            if "." in module:
                waiting.append(module.rpartition(".")[0])
    return frozenset(found)


def test_the_table_has_a_row_for_every_part():
    assert sorted(row.part for row in table()) == sorted({part(m) for m in modules()} - {""})


@pytest.mark.parametrize("row", table(), ids=lambda row: row.part)
def test_a_part_may_import_only_parts_above_it_in_the_table(row: Row):
    order = [other.part for other in table()]
    below = set(order[: order.index(row.part)])
    assert row.allowed <= below, f"{row.part} may not import {sorted(row.allowed - below)}"


@pytest.mark.parametrize("row", table(), ids=lambda row: row.part)
def test_a_part_imports_what_its_row_allows(row: Row):
    wrong = {
        f"{module} imports {i.name}"
        for module, found in modules().items()
        if part(module) == row.part
        for i in found
        if own(i.name) and i.name != PACKAGE and part(i.name) not in {row.part, *row.allowed}
    }
    assert not wrong


@pytest.mark.parametrize("row", [r for r in table() if r.libraries], ids=lambda row: row.part)
def test_importing_a_part_does_not_load_the_libraries_of_its_row(row: Row):
    loaded = {module.split(".")[0] for module in reached(row.part, True) if not own(module)}
    assert not loaded & row.libraries


@pytest.mark.parametrize(
    ("name", "never"),
    [
        ("cluster", {"commands", "rehearsal", "module", "energy", "tasks", "probes"}),
        ("results", {"probes", "module", "tasks"}),
        ("probes", {"callbacks", "commands", "report", "results"}),
        ("module", {"probes", "callbacks", "results"}),
        ("energy", {"module", "tasks", "probes"}),
        ("report", {"probes", "module", "tasks", "evaluation"}),
        ("spectra", {"energy", "diffusion", "tasks", "module", "probes", "results"}),
        ("geometry", {"energy", "diffusion", "tasks", "module", "probes", "results"}),
        ("callbacks", {"commands", "cluster"}),
    ],
)
def test_whatever_the_table_says_some_parts_never_lead_to_others(name: str, never: set[str]):
    led = {part(module) for module in reached(name, False) if own(module)}
    assert not led & never


def test_no_file_imports_itself_by_way_of_others():
    graph = {m: {i.name for i in found if own(i.name)} - {m} for m, found in modules().items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        pytest.fail(" -> ".join(circle.args[1]))


def test_the_program_starts_commands_and_nothing_else():
    assert {part(command.module) for command in COMMANDS.values()} == {"commands"}
    assert all(command.module in modules() for command in COMMANDS.values())


def test_imports_inside_functions_and_for_types_count_but_not_at_once():
    text = (
        "import numpy\nfrom ired_interp import probes\nfrom ired_interp.errors import InputError\n"
        "if TYPE_CHECKING:\n    import torch\ndef f():\n    from ired_interp.probes import Probe\n"
    )
    assert list(imports(text, {"ired_interp.probes"})) == [
        Import("numpy", True),
        Import("ired_interp.probes", True),
        Import("ired_interp.errors", True),
        Import("torch", False),
        Import("ired_interp.probes", False),
    ]
