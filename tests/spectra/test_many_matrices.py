"""Eigenpairs of many matrices are those of each, however many threads find them."""

import pytest
import torch

from ired_interp.random import stream
from ired_interp.spectra import many_eigenpairs, many_eigenvalues


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 25])
def test_eigenvalues_are_those_of_each_matrix(threads, count):
    known = torch.randn(count, 6, generator=stream("cpu", 0), dtype=torch.float64).sort().values
    random = torch.randn(count, 6, 6, generator=stream("cpu", 1), dtype=torch.float64)
    basis = torch.linalg.qr(random).Q
    matrices = basis @ torch.diag_embed(known) @ basis.mT
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found, (values, vectors) = many_eigenvalues(matrices), many_eigenpairs(matrices)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(found, known, rtol=0, atol=1e-13)
    torch.testing.assert_close(values, known, rtol=0, atol=1e-13)
    again = vectors @ torch.diag_embed(values) @ vectors.mT
    torch.testing.assert_close(again, matrices, rtol=0, atol=1e-13)
