"""What SLURM says of jobs, asked in ways that work with and without accounting."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from ired_interp.cluster.host import Host, NoAnswer, last_line
from ired_interp.cluster.profile import Profile, seconds
from ired_interp.errors import InputError, RunError

PENDING_STATES = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SUSPENDED"}
ACTIVE = {"RUNNING", "COMPLETING", "SIGNALING", "STAGE_OUT", "STOPPED", "RESIZING", *PENDING_STATES}
NEVER = "DependencyNeverSatisfied"  # the reason of what waited for a job that did not end well
UNREACHABLE = "UNREACHABLE"  # our word for a job that SLURM could not be asked about

# After these words of sbatch the job may be queued all the same.
_UNCLEAR = re.compile(r"timed out|Zero Bytes were transmitted|Unexpected message|reset by peer")
# What `sbatch --test-only` says where nodes are missing now: such a job waits for them.
_WAITS = re.compile(r"Required node not available|Requested nodes are busy")
_TOO_LARGE = "Requested node configuration is not available"  # for ever, or while nodes are missing
_MISSING = re.compile(r"down|drain|fail|maint|no_respond|reserved")
# The site's variables that sbatch obeys before a script: of use where the profile leaves a choice.
_CHOICES = ("account", "clusters", "constraint", "partition", "qos", "reservation", "wckey")
# The others would replace what the script says; those of squeue, sacct, sinfo hide jobs from view.
_NEUTRAL = """for name in $(compgen -e); do
case $name in
SQUEUE_*|SACCT_*|SINFO_*|SCANCEL_*|SBATCH_*) [[ " $1 " == *" $name "* ]] || unset "$name";;
esac
done
shift
exec "$@"
"""


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
    def ended(self) -> bool:
        """Whether it is known to neither wait nor run."""
        return not self.active and self.word != UNREACHABLE

    @property
    def failed(self) -> bool:
        """Whether it has ended otherwise than well."""
        return self.ended and self.word != "COMPLETED"


@dataclass(frozen=True)
class Listed:
    """A job or array task as SLURM lists it: its state, the comment and the name that it has."""

    state: JobState
    comment: str
    name: str


def submit(
    host: Host, script: str, token: str, profile: Profile, more: Sequence[str] = ()
) -> tuple[str, str]:
    """Queue a job script (a path on the host) and return the job's number and cluster.

    The cluster is empty where SLURM names none, which is that of the host then.

    Parameters
    ----------
    token : str
        Written into the job's comment, by which the job is found if its number is not learnt.
    more : Sequence[str]
        Further options, of this submission alone.

    Raises
    ------
    InputError
        If SLURM refuses the request, with its reason.
    RunError
        If there is no SLURM.
    NoAnswer
        If it is not clear whether the job was queued.
    """
    own = [option.partition("=")[2] for option in profile.options if _names(option, "comment")]
    comment = " ".join([*own, token])
    command = ("sbatch", "--parsable", f"--comment={comment}", *more, script)
    done = _ask(host, *command, keep=_choices(profile))
    if done.returncode == 127:
        raise RunError(
            f"sbatch does not exist on {host.name}; run this on a login node, or give the profile "
            "a host."
        )
    if done.returncode and not _UNCLEAR.search(done.stderr):
        raise InputError(f"SLURM refused the job: {refusal(done.stderr)}")
    numbers = re.findall(r"^(\d+)(?:;(\S+))?$", done.stdout, re.MULTILINE)
    if done.returncode or len(numbers) != 1:
        raise NoAnswer(
            f"sbatch said: {last_line(done.stderr) or last_line(done.stdout) or 'nothing'}"
        )
    number, cluster = numbers[0]
    return number, cluster


def test_request(host: Host, script_text: str, profile: Profile) -> str | None:
    """What SLURM has against a job script; None if it would take it, now or once nodes are back."""
    done = _ask(host, "sbatch", "--test-only", stdin=script_text, keep=_choices(profile))
    if done.returncode == 127:
        return f"{host.name} has no sbatch; run this on a login node, or give the profile a host"
    waits = _WAITS.search(done.stderr) or (
        _TOO_LARGE in done.stderr and _misses_nodes(host, profile)
    )
    return refusal(done.stderr) if done.returncode and not waits else None


def _misses_nodes(host: Host, profile: Profile) -> bool:
    """Whether nodes of a partition are out of service: what it could give is not known then."""
    done = _ask(host, "sinfo", "-h", "-N", "-o", "%T", *_where(profile))
    return _MISSING.search(done.stdout) is not None


def partition_limit(host: Host, profile: Profile) -> int | None:
    """Return the longest time in seconds that a partition gives a job; None if there is no limit.

    Where the profile names no partition, of the default one.
    """
    done = _ask(host, "sinfo", "-h", "-o", "%P|%l", *_where(profile))
    rows = [line.split("|") for line in done.stdout.splitlines()] if done.returncode == 0 else []
    limits = [row[1] for row in rows if len(row) == 2 and (profile.partition or row[0][-1:] == "*")]
    return seconds(limits[0]) if limits and limits[0] != "infinite" else None


def largest_array(host: Host) -> int:
    """Return how many tasks an array may have; SLURM's own default where it does not say."""
    done = _ask(host, "scontrol", "show", "config")
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", done.stdout, re.MULTILINE)
    return max(1, int(found[1])) if found else 1001


def clusters_of(profile: Profile) -> str:
    """Return the clusters of a federation that a profile's options choose among; mostly empty."""
    named = [option for option in profile.options if _names(option, "clusters")]
    return named[-1].partition("=")[2] if named else ""


def refusal(stderr: str) -> str:
    """SLURM's reason, without the name of its program, and behind it what the site explains."""
    ours = [
        line for line in stderr.splitlines() if re.match(r"sbatch: |allocation failure: ", line)
    ]
    lines = ours or [last_line(stderr)]
    said = [re.sub(r"^(sbatch: )?(error: )?(allocation failure: )?", "", line) for line in lines]
    lines = [line.strip() for line in reversed(said) if line.strip()]
    reason, *explained = dict.fromkeys(lines or ["no reason"])
    return f"{reason} ({' '.join(reversed(explained))})" if explained else reason


def queue_of(host: Host, cluster: str = "") -> dict[str, Listed]:
    """Ask for all own jobs and array tasks ("12", "13_0", "13_1" …) that SLURM's queue knows.

    Raises
    ------
    NoAnswer
        If SLURM cannot be asked.
    """
    columns = "%i|%T|%r|%j|%k"
    done = _ask(host, "squeue", *_on(cluster), "--me", "-h", "-r", "-t", "all", "-o", columns)
    if done.returncode:
        raise NoAnswer(f"squeue on {host.name}: {last_line(done.stderr) or 'no answer'}")
    found = {}
    for line in done.stdout.splitlines():
        if match := re.fullmatch(r"([\d_]+)\|(\w+)\|([^|]*)\|([^|]*)\|(.*)", line):
            job, word, reason, name, comment = match.groups()
            found[job] = Listed(JobState(word, "" if reason == "None" else reason), comment, name)
    return found


def accounts_of(host: Host, jobs: Sequence[str], cluster: str = "") -> dict[str, Listed]:
    """Ask accounting for jobs that the queue has forgotten; nothing where there is none.

    Accounts keep array tasks that never started in one row, and of a job that was cancelled as it
    could never start only that nobody cancelled it, and that it last waited for another.
    """
    columns = "JobID,State,ExitCode,Reason,JobName,Comment"
    which = (*_on(cluster), "-j", ",".join(jobs))
    done = _ask(host, "sacct", "-n", "-P", "-X", *which, "-o", columns)
    found: dict[str, Listed] = {}
    for line in done.stdout.splitlines() if done.returncode == 0 else []:
        if match := re.fullmatch(r"([^|]+)\|([^|]*)\|([\d:]*)\|([^|]*)\|([^|]*)\|(.*)", line):
            rows, word, code, last, name, comment = match.groups()
            reason = NEVER if word == "CANCELLED" and last in ("Dependency", NEVER) else ""
            state = JobState(word.split(" ")[0], reason, code)
            found |= {job: Listed(state, comment, name) for job in _tasks(rows)}
    return found


def _tasks(rows: str) -> list[str]:
    """Names of all that a row is about: "12", "12_3", or "12_[0-2,5,6-10:2%1]"."""
    job, _, tasks = rows.partition("_[")
    if not tasks:
        return [rows]
    found: list[int] = []
    for first, last, step in re.findall(r"(\d+)(?:-(\d+))?(?::(\d+))?", tasks.partition("%")[0]):
        found += range(int(first), int(last or first) + 1, int(step or 1))
    return [f"{job}_{index}" for index in found]


def largest_process(host: Host, jobs: Sequence[str], cluster: str = "") -> int | None:
    """Ask accounting for the most bytes that a process of these jobs held; None if it says none."""
    done = _ask(host, "sacct", "-n", "-P", *_on(cluster), "-j", ",".join(jobs), "-o", "MaxRSS")
    sizes = re.findall(r"^([\d.]+)([KMGT]?)$", done.stdout, re.MULTILINE)
    units = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
    bytes_each = [int(float(number) * units[unit]) for number, unit in sizes]
    # What ended before SLURM looked at it has 0.
    return max(bytes_each, default=0) or None if done.returncode == 0 else None


def exit_code(host: Host, job: str, cluster: str = "") -> str:
    """Ask for exit code and signal of an ended job or array task, as "code:signal".

    Empty once SLURM has forgotten it.
    """
    done = _ask(host, "scontrol", *_on(cluster), "show", "job", "-o", job)
    words = (
        dict(word.split("=", 1) for word in done.stdout.split() if "=" in word)
        if done.returncode == 0
        else {}
    )
    return words.get("ExitCode", "")


def expected_start(host: Host, job: str, cluster: str = "") -> str:
    """When SLURM expects a waiting job to start, as it writes dates; empty if it does not say."""
    done = _ask(host, "squeue", *_on(cluster), "-h", "--start", "-j", job, "-o", "%S")
    text = last_line(done.stdout) if done.returncode == 0 else ""
    return "" if text == "N/A" else text


def cancel(host: Host, jobs: Sequence[str], cluster: str = "") -> None:
    """Cancel jobs or array tasks.

    Raises
    ------
    RunError
        If SLURM refuses.
    """
    done = _ask(host, "scancel", *_on(cluster), *jobs)
    if done.returncode:
        raise RunError(f"SLURM did not cancel {', '.join(jobs)}: {last_line(done.stderr)}")


def _ask(
    host: Host, *arguments: str, stdin: str = "", keep: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a command that may not be installed there; it then fails with exit code 127.

    Of the variables that change what it does, only those in `keep` count.
    """
    return host.run("bash", "-c", _NEUTRAL, "ask", " ".join(keep), *arguments, stdin=stdin)


def _choices(profile: Profile) -> list[str]:
    """Variables of the site's that choose what the profile leaves open."""
    said = {name for name in ("account", "partition", "qos") if getattr(profile, name)}
    said |= {name for name in _CHOICES for option in profile.options if _names(option, name)}
    return [f"SBATCH_{name.upper()}" for name in _CHOICES if name not in said]


def _on(cluster: str) -> list[str]:
    """Options that ask about jobs of another cluster than the host's."""
    return [f"--clusters={cluster}"] if cluster else []


def _where(profile: Profile) -> list[str]:
    """Options that ask about a profile's partition."""
    return [*_on(clusters_of(profile)), *(["-p", profile.partition] if profile.partition else [])]


def _names(option: str, name: str) -> bool:
    return option.partition("=")[0] == f"--{name}"
