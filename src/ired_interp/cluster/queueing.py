"""Queue a job: recorded before SLURM is asked, and found by its token if the answer is lost."""

from __future__ import annotations

import hashlib
import posixpath
import re
import secrets
import time
from collections.abc import Sequence

from ired_interp.cluster.host import Host, NoAnswer
from ired_interp.cluster.job import Job, read_part
from ired_interp.cluster.repository import Repository
from ired_interp.cluster.slurm import UNREACHABLE, clusters_of, queue_of, submit
from ired_interp.cluster.submission import (
    JOBS,
    RECORD,
    Submission,
    SubmittedTask,
    select_tasks,
    submissions,
    task_states,
    write_record,
)
from ired_interp.errors import InputError, RunError
from ired_interp.terminal import log

_PAUSES = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0)  # seconds before each look for a job, if it is not found

# The claims of a run are links RUN-1, RUN-2 … to the jobs that may write it. Making one is atomic
# on shared file systems, too, so of two submissions that found the same last claim one fails.
_LAST_CLAIMS = """mkdir -p "$1" && cd "$1" && shift
for run; do n=0; while [[ -L $run-$((n + 1)) ]]; do n=$((n + 1)); done
printf '%s\\t%s\\n' $n "$(readlink "$run-$n")"; done"""
_CLAIM = """cd "$1" && holder=$2 && shift 2
for link; do ln -sn "$holder" "$link" || exit 3; done"""


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
    """Write a job's folder and record, claim its runs, and queue it.

    Raises
    ------
    InputError
        If SLURM refuses it, or another job may write one of its runs.
    RunError
        If SLURM does not say whether it queued the job; the record stays.
    KeyboardInterrupt
        If the user stops it; a job that is queued by then is recorded and named.
    """
    host.write(f"{job.folder}/prepare.sh", read_part(repository, job.helper))
    host.write(f"{job.folder}/job.sbatch", job.script(repository))
    host.output("touch", *(job.log(task) for task in job.tasks))
    token = f"ired-{secrets.token_hex(8)}"
    tasks = tuple(
        SubmittedTask("", task.index, task.label, task.arguments, task.run, job.log(task))
        for task in job.tasks
    )
    submission = Submission(
        "",
        job.name,
        job.profile.name,
        job.folder,
        job.commit,
        time.time(),
        tasks,
        token,
        clusters_of(job.profile),
        job.after.jobs,
    )
    write_record(host, submission)
    try:
        claim_runs(host, submission, job.after.folders)
        chained = job.after.options(job.profile)
        script = f"{job.folder}/job.sbatch"
        number, cluster = submit(host, script, token, job.profile, chained)
    except InputError:
        host.run("rm", "-f", f"{job.folder}/{RECORD}")
        raise
    except KeyboardInterrupt:
        if found := _look_up(host, submission):
            log(f"job {found.job} was queued; ired cancel {found.job} takes it back")
        raise
    except NoAnswer as error:
        if found := _look_up(host, submission):
            return found
        raise RunError(
            f"it is not known whether SLURM queued {submission.name} ({error}); do not submit it "
            "again before `ired status` has found it, or calls it lost."
        ) from None
    submission = submission.numbered(number, cluster)
    write_record(host, submission)
    return submission


def claim_runs(host: Host, submission: Submission, before: Sequence[str] = ()) -> None:
    """Claim the runs that a submission trains; no other one may then write them until it ends.

    Parameters
    ----------
    host : Host
        Of the cluster.
    submission : Submission
        What is about to be queued.
    before : Sequence[str]
        Folders of jobs that it waits for, which may hold its runs until then.

    Raises
    ------
    InputError
        If another job may write one of them.
    """
    runs = [task.run for task in submission.tasks if task.arguments[0] == "fit" and task.run]
    if not runs:
        return
    jobs = posixpath.dirname(submission.folder)
    claims = f"{jobs}/.claims"
    names = [claim_name(run) for run in runs]
    rows = host.output("bash", "-c", _LAST_CLAIMS, "claims", claims, *names).splitlines()
    last = [row.partition("\t") for row in rows]
    held = {run: holder for run, (_, _, holder) in zip(runs, last, strict=True) if holder}
    if held:
        recorded = {one.folder: one for one in submissions(host, posixpath.dirname(jobs))}
        for run, holder in held.items():
            free = holder not in recorded or holder in before
            if not free and (found := busy(host, [recorded[holder]], run)):
                raise InputError(f"{found[0]}; nothing was queued: {found[1]}.")
    links = [f"{name}-{int(count) + 1}" for name, (count, _, _) in zip(names, last, strict=True)]
    done = host.run("bash", "-c", _CLAIM, "claim", claims, submission.folder, *links)
    if done.returncode:
        raise InputError(
            f"another submission takes {', '.join(runs)} at this moment; nothing was queued: see "
            "`ired status`."
        )


def claim_name(run: str) -> str:
    """Name the claims of a run, which are numbered links to the folders of jobs."""
    return hashlib.sha256(run.encode()).hexdigest()[:32]


def busy(host: Host, recorded: Sequence[Submission], run: str) -> tuple[str, str] | None:
    """Say which of these jobs works on a run, or may, and what to do; None if all have ended."""
    for task, state in task_states(host, _tasks_of(recorded, run)).items():
        name = f"job {task.job}" if task.job else f"the job of {posixpath.dirname(task.log)}"
        if state.active:
            return f"{name} works on {run} already", f"wait for it, or: ired cancel {task.job}"
        if state.word == UNREACHABLE:
            return (
                f"it is not known whether {name} works on {run} ({state.reason})",
                "try again later",
            )
    return None


def _tasks_of(recorded: Sequence[Submission], run: str) -> list[tuple[Submission, SubmittedTask]]:
    try:
        return select_tasks(list(recorded), run)
    except InputError:
        return []


def _look_up(host: Host, submission: Submission) -> Submission | None:
    """Find a job by its token, as the answer of sbatch was lost, and complete its record."""
    log("SLURM's answer was lost; looking for the job")
    for pause in _PAUSES:
        time.sleep(pause)
        try:
            number = submission.number(queue_of(host, submission.cluster))
        except NoAnswer:
            continue
        if number:
            found = submission.numbered(number)
            write_record(host, found)
            return found
    return None
