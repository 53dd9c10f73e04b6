"""What only the job knows of its tasks: their runs and names, and how many processes it has."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ired_interp.cluster.job import trainer_options
from ired_interp.cluster.profile import Profile
from ired_interp.cluster.tasks import JobTask


def assign_runs(
    tasks: Sequence[JobTask],
    facts: Mapping[int, Mapping[str, Any]],
    folder: str,
    name: str,
    profile: Profile,
) -> list[JobTask]:
    """Return the tasks with their runs, and with the options that say so to the command.

    Parameters
    ----------
    tasks : Sequence[JobTask]
        As they were asked for; those that have their run already keep it.
    facts : mapping
        Of each task by its index, as its rehearsal reported them.
    folder : str
        Absolute path on the host below which runs lie.
    name : str
        Of runs that have no name of their own.
    profile : Profile
        The job's request.

    Returns
    -------
    list[JobTask]
        In the same order.
    """
    return [_assign(task, facts.get(task.index, {}), folder, name, profile) for task in tasks]


def _assign(
    task: JobTask, facts: Mapping[str, Any], folder: str, name: str, profile: Profile
) -> JobTask:
    if task.run is None and task.command == "fit" and task.option("--resume") is None:
        own = facts.get("name") or name
        full = f"{own}-{task.label}" if task.label else own
        runs = posixpath.join(folder, facts.get("runs", "runs"))
        task = replace(task, run=f"{runs}/{facts.get('experiment', 'default')}/{full}")
        task = task.with_options("--runs", runs, "--name", full)
    elif task.run is None:
        checkpoint = task.option("--resume") or task.option("--ckpt")
        task = replace(task, run=_run_of(checkpoint) if checkpoint else None)
    return task if task.command == "probe" else task.with_options(*trainer_options(profile))


def job_name(tasks: Sequence[JobTask], name: str) -> str:
    """Return experiment and run, and what is done with it if that is not training."""
    first = tasks[0]
    run = "/".join(Path(first.run).parts[-2:]) if first.run else name
    run = run.removesuffix(f"-{first.label}") if first.label else run
    return run if first.command == "fit" else f"{first.command}:{run}"


def _run_of(checkpoint: str) -> str:
    path = Path(checkpoint)
    return str(path.parent.parent if path.suffix in (".ckpt", ".pt") else path)
