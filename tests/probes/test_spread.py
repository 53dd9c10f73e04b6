"""Intervals over problems hold the truth, also of skewed values and doubtful ratios."""

import numpy as np
import pytest
import torch

from ired_interp.probes.pairs import partners, summed_by_pair
from ired_interp.probes.spread import mean_error, ratio_of_means

DRAWS, PROBLEMS = 2000, 32


def coverage(value: np.ndarray, error: np.ndarray, truth: float) -> float:
    """Share of the intervals of two errors that hold the truth, of those that are told."""
    told = np.isfinite(value)
    return float((np.abs(value - truth) <= 2 * error)[told].mean())


def test_a_relative_distance_is_told_by_sums_and_not_by_a_mean_of_ratios() -> None:
    """Answers uvᵀ of rank 1: 1/‖y*‖ has a tail that 32 problems seldom show."""
    rng = np.random.default_rng(0)
    u, v = rng.standard_normal((2, DRAWS, PROBLEMS, 4))
    size = np.linalg.norm(u, axis=-1) * np.linalg.norm(v, axis=-1)
    mean_size = (3 * np.sqrt(2 * np.pi) / 4) ** 2  # of χ with 4 degrees of freedom, twice
    moved = np.ones_like(size)
    assert coverage(*ratio_of_means(moved, size), 1 / mean_size) > 0.93
    mean_inverse = (np.sqrt(2 * np.pi) / 4) ** 2  # of 1/χ, twice
    assert coverage((1 / size).mean(-1), mean_error(1 / size), mean_inverse) < 0.91


@pytest.mark.parametrize(("shift", "least", "most"), [(0.02, 0.0, 0.03), (2.0, 0.99, 1.0)])
def test_a_ratio_is_told_only_where_its_denominator_is(
    shift: float, least: float, most: float
) -> None:
    rng = np.random.default_rng(1)
    below = shift + rng.standard_normal((DRAWS, PROBLEMS))
    value, error = ratio_of_means(0.5 * below + rng.standard_normal(below.shape), below)
    told = float(np.isfinite(value).mean())
    assert least <= told <= most
    assert (np.isfinite(value) == np.isfinite(error)).all()
    if told > 0.5:
        assert coverage(value, error, 0.5) > 0.93


def test_values_of_one_sign_are_divided_however_they_scatter() -> None:
    ratio, error = ratio_of_means(np.array([[1.0, 1.0]]), np.array([[1e-9, 1.0]]))
    assert np.isfinite(ratio).all()
    assert np.isfinite(error).all()


@pytest.mark.parametrize("count", [32, 33])
def test_problems_held_against_others_count_by_pairs(count: int) -> None:
    """A sum of two problems occurs with either: in a chain, neighbours would share one."""
    drawn = np.random.default_rng(2).standard_normal((DRAWS, count))
    ones = np.ones_like(drawn)
    paired = np.stack([drawn + drawn[:, partners(count).numpy()], ones])
    assert coverage(*ratio_of_means(*summed_by_pair(paired)), 0.0) > 0.93
    chain = drawn + np.roll(drawn, 1, 1)
    assert coverage(chain.mean(-1), mean_error(chain), 0.0) < 0.88


def test_everyone_has_one_partner_who_is_another() -> None:
    for count in range(2, 12):
        other = partners(count)
        assert sorted(other.tolist()) == list(range(count))
        assert (other != torch.arange(count)).all()
    assert partners(1).tolist() == [0]
