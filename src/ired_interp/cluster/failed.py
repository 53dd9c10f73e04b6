"""What of a job failed, as the tasks of a job that goes on with it."""

from __future__ import annotations

from ired_interp.cluster.host import Host
from ired_interp.cluster.slurm import UNREACHABLE
from ired_interp.cluster.submission import (
    Submission,
    SubmittedTask,
    select_tasks,
    submissions,
    task_states,
)
from ired_interp.cluster.tasks import JobTask
from ired_interp.errors import InputError, RunError


def failed_tasks(host: Host, folder: str, name: str) -> tuple[Submission, list[JobTask]]:
    """Return the newest job of a name, and those of its tasks that failed.

    Trainings go on from their last checkpoint; those that left none, and all other commands, are
    begun again.

    Parameters
    ----------
    host : Host
        Of the cluster.
    folder : str
        Below which jobs are recorded.
    name : str
        Number of a job or array task, or name of a run.

    Raises
    ------
    InputError
        If the name means no job, or nothing of it has failed.
    RunError
        If SLURM does not say what has.
    """
    pairs = select_tasks(submissions(host, folder), name)
    newest = pairs[-1][0]
    tasks = [task for one, task in pairs if one is newest]
    states = task_states(host, [(newest, task) for task in tasks])
    words = [state.word.lower() for state in states.values()]
    if unknown := [s for s in states.values() if s.word == UNREACHABLE]:
        raise RunError(
            f"whether tasks of {name} have failed is not known ({unknown[0].reason}); nothing was "
            "queued: try again later."
        )
    failed = [task for task in tasks if states[task].failed]
    if not failed:
        counts = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
        raise InputError(
            f"no task of {name} has failed ({counts}), so that there is nothing to go on with."
        )
    return newest, [_again(host, index, task) for index, task in enumerate(failed)]


def _again(host: Host, index: int, task: SubmittedTask) -> JobTask:
    begun = task.run is not None and host.exists(f"{task.run}/config.yaml")
    resumes = task.arguments[0] == "fit" and begun and task.run
    arguments = ("fit", "--resume", resumes) if resumes else task.arguments
    return JobTask(index, task.label, arguments, task.run)
