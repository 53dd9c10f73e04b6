"""The record of a submitted job beside its script and logs, for when SLURM has forgotten it."""

from __future__ import annotations

import json
import posixpath
import re
import time
from dataclasses import asdict, dataclass

from ired_interp.cluster.host import Host
from ired_interp.cluster.job import PREPARE, Job, read_part
from ired_interp.cluster.profile import Profile
from ired_interp.cluster.repository import Repository
from ired_interp.cluster.slurm import JobState, exit_code, states, submit
from ired_interp.errors import InputError

JOBS = "jobs"
_RECORD = "submission.json"


@dataclass(frozen=True)
class SubmittedTask:
    """A command of a submitted job.

    Attributes
    ----------
    job : str
        Its number in SLURM, with the array index where there is one.
    index : int
        In the array.
    label : str
        What sets it apart from the other tasks of the array.
    arguments : tuple[str, ...]
        Of `ired`, command first.
    run : str | None
        Folder of its run on the cluster.
    log : str
        File of its output on the cluster.
    """

    job: str
    index: int
    label: str
    arguments: tuple[str, ...]
    run: str | None
    log: str


@dataclass(frozen=True)
class Submission:
    """A submitted job.

    Attributes
    ----------
    job : str
        Its number in SLURM.
    name : str
        Experiment and run.
    profile : str
        The profile's name.
    folder : str
        Where its script, record and logs lie on the cluster.
    commit : str
        What it runs.
    time : float
        Of the submission, in seconds since 1970.
    tasks : tuple[SubmittedTask, ...]
        Its commands.
    """

    job: str
    name: str
    profile: str
    folder: str
    commit: str
    time: float
    tasks: tuple[SubmittedTask, ...]


def job_folder(host: Host, folder: str, name: str) -> str:
    """Make a new folder for a job below `folder`/jobs, named by the time and the job.

    Raises
    ------
    InputError
        If it cannot be made.
    """
    host.make_folder(f"{folder}/{JOBS}")
    safe_name = re.sub(r"[^A-Za-z0-9._=+-]", "-", name)
    stamp = f"{folder}/{JOBS}/{time.strftime('%Y-%m-%d_%H-%M-%S')}_{safe_name}"
    for attempt in range(100):
        path = stamp if attempt == 0 else f"{stamp}-{attempt + 1}"
        if host.run("mkdir", path).returncode == 0:
            return path
        if not host.exists(path):
            break
    raise InputError(
        f"{folder}/{JOBS} cannot be written on {host.name}; set folder in the profile to one that "
        "can."
    )


def queue(host: Host, job: Job, repository: Repository) -> Submission:
    """Write a job's folder, queue the job, and record it.

    Raises
    ------
    InputError
        If SLURM refuses it.
    """
    host.write(f"{job.folder}/prepare.sh", read_part(repository.root, PREPARE))
    host.write(f"{job.folder}/job.sbatch", job.script(repository.root))
    host.output("touch", *(job.log(task) for task in job.tasks))
    number = submit(host, f"{job.folder}/job.sbatch")
    several = len(job.tasks) > 1
    tasks = tuple(
        SubmittedTask(
            f"{number}_{task.index}" if several else number,
            task.index,
            task.label,
            task.arguments,
            task.run,
            job.log(task),
        )
        for task in job.tasks
    )
    submission = Submission(
        number, job.name, job.profile.name, job.folder, job.commit, time.time(), tasks
    )
    host.write(f"{job.folder}/{_RECORD}", json.dumps(asdict(submission), indent=1))
    return submission


def submissions(host: Host, folder: str) -> list[Submission]:
    """All submissions recorded below `folder`/jobs, oldest first."""
    script = (
        'for f in "$1"/*/submission.json; do [ -f "$f" ] && tr -d "\\n" <"$f" && echo; done; true'
    )
    listing = host.output("bash", "-c", script, "list", f"{folder}/{JOBS}")
    found = []
    for line in listing.splitlines():
        content = json.loads(line)
        tasks = tuple(
            SubmittedTask(**{**task, "arguments": tuple(task["arguments"])})
            for task in content.pop("tasks")
        )
        found.append(Submission(**content, tasks=tasks))
    return sorted(found, key=lambda one: one.time)


def select_tasks(
    found: list[Submission], wanted: str | None
) -> list[tuple[Submission, SubmittedTask]]:
    """Find the tasks that a name means; all tasks if None is wanted.

    A name is a job number, an array task (12_3), a run's folder, or a run's or job's name.

    Raises
    ------
    InputError
        If nothing fits.
    """
    pairs = [(one, task) for one in found for task in one.tasks]
    if wanted is None:
        return pairs
    bare = wanted.rstrip("/")
    chosen = [
        (one, task)
        for one, task in pairs
        if bare in (one.job, task.job, one.name, one.folder)
        or (task.run and _names(task.run, bare))
    ]
    if not chosen:
        known = ", ".join(one.job for one in found[-5:]) or "none"
        raise InputError(
            f"{wanted} is no job or run that was submitted from here; the newest jobs are {known}."
        )
    return chosen


def task_states(host: Host, tasks: list[tuple[Submission, SubmittedTask]]) -> dict[str, JobState]:
    """Return the state of every task, by its number.

    From SLURM where it still knows, else from what the job left in its folder.
    """
    known = states(host, sorted({one.job for one, _ in tasks})) if tasks else {}
    found = {}
    for one, task in tasks:
        state = known.get(task.job)
        if state is None:
            state = _left(host, one, task)
        elif state.failed and not state.exit_code:
            state = JobState(state.word, state.reason, exit_code(host, task.job))
        found[task.job] = state
    return found


def folder_on(host: Host, profile: Profile, here: str) -> str:
    """Return the profile's folder, absolute; `here` if it names none."""
    return host.expand(profile.folder).rstrip("/") if profile.folder else here


def _names(run: str, wanted: str) -> bool:
    return run == wanted or run.endswith(f"/{wanted}") or posixpath.basename(run) == wanted


def _left(host: Host, one: Submission, task: SubmittedTask) -> JobState:
    code = host.read(f"{one.folder}/ended-{task.index}")
    if code is None or not code.strip():
        return JobState(
            "UNKNOWN",
            "SLURM knows it no longer, and it left no exit code: it was cancelled or killed",
        )
    return JobState("COMPLETED" if code.strip() == "0" else "FAILED", "", f"{code.strip()}:0")
