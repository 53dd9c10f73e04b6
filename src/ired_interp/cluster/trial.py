"""A short job with the request of a longer one, which says what it finds on the node."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from ired_interp.cluster.chain import Chain
from ired_interp.cluster.follow import Ending, describe, pauses, summary
from ired_interp.cluster.host import Host
from ired_interp.cluster.job import PREPARE, Job, read_part
from ired_interp.cluster.preflight import Check
from ired_interp.cluster.queueing import job_folder, queue
from ired_interp.cluster.site import Site
from ired_interp.cluster.slurm import cancel
from ired_interp.cluster.submission import Submission, submissions, task_states
from ired_interp.cluster.symptoms import diagnose
from ired_interp.cluster.tasks import JobTask
from ired_interp.errors import RunError
from ired_interp.terminal import log

_HELPER = "slurm/try.sh"
_MINUTES = 5  # its limit: importing PyTorch from a cold file system takes one
_LATE = 5  # looks for what an ended job printed: network file systems show it later
_LINE = re.compile(r"^ired-node\t(ok|FAIL)\t([^\t\n]+)\t([^\t\n]*)(?:\t([^\t\n]*))?$", re.MULTILINE)
_DONE = re.compile(r"^ired-node\tdone\t", re.MULTILINE)


def line(check: Check) -> str:
    """Return a check as the job prints it."""
    words = ("ok" if check.ok else "FAIL", check.name, check.found, check.remedy)
    return "\t".join(("ired-node", *(" ".join(word.split()) for word in words))).rstrip("\t")


def done(node: str) -> str:
    """Return what the job prints once all is checked on a node."""
    return f"ired-node\tdone\t{node}"


def try_node(site: Site, job: Job, show: Callable[[Check], bool]) -> bool:
    """Queue a short job with the request of `job`, and show what it finds on its nodes.

    It is cancelled if this is interrupted; its folder stays where something failed.

    Parameters
    ----------
    site : Site
        The cluster; the job's environment is made.
    job : Job
        The job to come.
    show : callable
        Shows a check and says whether it is well.

    Returns
    -------
    bool
        Whether all is well.
    """
    host = site.host
    short = replace(job.profile, time=f"00:{_MINUTES:02}:00", signal=0, mail=None)
    if job.profile.seconds < short.seconds:
        short = replace(short, time=job.profile.time)
    first = job.tasks[0]
    arguments = ("check", "--here", site.folder, site.scratch, "--", *first.arguments)
    name = f"try:{job.name}"
    trial = replace(
        job,
        name=name,
        tasks=(JobTask(0, "", arguments),),
        profile=short,
        helper=_HELPER,
        after=Chain(),
        folder=job_folder(host, site.folder, name),
    )
    host.write(f"{trial.folder}/prepare-job.sh", read_part(site.repository, PREPARE))
    well = False
    with _withdrawn(host, site.folder, trial.folder):
        submission = queue(host, trial, site.repository)
        log(f"queued job {submission.job}, which tries out the node for up to {_MINUTES} min")
        shown = [show(check) for check in _found(host, trial, submission)]
        well = all(shown)
    if well:
        host.run("rm", "-rf", trial.folder)
    else:
        log(f"what it printed is in {submission.tasks[0].log}")
    return well


def _found(host: Host, trial: Job, submission: Submission) -> Iterator[Check]:
    """Yield what the job finds, as it finds it, and at its end what kept it from looking."""
    (task,) = submission.tasks
    ending, pause, late = Ending(), pauses(), 0
    said, shown, failed = "", 0, False
    while True:
        state = task_states(host, [(submission, task)])[task]
        if (now := summary(host, submission, {task: state})) != said:
            log(now)
            said, pause = now, pauses()
        text = host.tail(task.log)
        lines = _LINE.findall(text)
        if lines and not shown and trial.profile.modules:
            yield Check("modules", True, f"{', '.join(trial.profile.modules)} can be loaded")
        for word, name, found, remedy in lines[shown:]:
            failed |= word == "FAIL"
            yield Check(name, word == "ok", found, remedy)
        if len(lines) > shown:
            shown, pause = len(lines), pauses()
        if len(_DONE.findall(text)) >= trial.profile.nodes:
            return
        if ending(state):
            late += 1
            if failed:
                return
            if late > _LATE or state.failed:
                cause = describe(diagnose(state, text))
                found = f"it ended ({state.word.lower()}) before all was looked at; {cause}"
                yield Check("node", False, found)
                return
        time.sleep(next(pause))


@contextmanager
def _withdrawn(host: Host, folder: str, own: str) -> Iterator[None]:
    """Leave no job of the folder `own` in the queue, however the block ends."""
    try:
        yield
    finally:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # asked for once is enough
        try:
            _cancel(host, folder, own)
        finally:
            signal.signal(signal.SIGINT, before)


def _cancel(host: Host, folder: str, own: str) -> None:
    try:
        for one in submissions(host, folder):
            if one.folder == own and task_states(host, [(one, one.tasks[0])])[one.tasks[0]].active:
                cancel(host, [one.job], one.cluster)
    except RunError as error:
        log(f"the job that tried out the node is not cancelled ({error}); it ends by itself")
