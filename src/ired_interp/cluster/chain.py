"""Jobs that wait for others: what a name after `--after` means, and how SLURM is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ired_interp.cluster.host import Host, NoAnswer
from ired_interp.cluster.profile import Profile
from ired_interp.cluster.slurm import UNREACHABLE, JobState, queue_of
from ired_interp.cluster.submission import (
    Submission,
    SubmittedTask,
    select_tasks,
    submissions,
    task_states,
)
from ired_interp.errors import InputError, RunError


@dataclass(frozen=True)
class Chain:
    """The jobs that must have ended well before a job begins.

    Attributes
    ----------
    jobs : tuple[str, ...]
        Their numbers; of array tasks as in "12_3".
    folders : tuple[str, ...]
        Of the jobs that were submitted by this program.
    by_index : bool
        Whether each task of an array waits for the task of the same index alone.
    """

    jobs: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    by_index: bool = False

    def options(self, profile: Profile) -> list[str]:
        """Return sbatch's options, with a dependency of the profile's own behind this one.

        A job whose prerequisite fails is cancelled instead of waiting for ever.
        """
        if not self.jobs:
            return []
        kind = "aftercorr" if self.by_index else "afterok"
        own = [
            option.partition("=")[2]
            for option in profile.options
            if option.startswith("--dependency=")
        ]
        wanted = ",".join([":".join((kind, *self.jobs)), *own])
        return [f"--dependency={wanted}", "--kill-on-invalid-dep=yes"]

    def __str__(self) -> str:
        numbers = ", ".join(self.jobs)
        same = ", each task for that of its index" if self.by_index else ""
        return f"job{'s' if len(self.jobs) > 1 else ''} {numbers}{same}"


def runs_to_come(host: Host, folder: str, chain: Chain) -> dict[str, tuple[str, ...]]:
    """Return the runs that the jobs of a chain train, and the arguments that begin each."""
    if not chain.folders:
        return {}
    recorded = submissions(host, folder)
    waited = [one for one in recorded if one.folder in chain.folders]
    runs = {task.run for one in waited for task in one.tasks}
    return {
        task.run: task.arguments
        for one in recorded
        for task in one.tasks
        if task.run in runs and task.run and begins_run(task.arguments)
    }


def begins_run(arguments: Sequence[str]) -> bool:
    """Whether a command trains a run from nothing."""
    resumes = any(word.partition("=")[0] == "--resume" for word in arguments)
    return arguments[0] == "fit" and not resumes


def find_chain(host: Host, folder: str, wanted: Sequence[str]) -> Chain:
    """Return the jobs that names mean, all of which wait or run.

    Parameters
    ----------
    host : Host
        Of the cluster.
    folder : str
        Below which jobs are recorded.
    wanted : Sequence[str]
        Numbers of jobs or array tasks, or names of runs; a number may be that of a job which
        another program submitted.

    Raises
    ------
    InputError
        If a name means no job, or one that has ended.
    RunError
        If SLURM does not say what becomes of one.
    """
    recorded = submissions(host, folder) if wanted else []
    jobs: list[str] = []
    folders: list[str] = []
    for name in wanted:
        try:
            pairs = select_tasks(recorded, name)
        except InputError as error:
            jobs.append(_foreign(host, name, error))
            continue
        one, numbers = _waited_for(host, pairs, name)
        jobs += numbers
        folders.append(one.folder)
    return Chain(tuple(dict.fromkeys(jobs)), tuple(dict.fromkeys(folders)))


def _waited_for(
    host: Host, pairs: list[tuple[Submission, SubmittedTask]], name: str
) -> tuple[Submission, list[str]]:
    """Return the job that a name means, and the numbers by which SLURM knows its tasks.

    Of several jobs of a run that is the newest training that waits or runs, else the newest job
    that does.

    Raises
    ------
    InputError
        If it has ended, or one of its tasks has failed.
    RunError
        If it is not known.
    """
    states = task_states(host, pairs)
    active = [(one, task) for one, task in pairs if states[task].active]
    trains = [(one, task) for one, task in active if task.arguments[0] == "fit"]
    chosen = (trains or active or pairs)[-1][0]
    tasks = [task for one, task in pairs if one is chosen]
    for task in tasks:
        state = states[task]
        if state.word == UNREACHABLE:
            raise RunError(
                f"whether {_named(chosen, task, name)} runs is not known ({state.reason}); "
                "nothing was queued: try again later."
            )
        if state.failed:
            raise InputError(
                f"{_named(chosen, task, name)} has ended ({state.word.lower()}), so that what "
                f"waits for it would never start; see why: ired status {task.job or name}."
            )
    if not active:
        raise InputError(
            f"{_named(chosen, tasks[0], name)} has ended well, so that there is nothing to wait "
            f"for; leave out --after {name}."
        )
    whole = len(tasks) == len(chosen.tasks)
    return chosen, [chosen.job] if whole else [task.job for task in tasks]


def _named(one: Submission, task: SubmittedTask, name: str) -> str:
    number = task.job or "without a number"
    return f"job {number}" + ("" if name in (one.job, task.job) else f" of {name}")


def _foreign(host: Host, name: str, unknown: InputError) -> str:
    """Return the number of a job of the user's that was not submitted from here.

    Raises
    ------
    InputError
        If there is none, or it has ended.
    RunError
        If SLURM could not be asked.
    """
    try:
        queue = queue_of(host)
    except NoAnswer as error:
        raise RunError(
            f"whether {name} is a job is not known ({error}); nothing was queued: try again later."
        ) from None
    states: list[JobState] = [
        listed.state for job, listed in queue.items() if name in (job, job.partition("_")[0])
    ]
    if not states:
        raise unknown
    if not any(state.active for state in states):
        words = ", ".join(dict.fromkeys(state.word.lower() for state in states))
        raise InputError(
            f"job {name} has ended ({words}); leave out --after {name}, or start it anew."
        )
    return name
