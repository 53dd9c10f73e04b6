"""Many parameters in bounded memory."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ired_interp.spectra import HessianOperator, MatrixOperator, basis, lanczos
from ired_interp.spectra.meter import MemoryMeter
from ired_interp.spectra.vectors import parse_bytes
from spectra_cases import SPECTRA, matrix


def test_many_parameters_keep_to_the_memory_of_graph_and_basis() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(100, 400), nn.Tanh(), nn.Linear(400, 150))
    with torch.no_grad():
        module[2].weight[:3] *= torch.tensor([[8.0], [4.0], [2.0]])  # so that three stand out
    x, y = torch.randn(64, 100), torch.randn(64, 150)
    with MemoryMeter(module.parameters()) as meter:
        operator = HessianOperator(
            lambda b: F.mse_loss(module(b[0]), b[1]), module, batch=(x, y), memory="5MiB"
        )
        found = lanczos(operator, 3, "LA", memory="8.6MiB", progress=False)
    assert operator.shape[0] == 100_550
    assert found.converged.all()
    assert found.restarts, "the limit was not reached"
    assert meter.peak < parse_bytes("5MiB") + parse_bytes("8.6MiB")


def test_a_basis_in_blocks_of_one_row_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = matrix(SPECTRA["even"])
    whole = lanczos(MatrixOperator(exact), 4, "BE", 1e-8, memory="100KB", progress=False)
    monkeypatch.setattr(basis, "_BYTES", 1)
    single = lanczos(MatrixOperator(exact), 4, "BE", 1e-8, memory="100KB", progress=False)
    assert single.restarts
    assert single.converged.all()
    torch.testing.assert_close(single.eigenvalues, whole.eigenvalues, rtol=1e-8, atol=0)
    ends = torch.linalg.eigvalsh(exact)[[-1, -2, 1, 0]]
    torch.testing.assert_close(single.eigenvalues.sort(descending=True)[0], ends)
