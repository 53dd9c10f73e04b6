"""Queue what a study lacks: arrays of trainings, and behind them arrays of what follows each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ired_interp.cluster.assignment import assign_runs
from ired_interp.cluster.chain import Chain
from ired_interp.cluster.queueing import job_folder, queue
from ired_interp.cluster.site import Site
from ired_interp.cluster.slurm import largest_array
from ired_interp.cluster.submission import Submission
from ired_interp.cluster.tasks import JobTask
from ired_interp.errors import InputError
from ired_interp.files import take_lock
from ired_interp.results.state import state
from ired_interp.studies.cell import Cell, Step
from ired_interp.studies.job_states import Key, Making, command_on, run_on
from ired_interp.studies.record import Record
from ired_interp.studies.study import Study

_Place = tuple[Submission, int]  # a job that trains a cell, and the cell's index in it


@contextmanager
def alone(study: Study) -> Iterator[None]:
    """Let no other process queue anything of a study while the block does.

    Raises
    ------
    InputError
        If another one does, or it could not be told.
    """
    folder = study.cells[0].run.path.parent / ".study"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as file:
        try:
            mine = take_lock(file)
        except OSError as error:
            raise InputError(
                f"{folder} lies on a file system without locks ({error.strerror}), so that two "
                "`ired study` could queue the same jobs; name another place by --runs."
            ) from None
        if not mine:
            raise InputError(
                f"another `ired study` queues the jobs of {study.name} at this moment; wait for it."
            )
        yield


@dataclass
class Arrays:
    """What a study lacks and no job makes, and how it is queued.

    Attributes
    ----------
    study : Study
        Which one.
    site : Site
        The cluster.
    records : Mapping[Path, Record]
        Of its cells, by the path of the run.
    jobs : Mapping[tuple, Making]
        The jobs of what is not made yet.
    """

    study: Study
    site: Site
    records: Mapping[Path, Record]
    jobs: Mapping[Key, Making]
    _places: dict[Path, _Place] = field(default_factory=dict)

    def lacks(self, cell: Cell) -> list[Step]:
        """Return the steps of a cell that are to be queued; none while a process trains it."""
        if (cell.run.path, cell.steps[0]) not in self.jobs and state(cell.run) == "running":
            return []
        remaining = self.records[cell.run.path].remaining()
        return [step for step in remaining if not self._open(cell, step)]

    def rehearsed(self) -> list[JobTask]:
        """Return all that is to be queued of one seed of each place in the grid."""
        first = {cell.label: cell for cell in reversed(self.study.cells) if self.lacks(cell)}
        pairs = [(cell, step) for cell in first.values() for step in self.lacks(cell)]
        return [self._task(index, *pair) for index, pair in enumerate(pairs)]

    def to_come(self) -> dict[str, tuple[str, ...]]:
        """Return the runs that are not trained yet, with the arguments that begin each."""
        return {
            run_on(self.site, cell): command_on(self.site, cell, cell.steps[0])
            for cell in self.study.cells
            if cell.steps[0] in self.records[cell.run.path].remaining()
        }

    def queue(self) -> Iterator[tuple[Submission, Chain]]:
        """Queue what is lacking, and yield each job with what it waits for.

        Raises
        ------
        InputError
            If SLURM refuses a job; those before it stay.
        """
        most = largest_array(self.site.host)
        trainings = [cell for cell in self.study.cells if cell.steps[0] in self.lacks(cell)]
        for begin in range(0, len(trainings), most):
            cells = list(enumerate(trainings[begin : begin + most]))
            steps = [(index, cell, cell.steps[0]) for index, cell in cells]
            submission = self._submit(self.study.name, steps, Chain())
            self._places |= {cell.run.path: (submission, index) for index, cell in cells}
            yield submission, Chain()
        for name, steps, chain in self._followers(most):
            yield self._submit(name, steps, chain), chain

    def _followers(self, most: int) -> Iterator[tuple[str, list[tuple[int, Cell, Step]], Chain]]:
        """Yield the arrays of what follows trainings: one for each step and job of trainings."""
        steps = dict.fromkeys(step for cell in self.study.cells for step in cell.steps[1:])
        for step in steps:
            name = f"{step_title(step)}:{self.study.name}"
            free: list[Cell] = []
            behind: dict[str, list[tuple[int, Cell, Step]]] = {}
            jobs: dict[str, Submission] = {}
            for cell in self.study.cells:
                if step not in self.lacks(cell):
                    continue
                place = self._training(cell)
                if place is None:
                    free.append(cell)
                elif place[0].job:  # else it is not known yet
                    jobs[place[0].job] = place[0]
                    behind.setdefault(place[0].job, []).append((place[1], cell, step))
            for begin in range(0, len(free), most):
                part = free[begin : begin + most]
                yield name, [(i, cell, step) for i, cell in enumerate(part)], Chain()
            for job, tasks in behind.items():
                yield name, tasks, _after(jobs[job], [index for index, _, _ in tasks])

    def _training(self, cell: Cell) -> _Place | None:
        """Return the job that a cell's training is left to; None if it is done."""
        if cell.run.path in self._places:
            return self._places[cell.run.path]
        making = self.jobs.get((cell.run.path, cell.steps[0]))
        return (making.submission, making.task.index) if making else None

    def _open(self, cell: Cell, step: Step) -> bool:
        making = self.jobs.get((cell.run.path, step))
        training = self.jobs.get((cell.run.path, cell.steps[0]))
        if making is None or not making.open:
            return False
        # What waits for a training that failed is about to be cancelled by SLURM.
        return training is None or training.open or making.state.word != "PENDING"

    def _task(self, index: int, cell: Cell, step: Step) -> JobTask:
        run = run_on(self.site, cell)
        arguments = command_on(self.site, cell, step)
        if step.command == "fit" and self.site.host.exists(f"{run}/config.yaml"):
            arguments = ("fit", "--resume", run)
        return JobTask(index, f"{cell.label}, seed {cell.seed}", arguments, run)

    def _submit(
        self, name: str, steps: Sequence[tuple[int, Cell, Step]], chain: Chain
    ) -> Submission:
        site, profile = self.site, self.site.profile
        several = len(steps) > 1
        tasks = [self._task(i if several else 0, cell, step) for i, cell, step in steps]
        tasks = assign_runs(tasks, {}, site.folder, name, profile)
        job = site.job(name, tasks, job_folder(site.host, site.folder, name), chain)
        for _, cell, step in steps:  # before, so that nobody makes it beside the job
            self.records[cell.run.path].begin()
            self.records[cell.run.path].leave_to(step, profile.name)
        return queue(site.host, job, site.repository)


def step_title(step: Step) -> str:
    """Return a step's command, or of a probe its name or that of its file, as a job is named."""
    return Path(step.arguments[-1].partition(":")[0]).stem


def _after(submission: Submission, indices: Sequence[int]) -> Chain:
    """Return the chain of tasks that have the indices of the trainings that they wait for."""
    folders = (submission.folder,)
    if len(submission.tasks) == 1:
        return Chain((submission.job,), folders)
    if len(indices) == 1:
        return Chain((f"{submission.job}_{indices[0]}",), folders)
    return Chain((submission.job,), folders, by_index=True)
