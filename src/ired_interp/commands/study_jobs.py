"""`ired study --profile`: the same study as arrays of jobs on a SLURM cluster."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ired_interp.cluster.follow import describe
from ired_interp.cluster.host import connect
from ired_interp.cluster.job import project_profile
from ired_interp.cluster.preflight import Preflight
from ired_interp.cluster.repository import find_repository
from ired_interp.cluster.site import Site
from ired_interp.cluster.submission import folder_on
from ired_interp.cluster.symptoms import diagnose
from ired_interp.commands.study_page import write_page
from ired_interp.commands.submit import prepare_environment, show_check
from ired_interp.errors import InputError
from ired_interp.studies import Arrays, Record, Study, alone, read_study, settle
from ired_interp.terminal import duration, log


def on_cluster(options: argparse.Namespace) -> int:
    """Queue what a study lacks, and print its table as far as it goes.

    Raises
    ------
    InputError
        If an option does not fit the profile, or SLURM refuses a job.
    """
    if options.jobs is not None:
        raise InputError(
            "--jobs is for this machine; of an array, the profile's array_limit says how many "
            "tasks run at a time."
        )
    with _site(options.profile) as site:
        study = read_study(options.file, _runs(site, options.runs))
        if options.dry_run:
            print("".join(_listing(_arrays(study, site))), end="")
            return 0
        with alone(study):
            arrays = _arrays(study, site)
            _explain(arrays)
            if not _queue(arrays):
                return 2
        write_page(study, f"ired study {options.file} --profile {options.profile}")
        log(_summary(arrays))
    return 0


def settle_jobs(study: Study, runs: str, profile: str) -> None:
    """Note what the jobs of a profile have made of a study that lies in `runs`."""
    with _site(profile) as site:
        there = _runs(site, runs)
        if there.absolute() == study.cells[0].run.path.parent.parent.absolute():
            settle(study, site, _records(study))


@contextmanager
def _site(name: str) -> Iterator[Site]:
    repository = find_repository(Path.cwd())
    profile = project_profile(repository, name, {})
    with connect(profile) as host:
        yield Site(host, profile, repository, folder_on(host, profile, str(Path.cwd())))


def _runs(site: Site, runs: str) -> Path:
    """Return the folder that keeps runs: the cluster's where it is on this machine.

    Raises
    ------
    InputError
        If it could not be at the same place on another machine.
    """
    if site.host.address is None:
        return Path(runs) if site.profile.folder is None else Path(site.folder) / runs
    if Path(runs).is_absolute():
        raise InputError(
            f"--runs {runs} is absolute, but {site.host.name} has folders of its own; name one "
            "below the current folder."
        )
    return Path(runs)


def _records(study: Study) -> dict[Path, Record]:
    return {cell.run.path: Record(cell) for cell in study.cells}


def _arrays(study: Study, site: Site) -> Arrays:
    records = _records(study)
    return Arrays(study, site, records, settle(study, site, records))


def _listing(arrays: Arrays) -> Iterator[str]:
    for cell in arrays.study.cells:
        record = arrays.records[cell.run.path]
        lacking, remaining = arrays.lacks(cell), record.remaining()
        for step in cell.steps:
            if step in lacking:
                mark = "to queue"
            elif step in remaining:
                mark = str(arrays.jobs[cell.run.path, step])
            else:
                mark = f"done in {duration(record.seconds(step) or 0.0)}"
            yield f"[{mark}] {shlex.join(['ired', *cell.command_line(step)])}\n"


def _explain(arrays: Arrays) -> None:
    """Say why jobs failed."""
    for cell in arrays.study.cells:
        for step in cell.steps:
            making = arrays.jobs.get((cell.run.path, step))
            if making is None or making.open:
                continue
            cause = diagnose(making.state, arrays.site.host.tail(making.task.log))
            log(f"{cell.label}, seed {cell.seed}: {step.command} ({making}); {describe(cause)}")


def _queue(arrays: Arrays) -> bool:
    """Check and queue what is lacking; whether all checks went well."""
    tasks = arrays.rehearsed()
    if not tasks:
        return True
    preflight = Preflight(arrays.site, tasks, to_come=arrays.to_come())
    shown = [show_check(check) for check in preflight.checks()]
    if not all(shown):
        log("nothing was queued")
        return False
    prepare_environment(arrays.site)
    for submission, chain in arrays.queue():
        count = len(submission.tasks)
        log(
            f"queued job {submission.job} {submission.name}, {count} task{'s'[: count > 1]}"
            + (f", which waits for {chain}" if chain.jobs else "")
        )
    return True


def _summary(arrays: Arrays) -> str:
    cells = arrays.study.cells
    steps = [(arrays.records[cell.run.path], step) for cell in cells for step in cell.steps]
    left = sum(record.left_to(step) is not None for record, step in steps)
    if not left:
        return f"all {len(steps)} steps are done"
    return (
        f"{left} of {len(steps)} steps are left to jobs (`ired status` shows them); the same "
        "command goes on with what is missing then, and prints the table"
    )
