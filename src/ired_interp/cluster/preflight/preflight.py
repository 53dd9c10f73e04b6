"""The checks of a job in their order, and the job that passed them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ired_interp.cluster.assignment import assign_runs, job_name
from ired_interp.cluster.chain import Chain
from ired_interp.cluster.job import Job
from ired_interp.cluster.preflight.check import Check
from ired_interp.cluster.preflight.destination import (
    environment_check,
    folder_check,
    module_check,
    run_checks,
    slurm_check,
)
from ired_interp.cluster.preflight.dry_run import dry_run_checks
from ired_interp.cluster.preflight.request import request_checks, time_check
from ired_interp.cluster.preflight.source import source_checks
from ired_interp.cluster.site import Site
from ired_interp.cluster.tasks import JobTask


@dataclass
class Preflight:
    """The checks of a job, and what they find out on the way.

    Attributes
    ----------
    site : Site
        The repository, and the cluster that it is for.
    tasks : list[JobTask]
        As they were asked for.
    thorough : bool
        Measure memory and GPU use, too.
    facts : dict
        Of each task by its index, as its rehearsal reported them (experiment, name, devices …).
    after : Chain
        The jobs that it waits for.
    to_come : Mapping[str, Sequence[str]]
        Runs that other jobs may have yet to make, each with the arguments of its training.
    name : str
        Of the job, and of its run if that has none of its own.
    """

    site: Site
    tasks: list[JobTask]
    thorough: bool = False
    facts: dict[int, dict[str, Any]] = field(default_factory=dict)
    after: Chain = field(default_factory=Chain)
    to_come: Mapping[str, Sequence[str]] = field(default_factory=dict)
    name: str = field(default_factory=lambda: time.strftime("%Y-%m-%d_%H-%M-%S"))

    def checks(self) -> Iterator[Check]:
        """Yield all checks that can be made, whatever fails."""
        committed = True
        for check in source_checks(self.site, self.tasks):
            committed &= check.ok
            yield check
        if committed:
            yield from dry_run_checks(
                self.site, self.tasks, self.thorough, self.facts, self.to_come
            )
        yield from request_checks(self.site.profile, self.tasks, self.facts)
        yield time_check(self.site.profile)
        yield folder_check(self.site)
        yield from module_check(self.site)
        if not committed:
            return
        job = self.job()
        if len(self.facts) == len(self.tasks):
            yield from run_checks(self.site, job.tasks, self.after.folders)
        yield environment_check(self.site)
        yield slurm_check(self.site, job)

    def job(self) -> Job:
        """Return the job that was checked."""
        site = self.site
        tasks = assign_runs(self.tasks, self.facts, site.folder, self.name, site.profile)
        return site.job(job_name(tasks, self.name), tasks, f"{site.jobs}/{self.name}", self.after)
