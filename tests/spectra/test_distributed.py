"""Two processes over gloo, each with its own share of the data, against one process with all of it."""

import os
import socket
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from cases import case

from ired_interp.spectra import HessianOperator, density, lanczos, trace


def measure(operator: HessianOperator, folder: Path | None) -> dict[str, np.ndarray]:
    found = lanczos(operator, 5, "BE", 1e-8, seed=4, progress=False, checkpoint=folder)
    return {
        "eigenvalues": found.eigenvalues.numpy(),
        "residuals": found.residuals.numpy(),
        "gradient": operator.gradient().numpy(),
        "density": density(operator, 3, 10, progress=False).values,
        "trace": np.array(trace(operator, 16, progress=False).value),
        "budget": np.array(lanczos(operator, 5, max_seconds=0.0, progress=False).matvecs),
    }


def worker(rank: int, port: int, folder: str) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    c = case("mlp", "score")
    share = [tuple(d[:5] for d in c.data)] if rank == 0 else [tuple(d[5:] for d in c.data)]
    operator = HessianOperator(c.objective, c.parameters, share, group=dist.group.WORLD)
    results = measure(operator, Path(folder) / "run")
    idle = HessianOperator(c.objective, c.parameters, [c.data] if rank == 0 else [], group=dist.group.WORLD)
    results["idle"] = (idle @ torch.ones(idle.shape[0], dtype=idle.dtype)).numpy()
    np.savez(Path(folder) / f"rank{rank}.npz", **results)
    dist.destroy_process_group()


def test_two_ranks_equal_one_process(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(worker, (port, str(tmp_path)), nprocs=2)
    first, second = (np.load(tmp_path / f"rank{rank}.npz") for rank in (0, 1))
    c = case("mlp", "score")
    alone = HessianOperator(c.objective, c.parameters, [c.data])
    expected = measure(alone, None)
    expected["idle"] = (alone @ torch.ones(alone.shape[0], dtype=alone.dtype)).numpy()
    for name, values in expected.items():
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)  # ranks agree to the bit
        # The sum over ranks is taken in another order: double rounding, amplified a little by the iterations.
        tolerance = 1e-8 if name == "residuals" else 1e-9 * np.abs(values).max()
        np.testing.assert_allclose(first[name], values, rtol=0, atol=tolerance, err_msg=name)
    assert (tmp_path / "run" / "state.npz").exists()
