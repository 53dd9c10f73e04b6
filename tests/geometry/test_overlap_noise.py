import numpy as np
import pytest
import torch

from ired_interp.geometry import (
    corrected_overlap,
    corrected_overlap_error,
    orthonormal_basis,
    overlap,
)


@pytest.mark.parametrize("n", [40, 1500])  # at n = 40 chance is 0.1 and must be accounted for
def test_planted_overlap_is_recovered(planes, normal, n):
    angles = torch.tensor([0.2, 0.5, 0.7, 1.1], dtype=torch.float64)
    u, v = planes(n, angles.tolist())
    truth = overlap(u, v).item()

    def estimates(plane, noise):
        return orthonormal_basis(plane + noise / n**0.5 * normal(300, n, 4))

    observed = overlap(estimates(u, 0.9), estimates(v, 1.3)).mean()
    reliable = overlap(estimates(u, 0.9), estimates(u, 0.9)).mean()
    less_reliable = overlap(estimates(v, 1.3), estimates(v, 1.3)).mean()
    assert observed < truth - 0.2
    # 300 draws of a statistic that scatters by about 0.1; noise of this size is isotropic to first
    # order only.
    assert corrected_overlap(observed, reliable, less_reliable, 4 / n).item() == pytest.approx(
        truth, abs=0.02
    )


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("truth", [0.1, 0.5, 0.9])
def test_error_covers_a_planted_overlap(normal, truth, shared):
    """400 draws of one pair of planes in noise: an interval of 95 % holds the truth in 90 to 99 %."""
    n, p = 400, 3
    q = orthonormal_basis(normal(400, n, 2 * p))
    u, v = q[..., :p], truth**0.5 * q[..., :p] + (1 - truth) ** 0.5 * q[..., p:]
    noise = normal(4, 400, n, p) / n**0.5
    if shared:  # each batch is seen by both frames
        noise[2:] = noise[:2]
    first, repeat = u + noise[0], u + noise[1]
    other, other_repeat = v + noise[2], v + noise[3]
    observed = (overlap(first, other_repeat) + overlap(repeat, other)) / 2
    reliable = overlap(first, repeat), overlap(other, other_repeat)
    found = corrected_overlap(observed, *reliable, p / n)
    error = corrected_overlap_error(observed, *reliable, overlap(first, other), n, p)
    assert 0.9 < ((found - truth).abs() < 1.96 * error).double().mean() <= 0.99
    assert error.mean() < 0.1


def test_without_chance_it_is_spearmans_correction():
    assert corrected_overlap(np.array(0.3), np.array(0.5), np.array(0.8)) == pytest.approx(
        0.3 / np.sqrt(0.4)
    )


def test_an_estimate_no_better_than_chance_says_nothing():
    reliability = torch.tensor([0.5, 0.01, 0.0], dtype=torch.float64)
    corrected = corrected_overlap(
        torch.full((3, 3), 0.2), reliability[:, None], reliability, chance=0.02
    )
    assert corrected.isnan().tolist() == [[False, True, True], [True] * 3, [True] * 3]
