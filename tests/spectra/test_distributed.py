"""Two processes over gloo, each with its own share of the data, against one process with all of
it."""

import socket
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp

from ired_interp.spectra import HessianOperator
from spectra_cases import case, dense_hessian, measure, worker


@pytest.mark.process
def test_two_ranks_equal_one_process(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(worker, (port, str(tmp_path)), nprocs=2)
    first, second = (np.load(tmp_path / f"rank{rank}.npz") for rank in (0, 1))
    c = case("mlp", "score")
    alone = HessianOperator(c.objective, c.parameters, batch=c.data)
    expected = measure(alone, None)
    expected |= {"resumed": expected["eigenvalues"], "resumed density": expected["density"]}
    expected["idle"] = (alone @ torch.ones(alone.shape[0], dtype=alone.dtype)).numpy()
    for name, values in expected.items():
        # Ranks agree to the bit.
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)
        # The sum over ranks is taken in another order: double rounding, amplified by the
        # iterations. Residuals, once converged, are rounding themselves, below what was asked.
        largest = expected["eigenvalues"] if name == "residuals" else values
        tolerance = (1e-8 if name == "residuals" else 1e-9) * np.abs(largest).max()
        np.testing.assert_allclose(first[name], values, rtol=0, atol=tolerance, err_msg=name)
    np.testing.assert_array_equal(first["sharded"], second["sharded"])
    square = case("mlp", "square")
    rows = tuple(d[:6] for d in square.data)
    matrix = dense_hessian(lambda: square.objective(rows), list(square.parameters.values()))
    expected_sharded = matrix.sum(1).numpy()
    error = np.linalg.norm(first["sharded"] - expected_sharded) / np.linalg.norm(expected_sharded)
    assert error < 1e-7
    assert first["sharded error"] < 1e-6
    for rank in (first, second):
        assert "not symmetric" in str(rank["fault"]), "that a batch of the second shows"
    assert (tmp_path / "run" / "state.npz").exists()
    assert (tmp_path / "seen by 0 alone" / "state.npz").exists()
    assert not (tmp_path / "seen by 1 alone").exists()
    assert first["products of all calls"] == second["products of all calls"]
