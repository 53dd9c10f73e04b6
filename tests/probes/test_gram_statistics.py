"""Gradient statistics from inner products, against direct computation and planted truths."""

import numpy as np
import pytest
from scipy import stats

from ired_interp.probes.gram_statistics import (
    effective_ranks,
    gram_statistics,
    isotropic_participation,
    noise_statistics,
)

EXACT = {"rtol": 1e-10, "atol": 1e-12}  # float64, a few hundred additions


def gradients(
    rng: np.random.Generator, count: int = 12, dimension: int = 30, signal: float = 0.5
) -> np.ndarray:
    return signal + rng.standard_normal((count, dimension)) * np.linspace(0.1, 2, dimension)


def test_agrees_with_all_gradients_at_hand() -> None:
    g = gradients(np.random.default_rng(0))
    found = gram_statistics(g @ g.T)
    covariance = np.cov(g.T)
    noise = np.trace(covariance)
    signal = (g.mean(0) ** 2).sum() - noise / len(g)
    unit = g / np.linalg.norm(g, axis=1, keepdims=True)
    pairs = (unit @ unit.T)[np.triu_indices(len(g), 1)]
    eigenvalues = np.linalg.eigvalsh(covariance)[::-1][: len(g) - 1]
    truth = {
        "signal": signal,
        "noise": noise,
        "noise_scale": noise / signal,
        "snr": np.sqrt(signal / noise),
    }
    for name, value in (truth | {"mean_cosine": pairs.mean(), "eigenvalues": eigenvalues}).items():
        np.testing.assert_allclose(found[name], value, **EXACT, err_msg=name)
    np.testing.assert_allclose(
        found["participation"], np.trace(covariance) ** 2 / (covariance**2).sum(), **EXACT
    )


@pytest.mark.parametrize("name", ["signal", "noise", "mean_cosine", "participation"])
def test_error_is_the_jackknife(name: str) -> None:
    g = gradients(np.random.default_rng(1), count=8)
    without = np.array(
        [gram_statistics(h @ h.T)[name] for h in (np.delete(g, i, 0) for i in range(8))]
    )
    few = stats.t.ppf(0.975, 7) / stats.norm.ppf(0.975)
    error = few * np.sqrt(7 / 8 * ((without - without.mean()) ** 2).sum())
    np.testing.assert_allclose(gram_statistics(g @ g.T)[f"{name}_error"], error, **EXACT)


@pytest.mark.parametrize("problems_each", [1, 4])
def test_recovers_a_planted_noise_scale_within_its_error(problems_each: int) -> None:
    rng = np.random.default_rng(2)
    scale = np.linspace(0.1, 2, 30)
    truth = (scale**2).sum() / (30 * 0.5**2)
    draws = 0.5 + rng.standard_normal((300, 24, problems_each, 30)).mean(2) * scale
    found = noise_statistics(draws @ draws.swapaxes(1, 2), problems_each)
    inside = (found["noise_scale_low"] < truth) & (truth < found["noise_scale_high"])
    assert 0.92 <= inside.mean() <= 1  # 300 repetitions: 0.96 ± 0.012
    np.testing.assert_allclose(found["snr_high"], found["noise_scale_low"] ** -0.5)
    np.testing.assert_allclose(found["snr_low"], found["noise_scale_high"] ** -0.5)


@pytest.mark.parametrize(("count", "truth"), [(8, 200.0), (8, 10.0), (32, 10.0), (128, 20.0)])
@pytest.mark.parametrize("tails", ["normal", "t3", "log-normal"])
def test_noise_scales_of_few_and_heavy_tailed_gradients_are_covered_or_left_open(
    count: int, truth: float, tails: str
) -> None:
    """Of 200 draws; each gradient's noise is scaled by itself, with a known mean square."""
    rng = np.random.default_rng(5)
    scale, power = {
        "normal": (np.ones((200, count, 1)), 1.0),
        "t3": (np.sqrt(3 / rng.chisquare(3, (200, count, 1))), 3.0),
        "log-normal": (np.exp(rng.standard_normal((200, count, 1))), np.exp(2)),
    }[tails]
    g = rng.standard_normal((200, count, 40)) * scale * np.sqrt(truth / 40 / power)
    g[..., 0] += 1
    found = noise_statistics(g @ g.swapaxes(1, 2))
    low, high = found["noise_scale_low"], found["noise_scale_high"]
    # 0.85 is 0.9 less twice the standard deviation of 200 draws.
    assert ((low <= truth) & (truth <= high)).mean() >= 0.85
    if tails == "normal" and count > 8:
        assert np.isfinite(high).mean() > 0.8
        assert np.median(high[np.isfinite(high)] / low[np.isfinite(high)]) < 3
    if tails == "log-normal":
        assert np.isinf(high).mean() > 0.9


def test_no_common_direction_is_said() -> None:
    g = np.array([[1.0, 0.1], [-1.0, 0.0], [0.1, -1.0], [-0.1, 0.9]])
    found = gram_statistics(g @ g.T)
    assert found["noise_scale"] == np.inf
    assert found["snr"] == 0


def test_effective_ranks_of_known_spectra() -> None:
    found = effective_ranks(np.array([[1, 1, 1, 0], [5, 0, 0, 0]]))
    np.testing.assert_allclose(found["participation"], [3, 1], **EXACT)
    np.testing.assert_allclose(found["entropy_rank"], [3, 1], **EXACT)


def test_isotropic_participation() -> None:
    draws = np.random.default_rng(3).standard_normal((400, 20, 50))
    found = gram_statistics(draws @ draws.swapaxes(1, 2))["participation"]
    assert found.mean() == pytest.approx(
        isotropic_participation(20, 50), rel=0.02
    )  # mean of ratios against ratio of means
