"""Gradient statistics from inner products, against direct computation and planted truths."""

import numpy as np
import pytest

from ired_interp.probes.gram_statistics import (
    effective_ranks,
    gram_statistics,
    isotropic_participation,
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


@pytest.mark.parametrize("name", ["noise_scale", "snr", "mean_cosine"])
def test_error_is_the_jackknife(name: str) -> None:
    g = gradients(np.random.default_rng(1), count=8)
    without = np.array(
        [gram_statistics(h @ h.T)[name] for h in (np.delete(g, i, 0) for i in range(8))]
    )
    error = np.sqrt(7 / 8 * ((without - without.mean()) ** 2).sum())
    np.testing.assert_allclose(gram_statistics(g @ g.T)[f"{name}_error"], error, **EXACT)


@pytest.mark.parametrize("problems_each", [1, 4])
def test_recovers_a_planted_noise_scale_within_its_error(problems_each: int) -> None:
    rng = np.random.default_rng(2)
    scale = np.linspace(0.1, 2, 30)
    truth = (scale**2).sum() / (30 * 0.5**2)
    draws = 0.5 + rng.standard_normal((300, 24, problems_each, 30)).mean(2) * scale
    found = gram_statistics(draws @ draws.swapaxes(1, 2), problems_each)
    values, errors = found["noise_scale"], found["noise_scale_error"]
    # 300 repetitions: their mean is known to 6 % of one error bar; the estimate's own bias, of order 1/24, lies below one bar.
    assert abs(values.mean() - truth) < 0.5 * errors.mean()
    assert 0.7 < values.std() / errors.mean() < 1.4


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
