"""Two processes of one command, started with the variables of torchrun or of srun."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import xarray as xr

from ired_interp.results import read_result

PROGRAM = "import sys; from ired_interp.cli import main; sys.exit(main())"


def torchrun(rank: int, port: int) -> dict[str, str]:
    variables = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": 2,
        "LOCAL_WORLD_SIZE": 2,
        "MASTER_PORT": port,
    }
    return {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "test"} | {
        k: str(v) for k, v in variables.items()
    }


def srun(rank: int, port: int) -> dict[str, str]:
    job = {
        "SLURM_JOB_ID": "1",
        "SLURM_STEP_ID": "0",
        "SLURM_JOB_NAME": "probe",
        "SLURM_NODELIST": "127.0.0.1",
    }
    step = {
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_NNODES": "1",
        "SLURM_NODEID": "0",
    }
    return (
        job
        | step
        | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank), "MASTER_PORT": str(port)}
    )


def two(
    launcher: Callable[[int, int], dict[str, str]],
    folder: Path,
    *arguments: object,
    program: str = PROGRAM,
) -> list[tuple[int, str, str]]:
    """(exit code, stdout, stderr) of each of two tasks of a command, which end within two minutes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)],
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", **launcher(rank, port)},
            **pipes,
        )
        for rank in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=600) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [
        (process.returncode, *output) for process, output in zip(processes, outputs, strict=True)
    ]


def results(folder: Path) -> dict[str, xr.Dataset]:
    return {
        str(path.relative_to(folder)): read_result(path) for path in sorted(folder.rglob("*.nc"))
    }
