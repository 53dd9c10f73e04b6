"""`ired export`: results as CSV or Parquet tables."""

from pathlib import Path
from typing import Literal

from ired_interp.commands.options import CommandParser
from ired_interp.errors import InputError
from ired_interp.terminal import log, track


def main(command: str, arguments: list[str]) -> int:
    """Run the command.

    Raises
    ------
    InputError
        If the output is no folder, or the run is none.
    """
    parser = CommandParser(
        prog="ired export",
        description=(
            "Write every result of a run as tables, one folder a result, one file a set "
            "of dimensions."
        ),
    )
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("--format", choices=["csv", "parquet"], default="csv")
    parser.add_argument(
        "--output", metavar="DIR", help="where to (default: tables/ in the run's folder)"
    )
    options = parser.parse_args(arguments)
    if options.output and Path(options.output).exists() and not Path(options.output).is_dir():
        raise InputError(f"--output {options.output} is no folder; name a folder for tables.")
    _export(options.run, options.format, options.output)
    return 0


def _export(run: str, kind: Literal["csv", "parquet"], output: str | None) -> None:
    from ired_interp.results import export, open_results

    opened = open_results(run)
    if choice := opened.checkpoint:
        log(choice.sentence())
    folder = Path(output) if output else opened.path / "tables"
    count = 0
    for series in track(opened.series, "export"):
        for step, path in series.files.items():
            count += len(export(series.at(step), folder / series.probe / path.stem, kind))
    for sentence in opened.skipped:
        log(f"left out: {sentence}")
    print(f"{count} tables written to {folder}")
