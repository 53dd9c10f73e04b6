"""What SLURM says of jobs, asked in ways that work with and without accounting."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from ired_interp.cluster.host import Host, last_line
from ired_interp.cluster.profile import seconds
from ired_interp.errors import InputError, RunError

PENDING_STATES = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SUSPENDED"}
ACTIVE = {"RUNNING", "COMPLETING", "SIGNALING", "STAGE_OUT", "STOPPED", "RESIZING", *PENDING_STATES}


@dataclass(frozen=True)
class JobState:
    """The state of a job or an array task: SLURM's word, its reason, and exit code and signal."""

    word: str
    reason: str = ""
    exit_code: str = ""

    @property
    def active(self) -> bool:
        """Whether it waits or runs."""
        return self.word in ACTIVE

    @property
    def failed(self) -> bool:
        """Whether it has ended otherwise than well."""
        return not self.active and self.word != "COMPLETED"


def submit(host: Host, script: str) -> str:
    """Queue a job script (a path on the host) and return the job's number.

    Raises
    ------
    InputError
        If SLURM refuses the request, with its reason.
    """
    done = host.run("sbatch", "--parsable", script)
    if done.returncode:
        raise InputError(f"SLURM refused the job: {refusal(done.stderr)}")
    return done.stdout.strip().split(";")[0]


def test_request(host: Host, script_text: str) -> str | None:
    """What SLURM has against a job script; None if it would take it."""
    done = _ask(host, "sbatch", "--test-only", stdin=script_text)
    if done.returncode == 127:
        return f"{host.name} has no sbatch; run this on a login node, or give the profile a host"
    return refusal(done.stderr) if done.returncode else None


def partition_limit(host: Host, partition: str | None) -> int | None:
    """Return the longest time in seconds that a partition gives a job; None if there is no limit.

    Where no partition is named, of the default one.
    """
    done = _ask(host, "sinfo", "-h", "-o", "%P|%l", *(["-p", partition] if partition else []))
    rows = [line.split("|") for line in done.stdout.splitlines()] if done.returncode == 0 else []
    limits = [limit for name, limit in rows if partition or name.endswith("*")]
    return seconds(limits[0]) if limits and limits[0] != "infinite" else None


def refusal(stderr: str) -> str:
    """SLURM's reason, without the name of its program."""
    lines = [line for line in stderr.splitlines() if "error:" in line or "failure" in line]
    return (
        (lines[-1] if lines else last_line(stderr))
        .replace("sbatch: error: ", "")
        .replace("allocation failure: ", "")
    )


def states(host: Host, jobs: Sequence[str]) -> dict[str, JobState]:
    """Ask for the states of jobs and array tasks ("12", "13_0", "13_1" …) that SLURM still knows.

    From the queue, else from accounting if there is any.
    """
    found: dict[str, JobState] = {}
    listing = _ask(host, "squeue", "--me", "-h", "-r", "-t", "all", "-o", "%i|%T|%r")
    if listing.returncode == 0:
        for line in listing.stdout.splitlines():
            job, word, reason = line.split("|", 2)
            found[job] = JobState(word, "" if reason == "None" else reason)
    missing = [job for job in jobs if not any(known.split("_")[0] == job for known in found)]
    if missing:
        accounts = _ask(
            host, "sacct", "-n", "-P", "-X", "-j", ",".join(missing), "-o", "JobID,State,ExitCode"
        )
        for line in accounts.stdout.splitlines() if accounts.returncode == 0 else []:
            job, word, code = line.split("|")
            found[job] = JobState(word.split(" ")[0], "", code)
    return found


def exit_code(host: Host, job: str) -> str:
    """Ask for exit code and signal of an ended job or array task, as "code:signal".

    Empty once SLURM has forgotten it.
    """
    done = _ask(host, "scontrol", "show", "job", "-o", job)
    words = (
        dict(word.split("=", 1) for word in done.stdout.split() if "=" in word)
        if done.returncode == 0
        else {}
    )
    return words.get("ExitCode", "")


def expected_start(host: Host, job: str) -> str:
    """When SLURM expects a waiting job to start, as it writes dates; empty if it does not say."""
    done = _ask(host, "squeue", "-h", "--start", "-j", job, "-o", "%S")
    text = last_line(done.stdout) if done.returncode == 0 else ""
    return "" if text == "N/A" else text


def cancel(host: Host, jobs: Sequence[str]) -> None:
    """Cancel jobs or array tasks.

    Raises
    ------
    RunError
        If SLURM refuses.
    """
    done = host.run("scancel", *jobs)
    if done.returncode:
        raise RunError(f"SLURM did not cancel {', '.join(jobs)}: {last_line(done.stderr)}")


def _ask(host: Host, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command that may not be installed there; it then fails with exit code 127."""
    return host.run("bash", "-c", 'exec "$@"', "ask", *arguments, stdin=stdin)
