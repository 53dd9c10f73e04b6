"""What ended tasks used of what their job asked for, as far as anybody has kept it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ired_interp.cluster.host import Host
from ired_interp.cluster.profile import seconds
from ired_interp.cluster.slurm import largest_process
from ired_interp.cluster.submission import Submission, SubmittedTask

# Of each task: the seconds of all its starts, and the mean of what nvidia-smi said, once a minute.
_KEPT = """cd "$1" && shift
sum() {
    awk -F, '{ n += $1 } END { if (NR) print n / (mean ? NR : 1) }' mean="$1" "$2" 2>/dev/null
}
for i; do echo "$(sum 0 "used-$i")|$(sum 1 "gpu-$i")"; done"""
_HOUR = 3600
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def seconds_used(host: Host, one: Submission, task: SubmittedTask) -> float:
    """Return for how long a task ran, over all its starts; 0 where that is not known."""
    return _kept(host, one, [task])[0][0] or 0.0


def efficiency(host: Host, one: Submission, tasks: Sequence[SubmittedTask]) -> str:
    """Say in a line what ended tasks of a job used of what was asked, and what is not known."""
    script = host.read(f"{one.folder}/job.sbatch") or ""
    kept = _kept(host, one, tasks)
    parts = [_hours([used for used, _ in kept], _asked(script, "time"))]
    if _asked(script, "gpus-per-node") or "gpu" in _asked(script, "gres"):
        busy = [share for _, share in kept if share is not None]
        mean = f"{sum(busy) / len(busy):.0f} %" if busy else "not known (nvidia-smi said nothing)"
        parts.append(f"GPU busy {mean}")
    parts.append(_memory(host, one, tasks, _asked(script, "mem")))
    count = f", {len(tasks)} ended tasks" if len(tasks) > 1 else ""
    return f"{one.job}{count}: {'; '.join(parts)}"


def _hours(used: Sequence[float | None], limit: str) -> str:
    known = [one for one in used if one is not None]
    if not known or not limit:
        return "hours not known (the job left no record of them)"
    asked = len(known) * seconds(limit)
    missing = f" (of {len(used) - len(known)} tasks not known)" if len(known) < len(used) else ""
    share = f"{sum(known) / asked:.0%}".replace("%", " %")
    return f"used {sum(known) / _HOUR:.2f} of {asked / _HOUR:.2f} h asked, {share}{missing}"


def _memory(host: Host, one: Submission, tasks: Sequence[SubmittedTask], limit: str) -> str:
    size = largest_process(host, [task.job for task in tasks], one.cluster)
    if size is None:
        return "memory not known (SLURM has no account of it)"
    asked = re.fullmatch(r"(\d+)([KMGT]?)B?", limit)
    share = ""
    if asked:
        share = f" of {limit}, {size / (int(asked[1]) * _UNITS[asked[2] or 'M']):.0%}"
    return f"largest process {size / 2**30:.2f} GiB{share.replace('%', ' %')}"


def _kept(
    host: Host, one: Submission, tasks: Sequence[SubmittedTask]
) -> list[tuple[float | None, float | None]]:
    indices = [str(task.index) for task in tasks]
    lines = host.output("bash", "-c", _KEPT, "kept", one.folder, *indices).splitlines()
    rows = [line.partition("|") for line in lines]
    return [(_number(used), _number(busy)) for used, _, busy in rows]


def _number(text: str) -> float | None:
    return float(text) if text else None


def _asked(script: str, option: str) -> str:
    found = re.search(rf"^#SBATCH --{option}=(\S+)", script, re.MULTILINE)
    return found[1] if found else ""
