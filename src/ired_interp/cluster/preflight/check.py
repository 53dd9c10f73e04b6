"""One check of a job."""

from __future__ import annotations

from dataclasses import dataclass

from ired_interp.cluster.tasks import JobTask


@dataclass(frozen=True)
class Check:
    """What was checked, whether it is well, what was found, and what to do if it is not."""

    name: str
    ok: bool
    found: str
    remedy: str = ""


def check_name(check: str, task: JobTask) -> str:
    """Return the name of a check of one task of an array."""
    return f"{check} [{task.label}]" if task.label else check
