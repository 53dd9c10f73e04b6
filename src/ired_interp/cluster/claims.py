"""Which submitted job a run belongs to, as a process finds it that trains the run by hand."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ired_interp.cluster.host import Host
from ired_interp.cluster.queueing import busy, claim_name
from ired_interp.cluster.submission import JOBS, submissions
from ired_interp.errors import InputError

_OWN = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID")


def check_no_job_trains(run: Path, environment: Mapping[str, str] = os.environ) -> None:
    """Refuse to train a run that a submitted job trains or waits to train, from outside of it.

    Parameters
    ----------
    run : Path
        Of which the folder of runs lies beside that of jobs, as `ired submit` makes them.
    environment : mapping
        Says what job this process is of.

    Raises
    ------
    InputError
        If there is such a job, or SLURM does not say what became of it.
    """
    for folder in run.absolute().parents:
        links = (folder / JOBS / ".claims").glob(f"{claim_name(str(run.absolute()))}-*")
        holders = {int(link.name.rpartition("-")[2]): os.readlink(link) for link in links}
        if not holders:
            continue
        recorded = [
            one for one in submissions(Host(), str(folder)) if one.folder in holders.values()
        ]
        own = {environment.get(name) for name in _OWN}
        if any(one.job in own for one in recorded):
            return  # others may wait for this job
        last = [one for one in recorded if one.folder == holders[max(holders)]]
        if found := busy(Host(), last, str(run.absolute())):
            raise InputError(f"{found[0]}; {found[1]}.")
