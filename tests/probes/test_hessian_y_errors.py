"""Errors of the y-Hessian's summaries cover what other problems show."""

import warnings

import numpy as np
import pytest
import torch

from ired_interp.energy import Energy
from ired_interp.geometry.eigengap import student_factor
from ired_interp.module import IREDModule
from ired_interp.probes import HessianSpectrumY, Snapshot
from ired_interp.probes.spread import median_error
from ired_interp.tasks.base import Problems


class Curved(Energy):
    """½ Σ a_i(x) y_i², a = 1, 1.2, 1.4 and 1.6 times ½ + x₀: three in ten problems curve down."""

    def condition(self, x: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        return torch.tensor([1.0, 1.2, 1.4, 1.6]) * (0.5 + x[:, :1])

    def evaluate(self, context: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (context * y.square()).sum(1) / 2


@pytest.mark.process
def test_intervals_hold_the_mean_of_all_problems() -> None:
    rng, module = torch.Generator().manual_seed(0), IREDModule(Curved(4, 4))
    x, y = torch.randn(2, 2400, 4, generator=rng)
    whole = HessianSpectrumY(landscapes=[0])(Snapshot(module, Problems(x, y)))
    parts = [
        HessianSpectrumY(landscapes=[0])(Snapshot(module, Problems(x[i::100], y[i::100])))
        for i in range(100)
    ]
    names = ["lambda_min", "lambda_median", "lambda_max", "negative_share", "effective_rank"]
    for name in names:
        inside = [abs(part[name] - whole[name]) < 2 * part[f"{name}_error"] for part in parts]
        assert 0.85 <= np.mean(inside) <= 1, name


def test_the_error_of_a_median_is_that_of_many_medians() -> None:
    draws = np.random.default_rng(1).standard_normal((400, 40, 1))
    errors = median_error(draws[:100])
    assert abs(errors.mean() / np.median(draws, (1, 2)).std() - 1) < 0.25


@pytest.mark.parametrize("shape", [(3, 8, 40), (2, 7, 3), (4, 5, 1)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("missing", [0, 1])
def test_medians_of_resamples_are_those_of_all_their_values(
    shape: tuple[int, ...], dtype: type, missing: int
) -> None:
    values = np.random.default_rng(2).standard_normal(shape).round(1).astype(dtype)  # with ties
    values[0, ::2, :missing] = np.nan  # of one value a problem, all
    count = shape[1]
    picks = np.random.default_rng(0).integers(count, size=(200, count))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a draw without values
        drawn = np.stack([np.nanmedian(values[:, pick], (1, 2)) for pick in picks])
    expected = drawn.std(0) * np.sqrt(count / (count - 1)) * student_factor(count)
    np.testing.assert_array_equal(median_error(values), expected)


def test_one_problem_has_no_error() -> None:
    module = IREDModule(Curved(4, 4))
    found = HessianSpectrumY(landscapes=[0])(
        Snapshot(module, Problems(torch.ones(1, 4), torch.ones(1, 4)))
    )
    assert np.isnan(found["lambda_median_error"]).all()
    assert "±?" in HessianSpectrumY().summary(found)
