"""Whether the request fits the configuration, and leaves time to save."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ired_interp.cluster.preflight.check import Check
from ired_interp.cluster.profile import Profile
from ired_interp.cluster.tasks import JobTask

_SIGNAL_AT_LEAST = 30  # seconds: the step under way is finished and the state saved
_LIMIT_OVER_SIGNAL = 4


def request_checks(
    profile: Profile, tasks: Sequence[JobTask], facts: Mapping[int, Mapping[str, Any]]
) -> Iterator[Check]:
    """Check that the profile and the configuration of every task agree."""
    if profile.devices and profile.tasks != profile.devices:
        yield Check(
            "request",
            False,
            f"profile {profile.name} asks for {profile.devices} GPUs and {profile.tasks} tasks "
            "on a node",
            "set tasks to the number of GPUs: each process drives one",
        )
        return
    wrong = [line for task in tasks for line in _misfits(profile, facts.get(task.index, {}))]
    for found in dict.fromkeys(wrong):
        remedy = "change the profile or the configuration, so that they agree"
        yield Check("request", False, found, remedy)
    if not wrong:
        gpus = f", {profile.devices} GPUs each" if profile.devices else ""
        processes = f"{profile.ranks} process{'es' if profile.ranks > 1 else ''}"
        found = (
            f"{profile.nodes} × {profile.tasks} tasks{gpus} for {processes} of the configuration"
        )
        yield Check("request", True, found)


def _misfits(profile: Profile, facts: Mapping[str, Any]) -> Iterator[str]:
    devices, nodes = facts.get("devices", "auto"), facts.get("num_nodes", 1)
    count = len(devices) if isinstance(devices, list) else devices
    accelerator = facts.get("accelerator", "auto")
    has = f"but profile {profile.name}"
    if count not in ("auto", -1, "-1", 1, "1", profile.tasks, str(profile.tasks)):
        yield f"trainer.devices is {devices}, {has} has {profile.tasks} tasks on a node"
    if nodes not in (1, profile.nodes):
        yield f"trainer.num_nodes is {nodes}, {has} has {profile.nodes} nodes"
    if accelerator == "cpu" and profile.devices:
        yield f"trainer.accelerator is cpu, {has} asks for {profile.devices} GPUs"
    if accelerator in ("gpu", "cuda") and not profile.devices:
        yield f"trainer.accelerator is {accelerator}, {has} asks for no GPU"


def time_check(profile: Profile) -> Check:
    """Check that there is time to save before the limit."""
    found = (
        f"time limit {profile.time}, and {profile.signal} s before it the job saves "
        "and is queued again"
    )
    remedy = ""
    if profile.signal < _SIGNAL_AT_LEAST:
        remedy = f"raise signal to {_SIGNAL_AT_LEAST} or more: a step is finished and saved in it"
    elif profile.seconds < _LIMIT_OVER_SIGNAL * profile.signal:
        remedy = f"raise time to {_LIMIT_OVER_SIGNAL} × signal or more, or nothing gets done"
    return Check("time", not remedy, found, remedy)
