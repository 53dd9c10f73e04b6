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
    values, differences = (torch.cat(parts) for parts in zip(*gaps, strict=True))
    return Eigengap.of(values, resolution(len(halves[0]), vectors.dtype), differences)


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


@pytest.mark.parametrize(("scale", "p"), [((1.4, 1.4, 1.0), 2), ((2.2, 1.0), 1)])
def test_the_interval_of_a_gap_holds_what_the_directions_found_show(normal, scale, p):
    """Of known covariance C: u_pᵀCu_p − u_{p+1}ᵀCu_{p+1} of u_1ᵀCu_1, a mean over both halves."""
    deviations = torch.ones(12, dtype=torch.float64)
    deviations[: len(scale)] = torch.tensor(scale, dtype=torch.float64)
    pulls = []
    for _ in range(150):
        vectors = normal(128, 12) * deviations
        shown = []
        for half in (vectors[::2], vectors[1::2]):
            found = leading_subspace(half, p + 1)[0]
            sizes = (found * deviations[:, None]).square().sum(0)
            shown.append(float((sizes[p - 1] - sizes[p]) / sizes[0]))
        gap = split(vectors, p)
        pulls.append((gap.value - sum(shown) / 2) / gap.error)
    pulls = torch.tensor(pulls)
    assert 0.85 < float(pulls.std()) < 1.3
    assert float((pulls.abs() < 2).double().mean()) > 0.88


def test_a_single_direction_is_all_there_is(normal):
    """Vectors of any length along it have a gap of 1, and nothing scatters."""
    line = normal(40, 1) @ normal(1, 9)
    basis, _ = leading_subspace(line[::2], 1)
    gap = Eigengap.of(vector_gaps(basis, line[1::2], 1)[0], 1e-14)
    assert gap.value == pytest.approx(1, abs=1e-12)
    assert gap.error < 1e-12


def test_vectors_that_span_no_more_have_nothing_beyond(normal):
    flat = normal(20, 2) @ normal(2, 9)
    basis, _ = leading_subspace(flat[::2], 2)
    values, differences = vector_gaps(basis, flat[1::2], 2)
    assert Eigengap.of(values, 1e-14, differences).identified


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
