"""`ired report`: one page for the browser about one or more runs, and their figures for a paper."""

from pathlib import Path

from ired_interp.commands.options import CommandParser
from ired_interp.errors import InputError
from ired_interp.terminal import log


def main(command: str, arguments: list[str]) -> int:
    """Run the command.

    Raises
    ------
    InputError
        If the page would be a folder, or a run is none.
    """
    parser = CommandParser(
        prog="ired report",
        description="Write one self-contained HTML page about runs; print its verdict and path.",
    )
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="run folders, or a study's folder for all of its runs and what it found; runs that "
        "differ in their seed alone are shown as one, with spread",
    )
    parser.add_argument(
        "--output", metavar="FILE", help="the page (default: report.html in the first run's folder)"
    )
    parser.add_argument(
        "--figures",
        metavar="DIR",
        help="also write every figure as PNG, SVG and PDF, with captions and numbers",
    )
    options = parser.parse_args(arguments)
    if options.output and Path(options.output).is_dir():
        raise InputError(f"--output {options.output} is a folder; name a file for the page.")
    _write(options.runs, options.output, options.figures)
    return 0


def _write(runs: list[str], output: str | None, figures: str | None) -> None:
    from ired_interp.report import gather, save_figures, write_page
    from ired_interp.results import find_runs, open_results
    from ired_interp.results.statement import read_findings
    from ired_interp.user_modules import import_configured

    studies = {path: own for path in runs if (own := read_findings(Path(path)))}
    paths = [
        one
        for path in runs
        for one in (sorted(r.path for r in find_runs(Path(path))) if path in studies else [path])
    ]
    opened = [open_results(path) for path in dict.fromkeys(map(Path, paths))]
    for run in opened:
        if choice := run.checkpoint:
            log(f"{run.name}: {choice.sentence()}")
    unknown = [sentence for run in opened for sentence in import_configured(run)]
    report = gather(opened, [one for own in studies.values() for one in own])
    for sentence in [*dict.fromkeys(unknown), *report.skipped]:
        log(f"left out: {sentence}")
    for study in report.studies:
        log(study.question)
        for statement in study.statements:
            log(f"{statement.title}: {' '.join(statement.summary)}")
    for answer in report.answers:
        for group, sentence in answer.sentences:
            log(f"{answer.question} {group.name}: {sentence}")
        if not answer.sentences:
            log(f"{answer.question} {answer.missing}")
    page = Path(output) if output else Path(runs[0]) / "report.html"
    if figures:
        log(f"{len(save_figures(report, Path(figures)))} files written to {figures}")
    print(write_page(report, page).absolute())
