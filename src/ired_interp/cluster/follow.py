"""Watch a submitted job until it has begun its work, or failed."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

from ired_interp.cluster.host import Host
from ired_interp.cluster.slurm import PENDING_STATES, UNREACHABLE, JobState, expected_start
from ired_interp.cluster.submission import Submission, SubmittedTask, task_states
from ired_interp.cluster.symptoms import PENDING_REASONS, Cause, diagnose
from ired_interp.terminal import log

_BEGUN = re.compile(r"^(step \d+/\d+ |measuring |test: \d+/\d+ |written to )", re.MULTILINE)
_POLL, _POLL_MOST, _SLOWER = 2.0, 60.0, 1.5  # seconds
_SHOWN = 20  # lines of a failed job's log
_NOT_STARTED = {*PENDING_STATES, UNREACHABLE}
_PASSING = {"BOOT_FAIL", "NODE_FAIL", "PREEMPTED"}  # a job's words on its way back into the queue
_PATIENCE = 6  # questions after which such a word is its last


def pauses() -> Iterator[float]:
    """Yield seconds between two questions to SLURM, which many users ask: 2, then up to 60."""
    pause = _POLL
    while True:
        yield pause
        pause = min(pause * _SLOWER, _POLL_MOST)


class Ending:
    """Tells whether a task has ended for good, over successive questions about it."""

    def __init__(self) -> None:
        self._passing = 0

    def __call__(self, state: JobState) -> bool:
        """Whether the state that was found now is the last."""
        self._passing = self._passing + 1 if state.word in _PASSING else 0
        return state.ended and (not self._passing or self._passing > _PATIENCE)


def follow(host: Host, submission: Submission) -> bool:
    """Say what becomes of a job, until a task works (True) or has failed (False).

    Ctrl-C ends the watching, not the job.
    """
    pairs = [(submission, task) for task in submission.tasks]
    shown, pause = "", pauses()
    endings = {task: Ending() for task in submission.tasks}
    while True:
        states = task_states(host, pairs)
        line = summary(host, submission, states)
        if line != shown:
            log(line)
            shown, pause = line, pauses()
        ended = [task for task, state in states.items() if endings[task](state)]
        for task in ended:
            if states[task].failed:
                log(report(host, task, states[task]))
                return False
        if len(ended) == len(states):
            log(f"job {submission.job} is done")
            return True
        started = [
            task for task, state in states.items() if state.word not in _NOT_STARTED | _PASSING
        ]
        if any(_BEGUN.search(host.tail(task.log)) for task in started):
            log(
                f"job {submission.job} has begun its work; `ired logs -f {submission.job}` follows "
                "it"
            )
            return True
        time.sleep(next(pause))


def report(host: Host, task: SubmittedTask, state: JobState) -> str:
    """Return the end of a failed task's log, the likely cause and the remedy."""
    log = host.tail(task.log)
    cause = diagnose(state, log)
    end = "\n".join(f"  | {line}" for line in log.splitlines()[-_SHOWN:])
    named = f"job {task.job}" + (f" ({task.label})" if task.label else "")
    return f"{named}: {state.word.lower()}; the end of {task.log}:\n{end}\n{describe(cause)}"


def describe(cause: Cause) -> str:
    """Cause and remedy as one line."""
    return f"likely cause: {cause.sentence}; what to do: {cause.remedy}"


def waiting_reason(one: Submission, state: JobState) -> str:
    """Why a task of a job waits, in words where they are known."""
    if state.reason == "Dependency" and one.after:
        return f"waits for job {', '.join(one.after)}"
    for reason, words in PENDING_REASONS.items():
        if reason in state.reason:
            return f"{state.reason}: {words}"
    return state.reason


def summary(host: Host, submission: Submission, states: dict[SubmittedTask, JobState]) -> str:
    """Say in a line where a job stands."""
    words = [state.word.lower() for state in states.values()]
    if len(words) > 1:
        counts = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
        return f"job {submission.job} {submission.name}: {counts}"
    state = next(iter(states.values()))
    if state.word == UNREACHABLE:
        return f"job {submission.job} {submission.name}: not known ({state.reason}); asking on"
    if state.word not in PENDING_STATES:
        return f"job {submission.job} {submission.name}: {words[0]}"
    start = expected_start(host, submission.job, submission.cluster)
    why = f" ({waiting_reason(submission, state)})" if state.reason else ""
    return f"job {submission.job} {submission.name}: {words[0]}{why}" + (
        f", expected to start {start}" if start else ""
    )
