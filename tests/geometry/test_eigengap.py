"""A gap is told from none by the other half of the data, and rounding is no gap."""

import pytest
import torch

from ired_interp.geometry import Eigengap, leading_subspace
from ired_interp.geometry.eigengap import matrix_gaps, vector_gaps
from ired_interp.geometry.resolution import check_rank, resolution


def split(vectors: torch.Tensor, p: int) -> Eigengap:
    halves = vectors[::2], vectors[1::2]
    found = [leading_subspace(half, p + 1)[0] for half in halves]
    gaps = (vector_gaps(found[1], halves[0], p), vector_gaps(found[0], halves[1], p))
    return Eigengap.of(torch.cat(gaps), resolution(len(halves[0]), vectors.dtype))


def test_isotropic_vectors_have_no_leading_subspace(normal):
    """Sorted eigenvalues of one half always differ; across halves the gap is 0 on average."""
    assert sum(split(normal(64, 16), 2).identified for _ in range(100)) <= 10  # 2.5 expected


def test_a_planted_gap_is_found(normal):
    scale = torch.ones(16, dtype=torch.float64)
    scale[:2] = 3
    gaps = [split(normal(64, 16) * scale, 2) for _ in range(20)]
    assert all(gap.identified for gap in gaps)
    mean = sum(gap.value for gap in gaps) / 20
    assert mean == pytest.approx(1 - 1 / 9, abs=0.15)  # of the largest eigenvalue, 9


def test_vectors_that_span_no_more_have_nothing_beyond(normal):
    flat = normal(20, 2) @ normal(2, 9)
    basis, _ = leading_subspace(flat[::2], 2)
    assert Eigengap.of(vector_gaps(basis, flat[1::2], 2), 1e-14).identified


def test_equal_eigenvalues_are_rounding_apart(normal):
    q = torch.linalg.qr(normal(30, 8, 8)).Q.float()
    equal, apart = torch.ones(8), torch.tensor([3.0, 2, 1, 1, 1, 1, 1, 1])
    for eigenvalues, p, truth in ((equal, 2, False), (apart, 2, True), (apart, 3, False)):
        matrices = (q * eigenvalues) @ q.mT
        values, vectors = torch.linalg.eigh(matrices.double())
        largest = values.abs().amax(-1)
        gaps = matrix_gaps(vectors.flip(-1), matrices.double(), largest, p)
        assert Eigengap.of(gaps, resolution(8, torch.float32)).identified == truth


def test_rank_is_checked_in_the_precision_of_the_data():
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        wide = torch.linalg.svdvals(torch.eye(200).double())
        assert check_rank(wide, dtype, 200, "a basis") == 200
    singular = torch.tensor([1.0, 1e-8], dtype=torch.float64)
    assert check_rank(singular, torch.float64, 2, "a basis") == 2
    with pytest.raises(ValueError, match=r"spans only 1 dimensions in torch\.float32"):
        check_rank(singular, torch.float32, 2, "a basis")
