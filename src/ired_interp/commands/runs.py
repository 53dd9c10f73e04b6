"""`ired runs`: what there is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ired_interp.commands.options import CommandParser
from ired_interp.errors import InputError
from ired_interp.terminal import render

if TYPE_CHECKING:
    from ired_interp.results import Run

_HEADINGS = (
    "run",
    "state",
    "step",
    "error, same",
    "error, harder",
    "validation",
    "checkpoint",
    "results",
)


def main(command: str, arguments: list[str]) -> int:
    """Run the command.

    Raises
    ------
    InputError
        If the folder does not exist.
    """
    parser = CommandParser(
        prog="ired runs",
        description="List runs with their state, last step, validation errors and whether these "
        "collapsed, the checkpoint that a run means, and results.",
    )
    parser.add_argument(
        "folder", nargs="?", default="runs", help="where runs are kept (default: runs)"
    )
    folder = Path(parser.parse_args(arguments).folder)
    if not folder.is_dir():
        raise InputError(
            f"{folder} is no folder; name the folder that `ired fit` wrote its runs to."
        )
    print(_table(folder), end="")
    return 0


def _table(folder: Path) -> str:
    from rich.table import Table

    from ired_interp.results import find_runs
    from ired_interp.results.state import state

    table = Table()
    for heading in _HEADINGS:
        table.add_column(heading, overflow="fold")
    runs = find_runs(folder)
    for run in runs:
        table.add_row(str(run.path), state(run), *_columns(run))
    return render(table) if runs else f"no runs in {folder}\n"


def _columns(run: Run) -> list[str]:
    from ired_interp.results.validation import read_validation

    metrics = run.metrics()
    last = {name: value for _, values in sorted(metrics.items()) for name, value in values.items()}
    errors = [
        f"{last[key]:.4g}" if (key := f"val/error/{v}") in last else "–" for v in ("same", "harder")
    ]
    files = run.result_files()
    names = sorted({file.parent.name for file in files})
    counts = [_count(name, [file for file in files if file.parent.name == name]) for name in names]
    step = str(max(metrics)) if metrics else "–"
    validation = read_validation(run)
    return [
        step,
        *errors,
        "–" if validation is None else "; ".join(validation.marks()) or "ok",
        _checkpoint(run),
        ", ".join(counts) or "–",
    ]


def _count(name: str, files: list[Path]) -> str:
    from ired_interp.results.store import is_failed

    failed = sum(map(is_failed, files))
    done = len(files) - failed
    return f"{name} ({done}, {failed} failed)" if failed else f"{name} ({done})"


def _checkpoint(run: Run) -> str:
    from ired_interp.results.choice import choice_of

    choice = choice_of(run)
    if choice is None:
        return "no"
    return "last" if choice.step is None else f"best at {choice.step}"
