"""Which submitted job a run belongs to, as a process finds it that trains the run by hand."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ired_interp.cluster.chain import waited_for
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
        links = sorted(
            (folder / JOBS / ".claims").glob(f"{claim_name(str(run.absolute()))}-*"),
            key=lambda link: int(link.name.rpartition("-")[2]),
        )
        if not links:
            continue
        holder = os.readlink(links[-1])
        recorded = submissions(Host(), str(folder))
        own = {environment.get(name) for name in _OWN}
        others = [
            one
            for one in recorded
            if one.folder == holder and not own & {one.job, *waited_for(recorded, one)}
        ]
        if found := busy(Host(), others, str(run.absolute())):
            raise InputError(f"{found[0]}; {found[1]}.")
