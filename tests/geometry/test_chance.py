import numpy as np
import pytest
import scipy.stats

from ired_interp.errors import InputError
from ired_interp.geometry import (
    chance_angles,
    chance_band,
    chance_overlap,
    principal_angles,
)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.mark.parametrize(
    ("n", "p", "q"), [(20, 3, 3), (20, 2, 5), (12, 8, 3), (9, 7, 6), (5, 2, 5)]
)
def test_sampler_has_the_distribution_of_random_planes(rng, n, p, q):
    drawn = chance_angles(n, p, q, 3000, rng)
    direct = principal_angles(rng.standard_normal((3000, n, p)), rng.standard_normal((3000, n, q)))
    assert drawn.shape == direct.shape
    forced = max(0, p + q - n)
    np.testing.assert_allclose(drawn[:, :forced], 0, atol=1e-14)  # planes that must meet
    for index in range(forced, min(p, q)):
        assert scipy.stats.ks_2samp(drawn[:, index], direct[:, index]).pvalue > 1e-3


def test_vector_against_plane_is_a_beta_variable_in_a_million_dimensions(rng):
    squares = np.cos(chance_angles(10**6, 1, 20, 4000, rng)[:, 0]) ** 2
    assert scipy.stats.kstest(squares, scipy.stats.beta(10, (10**6 - 20) / 2).cdf).pvalue > 1e-3


@pytest.mark.parametrize(("n", "p", "q"), [(15, 4, 4), (30, 2, 7), (1_300_000, 20, 20)])
def test_moments_of_the_overlap(rng, n, p, q):
    values = np.square(np.cos(chance_angles(n, p, q, 8000, rng))).sum(-1) / p
    mean, sd = chance_overlap(n, p, q)
    assert values.mean() == pytest.approx(mean, abs=4 * sd / np.sqrt(8000))  # four standard errors
    assert values.std() == pytest.approx(sd, rel=0.04)


@pytest.mark.parametrize(
    ("n", "p", "low", "high"),
    [
        (20, 2, 0.014, 0.248),
        (20, 5, 0.154, 0.357),
        (20, 10, 0.431, 0.568),
        (1_300_000, 20, 1.33e-5, 1.76e-5),
    ],
)
def test_band_agrees_with_recorded_sampling(n, p, low, high):
    band = chance_band(n, p, p, draws=4000)
    assert band.low == pytest.approx(low, abs=0.025 * high)
    assert band.high == pytest.approx(high, abs=0.025 * high)
    assert band == chance_band(n, p, p, draws=4000)


def test_band_of_a_distance_covers_its_level(rng):
    band = chance_band(25, 3, 3, "geodesic", level=0.8, draws=4000)
    angles = principal_angles(
        rng.standard_normal((4000, 25, 3)), rng.standard_normal((4000, 25, 3))
    )
    distances = np.linalg.norm(angles, axis=-1)
    assert np.mean((band.low < distances) & (distances < band.high)) == pytest.approx(0.8, abs=0.04)
    assert distances.mean() == pytest.approx(band.mean, abs=0.02)


@pytest.mark.parametrize(("n", "p", "count"), [(6, 1, 4), (36, 2, 128), (16, 2, 32)])
@pytest.mark.parametrize("metric", ["overlap", "geodesic"])
def test_band_of_a_mean_over_problems_covers_its_level(rng, n, p, count, metric):
    band = chance_band(n, p, p, metric, draws=4000, count=count)
    angles = chance_angles(n, p, p, 1500 * count, rng).reshape(1500, count, p)
    each = (
        np.square(np.cos(angles)).mean(-1)
        if metric == "overlap"
        else np.linalg.norm(angles, axis=-1)
    )
    inside = (band.low < each.mean(1)) & (each.mean(1) < band.high)
    assert inside.mean() == pytest.approx(
        0.95, abs=0.03
    )  # five standard errors, and the band's own


@pytest.mark.parametrize("arguments", [(5, 6, 1), (5, 0, 1), (5, 1, 6)])
def test_planes_that_do_not_fit_are_refused(arguments):
    with pytest.raises(InputError, match=r"R\^5"):
        chance_overlap(*arguments)
    with pytest.raises(InputError, match=r"R\^5"):
        chance_band(*arguments)


def test_bad_levels_are_refused():
    with pytest.raises(InputError, match="level"):
        chance_band(5, 1, 1, level=95)
