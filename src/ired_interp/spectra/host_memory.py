"""Host memory that this process can still take: what the system has, and what its cgroups allow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

# Limit, use, and the reclaimable part of the use (cached files), of cgroups v2 and v1.
_V2 = "memory.max", "memory.current", "inactive_file"
_V1 = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"


def free_host_memory(root: Path = Path("/")) -> int:
    """Memory that can be taken without swapping and without being killed.

    Parameters
    ----------
    root : Path
        Where /proc and /sys are.

    Returns
    -------
    int
        Bytes: the least of what the system and each cgroup above this process leave.
    """
    bounds = [1 << 62, *_system(root), *_cgroups(root)]
    return max(0, min(bounds))


def _system(root: Path) -> Iterator[int]:
    file = root / "proc/meminfo"
    if file.exists():
        fields = dict(line.split(":", 1) for line in file.read_text().splitlines() if ":" in line)
        yield int(fields["MemAvailable"].split()[0]) * 1024


def _cgroups(root: Path) -> Iterator[int]:
    """Yield what is left in the process's cgroups and in those that hold them.

    A container sees its own cgroup at the top of the mounted tree, whatever path the process has.
    """
    file = root / "proc/self/cgroup"
    for line in file.read_text().splitlines() if file.exists() else ():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        names = _V1 if controllers else _V2
        mounted = root / "sys/fs/cgroup" / ("memory" if controllers else "")
        place = mounted / path.strip("/")
        for folder in (place, *place.parents):
            if folder.is_relative_to(mounted):
                yield from _left(folder, *names)


def _left(folder: Path, limit: str, use: str, reclaimable: str) -> Iterator[int]:
    try:
        most, used = (folder / limit).read_text().strip(), int((folder / use).read_text())
        lines = (folder / "memory.stat").read_text().splitlines()
    except OSError:
        return
    if most != "max":
        cached = dict(line.split() for line in lines).get(reclaimable, "0")
        yield int(most) - used + int(cached)
