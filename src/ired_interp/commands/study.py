"""`ired study`: a grid of trainings, what is measured of them, and the table that answers."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from ired_interp.commands.options import CommandParser
from ired_interp.errors import InputError, RunError
from ired_interp.terminal import duration

if TYPE_CHECKING:
    from ired_interp.studies import Study


def main(command: str, arguments: list[str]) -> int:
    """Run the command.

    Raises
    ------
    InputError
        If the study's file or an option is not valid.
    RunError
        If some of its steps failed.
    """
    parser = CommandParser(
        prog="ired study",
        description="Make what a study's file asks for and is not there yet: trainings at every "
        "place of its grid, tests, measurements; then print its answers and errors. Interrupted, "
        "it goes on where it was; run again, it does nothing.",
    )
    parser.add_argument("file", help="the study: a YAML file, or the name of one that is shipped")
    parser.add_argument("--runs", default="runs", help="where runs are kept (default: runs)")
    parser.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="cells at a time (default: one for each GPU, else one)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="list what would be done, and do nothing"
    )
    parser.add_argument(
        "--answers",
        action="store_true",
        help="make nothing: answer from the runs that are there, as those of others",
    )
    parser.add_argument(
        "--profile",
        metavar="NAME",
        help="queue it on a SLURM cluster instead: a file of slurm/profiles/",
    )
    options = parser.parse_args(arguments)
    if options.jobs is not None and options.jobs < 1:
        raise InputError(f"--jobs {options.jobs}; expected at least 1.")
    if options.answers and (options.dry_run or options.profile or options.jobs):
        raise InputError(
            "--answers makes nothing, so that --dry-run, --profile and --jobs have no meaning; "
            "leave them out."
        )
    if options.profile is not None:
        from ired_interp.commands.study_jobs import on_cluster

        return on_cluster(options)
    from ired_interp.commands.study_page import write_page
    from ired_interp.studies import read_study, run_study

    study = read_study(options.file, Path(options.runs))
    if options.dry_run:
        print(_listing(study), end="")
        return 0
    if options.answers:
        return _answer(study, options.file, options.runs)
    _settle(study, options.runs)
    devices = _devices()
    outcomes = run_study(study, options.jobs or max(1, len(devices)), devices)
    write_page(study, f"ired study {options.file}")
    failed = [outcome for outcome in outcomes if outcome.fault]
    if failed:
        raise RunError(
            f"{len(failed)} of {len(outcomes)} cells are not done, the first "
            f"{failed[0].cell.run.path}: {failed[0].fault}; run the command again to try again."
        )
    return 0


def _answer(study: Study, file: str, runs: str) -> int:
    """Answer from the runs that are there.

    Raises
    ------
    InputError
        If there are none.
    """
    from ired_interp.commands.study_page import write_page

    if not any(cell.run.config.is_file() for cell in study.cells):
        raise InputError(
            f"{study.folder} holds none of the study's runs; name the folder above it by --runs."
        )
    write_page(study, f"ired study {file} --runs {runs} --answers")
    return 0


def _settle(study: Study, runs: str) -> None:
    """Ask what became of the steps that are left to jobs of a cluster."""
    from ired_interp.studies import Record

    records = [(Record(cell), cell.steps) for cell in study.cells]
    left = {record.left_to(step) for record, steps in records for step in steps}
    for profile in sorted(filter(None, left)):
        from ired_interp.commands.study_jobs import settle_jobs

        settle_jobs(study, runs, profile)


def _listing(study: Study) -> str:
    from ired_interp.studies import Record

    lines = []
    for cell in study.cells:
        record = Record(cell)
        remaining = record.remaining()
        for step in cell.steps:
            seconds = None if step in remaining else record.seconds(step)
            mark = "to do" if seconds is None else f"done in {duration(seconds)}"
            if seconds is None and (profile := record.left_to(step)):
                mark = f"left to a job of profile {profile}"
            lines.append(f"[{mark}] {shlex.join(['ired', *cell.command_line(step)])}\n")
    return "".join(lines)


def _devices() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    count = torch.cuda.device_count()
    given = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return given[:count] if given else [str(number) for number in range(count)]
