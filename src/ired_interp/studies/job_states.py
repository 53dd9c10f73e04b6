"""What jobs have made of a study: each step matched with the newest job that is to make it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ired_interp.cluster.efficiency import seconds_used
from ired_interp.cluster.site import Site
from ired_interp.cluster.slurm import UNREACHABLE, JobState
from ired_interp.cluster.submission import Submission, SubmittedTask, submissions, task_states
from ired_interp.cluster.transfer import fetch
from ired_interp.results.run import Run
from ired_interp.results.state import STATE, trained
from ired_interp.shipped import shipped
from ired_interp.studies.cell import Cell, Step
from ired_interp.studies.record import Record
from ired_interp.studies.study import Study

Key = tuple[Path, Step]  # a run, and what is done to it


@dataclass(frozen=True)
class Making:
    """The job of a step that is not done, and what becomes of it.

    Attributes
    ----------
    submission, task
        As they are recorded.
    state : JobState
        Now.
    """

    submission: Submission
    task: SubmittedTask
    state: JobState

    @property
    def open(self) -> bool:
        """Whether the job may yet make the step."""
        return not self.state.ended

    def __str__(self) -> str:
        word = "not known" if self.state.word == UNREACHABLE else self.state.word.lower()
        return f"job {self.task.job}: {word}" if self.task.job else f"a job that is {word}"


def run_on(site: Site, cell: Cell) -> str:
    """Return where a cell's run lies on the cluster."""
    return str(Path(site.folder) / cell.run.path)


def command_on(site: Site, cell: Cell, step: Step) -> tuple[str, ...]:
    """Return the arguments of `ired` that make a step there from nothing."""
    there = Cell(cell.label, cell.seed, Run(Path(run_on(site, cell))), cell.configs, cell.steps)
    return tuple(_by_name(word) for word in there.command_line(step))


def settle(study: Study, site: Site, records: Mapping[Path, Record]) -> dict[Key, Making]:
    """Note what jobs have made, bring it here, and return the jobs of what is not made yet.

    Parameters
    ----------
    study : Study
        Which one.
    site : Site
        Where its jobs are.
    records : Mapping[Path, Record]
        Of its cells, by the path of the run.

    Returns
    -------
    dict
        (Run, step) → its newest job, which waits, runs or has failed, or of which SLURM could not
        be asked.
    """
    jobs = _jobs(study, site)
    missing = {}
    for cell in study.cells:
        record = records[cell.run.path]
        for step in record.remaining():
            making = jobs.get((cell.run.path, step))
            if making is None:
                record.take_back(step)
            elif making.state.word == "COMPLETED" or (
                step.command == "fit" and making.state.failed and _is_trained(site, cell)
            ):
                _bring(site, cell)
                if cell.run.config.is_file():
                    used = seconds_used(site.host, making.submission, making.task)
                    seconds = trained(cell.run)[0] if step.command == "fit" else used
                    record.add(step, seconds, ended=True)
            else:
                missing[cell.run.path, step] = making
                if not making.open:
                    record.take_back(step)
    return missing


def _jobs(study: Study, site: Site) -> dict[Key, Making]:
    of_run: dict[str | None, list[tuple[Submission, SubmittedTask]]] = {}
    for one in submissions(site.host, site.folder):
        for task in one.tasks:
            of_run.setdefault(task.run, []).append((one, task))
    found = {}
    for cell in study.cells:
        pairs = of_run.get(run_on(site, cell), [])
        begun = max((one.time for one, task in pairs if task.arguments[0] == "fit"), default=0.0)
        for step in cell.steps:
            wanted = command_on(site, cell, step)
            for one, task in pairs:  # oldest first; what was done to an earlier training is gone
                if one.time >= begun and _makes(task, step, wanted):
                    found[cell.run.path, step] = one, task
    states = task_states(site.host, list(found.values()))
    return {key: Making(one, task, states[task]) for key, (one, task) in found.items()}


def _makes(task: SubmittedTask, step: Step, wanted: tuple[str, ...]) -> bool:
    if step.command == "fit":
        return task.arguments[0] == "fit"
    return task.arguments[: len(wanted)] == wanted


def _is_trained(site: Site, cell: Cell) -> bool:
    """Whether a training had done all its steps when its job failed."""
    kept = site.host.read(f"{run_on(site, cell)}/{STATE}") or ""
    return '"state": "done"' in kept


def _bring(site: Site, cell: Cell) -> None:
    if site.host.address is not None:
        here = cell.run.path.parent.parent
        fetch(site.host, run_on(site, cell), here, str(Path(site.folder) / here))


def _by_name(word: str) -> str:
    """Return a shipped file by the name that it has on every machine."""
    if Path(word).is_absolute() and Path(word).is_relative_to(shipped("")):
        return Path(word).relative_to(shipped("")).as_posix()
    return word
