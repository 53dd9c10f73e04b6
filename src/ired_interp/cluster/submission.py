"""The record of a submitted job beside its script and logs, for when SLURM has forgotten it."""

from __future__ import annotations

import json
import posixpath
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

from ired_interp.cluster.host import Host, NoAnswer
from ired_interp.cluster.profile import Profile
from ired_interp.cluster.slurm import (
    UNREACHABLE,
    JobState,
    Listed,
    accounts_of,
    exit_code,
    queue_of,
)
from ired_interp.errors import InputError
from ired_interp.terminal import log

JOBS = "jobs"
RECORD = "submission.json"
_LATE = 600.0  # seconds after which a job that SLURM does not list was not queued


@dataclass(frozen=True)
class SubmittedTask:
    """A command of a submitted job.

    Attributes
    ----------
    job : str
        Its number in SLURM, with the array index where there is one; empty while it is not known.
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
        Its number in SLURM; empty while it is not known.
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
    token : str
        In the job's comment: SLURM may give its number to another job, or not tell it to us.
    cluster : str
        Of a federation, where SLURM named it; while the number is not known, those it may be of.
    after : tuple[str, ...]
        The jobs and array tasks that it waits for.
    """

    job: str
    name: str
    profile: str
    folder: str
    commit: str
    time: float
    tasks: tuple[SubmittedTask, ...]
    token: str = ""
    cluster: str = ""
    after: tuple[str, ...] = ()

    def numbered(self, job: str, cluster: str = "") -> Submission:
        """Return it with its number, and the cluster that SLURM named with it."""
        several = len(self.tasks) > 1
        tasks = (replace(t, job=f"{job}_{t.index}" if several else job) for t in self.tasks)
        return replace(self, job=job, tasks=tuple(tasks), cluster=cluster or self.cluster)

    def is_job(self, listed: Listed) -> bool:
        """Whether a job of SLURM's is this one; accounting may keep no comments."""
        return self.token in listed.comment if listed.comment else listed.name == self.name

    def number(self, queue: Mapping[str, Listed]) -> str | None:
        """Look up its number by its token; None if the queue does not have it."""
        of_token = (job for job, listed in queue.items() if self.token in listed.comment)
        return next((job.partition("_")[0] for job in of_token), None)


def write_record(host: Host, submission: Submission) -> None:
    """Write or replace the record in a job's folder."""
    host.write(f"{submission.folder}/{RECORD}", json.dumps(asdict(submission), indent=1))


def submissions(host: Host, folder: str) -> list[Submission]:
    """All submissions recorded below `folder`/jobs, oldest first; numbers not learnt are looked up.

    A record that cannot be read is named and left out.
    """
    script = (
        'for f in "$1"/*/submission.json; do [ -f "$f" ] && printf "%s\\t" "$f" && '
        'tr -d "\\n" <"$f" && echo; done; true'
    )
    listing = host.output("bash", "-c", script, "list", f"{folder}/{JOBS}")
    found = []
    for line in listing.splitlines():
        path, _, text = line.partition("\t")
        try:
            found.append(_read(text))
        except (ValueError, TypeError, KeyError):
            log(f"record {path} is damaged and left out; remove it once squeue has no such job")
    found = _with_numbers(host, found)
    return sorted(found, key=lambda one: one.time)


def _read(text: str) -> Submission:
    content = json.loads(text)
    tasks = tuple(
        SubmittedTask(**{**task, "arguments": tuple(task["arguments"])})
        for task in content.pop("tasks")
    )
    after = tuple(content.pop("after", ()))
    return Submission(**content, tasks=tasks, after=after)


def _with_numbers(host: Host, found: list[Submission]) -> list[Submission]:
    queues: dict[str, dict[str, Listed]] = {}
    for cluster in {one.cluster for one in found if not one.job}:
        with suppress(NoAnswer):
            queues[cluster] = queue_of(host, cluster)
    complete = []
    for one in found:
        if not one.job and (number := one.number(queues.get(one.cluster, {}))):
            one = one.numbered(number)
            write_record(host, one)
        complete.append(one)
    return complete


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
        if bare in (one.job, task.job, one.name, one.folder, posixpath.basename(one.folder))
        or (task.run and _names(task.run, bare))
    ]
    if not chosen:
        known = ", ".join(one.job or one.name for one in found[-5:]) or "none"
        raise InputError(
            f"{wanted} is no job or run that was submitted from here; the newest jobs are {known}."
        )
    return chosen


def task_states(
    host: Host, tasks: Sequence[tuple[Submission, SubmittedTask]]
) -> dict[SubmittedTask, JobState]:
    """Return the state of every task.

    From SLURM where it still knows the job of that token, else from what the job left in its
    folder. UNREACHABLE where SLURM could not be asked, which says nothing of the task.
    """
    found: dict[SubmittedTask, JobState] = {}
    for cluster in dict.fromkeys(one.cluster for one, _ in tasks):
        there = [(one, task) for one, task in tasks if one.cluster == cluster]
        found |= _states_on(host, cluster, there)
    return {task: found[task] for _, task in tasks}


def _states_on(
    host: Host, cluster: str, tasks: Sequence[tuple[Submission, SubmittedTask]]
) -> dict[SubmittedTask, JobState]:
    try:
        queue = queue_of(host, cluster)
    except NoAnswer as error:
        return {
            task: _left(host, one, task, JobState(UNREACHABLE, str(error))) for one, task in tasks
        }
    listed = {job.partition("_")[0] for job in queue}
    missing = sorted({one.job for one, _ in tasks if one.job} - listed)
    known = {**accounts_of(host, missing, cluster), **queue} if missing else queue
    found = {}
    for one, task in tasks:
        there = known.get(task.job)
        if there is None or not one.is_job(there):
            state = _left(host, one, task, _unlisted(one))
        elif there.state.failed and not there.state.exit_code:
            state = replace(there.state, exit_code=exit_code(host, task.job, cluster))
        else:
            state = there.state
        found[task] = state
    return found


def _unlisted(one: Submission) -> JobState:
    if one.job:
        words = "SLURM knows it no longer, and it left no exit code: it was cancelled or killed"
        return JobState("UNKNOWN", words)
    if time.time() - one.time < _LATE:
        return JobState(UNREACHABLE, "SLURM did not say whether it queued it, and still may")
    return JobState("LOST", "SLURM did not say whether it queued it, and has no job of its token")


def folder_on(host: Host, profile: Profile, here: str) -> str:
    """Return the profile's folder, absolute; `here` if it names none."""
    return host.expand(profile.folder).rstrip("/") if profile.folder else here


def _names(run: str, wanted: str) -> bool:
    return run == wanted or run.endswith(f"/{wanted}") or posixpath.basename(run) == wanted


def _left(host: Host, one: Submission, task: SubmittedTask, otherwise: JobState) -> JobState:
    """Return the state by the exit code that an ended task left in its job's folder."""
    code = (host.read(f"{one.folder}/ended-{task.index}") or "").strip()
    if not code:
        return otherwise
    return JobState("COMPLETED" if code == "0" else "FAILED", "", f"{code}:0")
