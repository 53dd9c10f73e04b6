"""Minima, basins and the parts of the error against what perfect models have."""

from functools import cache

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor
from torch.nn.functional import normalize

from ired_interp.diffusion import Inference
from ired_interp.energy import Energy, MLPEnergy
from ired_interp.errors import RunError
from ired_interp.module import IREDModule
from ired_interp.probes import Minimum, Snapshot
from ired_interp.probes.minimisation import local_minimum
from ired_interp.random import stream
from ired_interp.schedule import Schedule
from ired_interp.tasks import ExactEnergy, Inverse, LinearGaussian, Task, TwoAnswers
from ired_interp.tasks.base import Problems

SCHEDULE = Schedule().double()


def perfect(task: Task, x: Tensor, y: Tensor, steps: int = 3, **settings) -> xr.Dataset:
    module = IREDModule(ExactEnergy(task), inference=Inference(steps=steps)).double()
    return Minimum(**settings)(Snapshot(module, Problems(x.double(), y.double()), task))


class Ellipse(Energy):
    """½ yᵀ diag(c) y: the minimum is 0."""

    def __init__(self, curvature: Tensor) -> None:
        super().__init__(1, len(curvature))
        self.curvature = curvature

    def evaluate(self, context: tuple[Tensor, Tensor], y: Tensor) -> Tensor:
        return (self.curvature * y.square()).sum(1) / 2


def test_a_narrow_valley_is_descended_to_its_end() -> None:
    energy = Ellipse(torch.logspace(-2, 0, 6).double())
    start = torch.randn(4, 6, generator=torch.Generator().manual_seed(0)).double()
    found = local_minimum(energy, torch.zeros(4, 1), start, 0, 1.0, 10.0, 200, 1e-7)
    assert float(found.gradient_norm.max()) < 1e-7
    torch.testing.assert_close(found.y, torch.zeros_like(start), atol=1e-5, rtol=0)
    short = local_minimum(energy, torch.zeros(4, 1), start, 0, 1.0, 0.01, 5, 1e-9)
    assert float((short.y - start).norm(dim=1).max()) <= 5 * 0.01 + 1e-12


def test_a_descent_ends_in_the_well_that_it_starts_in() -> None:
    """Also where it starts on the slope near the middle, and where a step might leap across."""
    a = torch.tensor([[3.0, 0.0]]).double()
    x = torch.cat([a, -a], 1).expand(3, -1)
    energy = ExactEnergy(TwoAnswers(2)).double()
    start = torch.tensor([[2.0, 1.0], [0.05, 0.3], [-0.05, -1.0]]).double()
    noise = float(SCHEDULE.noise[0])
    found = local_minimum(energy, x, start, 0, noise, noise / 2, 400, 1e-7)
    expected = SCHEDULE.signal[0] * a * torch.tensor([[1.0], [1.0], [-1.0]])
    torch.testing.assert_close(found.y, expected, atol=1e-6, rtol=0)


def test_where_x_fixes_y_the_minimum_is_the_answer_and_every_start_finds_it() -> None:
    task = Inverse(3)
    x = task.sample(6, stream("cpu", 0)).x.double()
    found = perfect(task, x, task.posterior(x).mean, starts=4)
    for name in ("displacement", "displacement_in_noise", "theory_displacement"):
        np.testing.assert_allclose(found[name], 0, atol=1e-6)
    np.testing.assert_allclose(found["converged"], 1)
    np.testing.assert_allclose(found["error"].sel(landscape=0), 0, atol=1e-12)
    assert (found["ends"] == 1).all()
    assert found["several_ends"].item() == 0
    assert found["basin_share"][0].item() == 1
    assert np.isnan(found["prefers_answer"]).all(), "no problem is left unsolved"


def test_a_gaussian_model_is_at_fault_for_all_of_the_error() -> None:
    """It ends at the mean m: displacement ‖m − y*‖, bias² the same square, no spread."""
    task = LinearGaussian(8, 0.2, 1.0)
    x, y = (part.double() for part in task.sample(20, stream("cpu", 0)))
    found = perfect(task, x, y, steps=10, starts=4)
    away = (task.posterior(x).mean - y).norm(dim=1)
    # At k = 9 a slope of 1e-5 may still be 2e-3 of the way.
    np.testing.assert_allclose(found["displacement"], away.mean() / y.norm(dim=1).mean(), rtol=2e-3)
    exact = SCHEDULE.signal / SCHEDULE.noise * away.mean()
    np.testing.assert_allclose(found["displacement_in_noise"], exact, rtol=2e-3)
    np.testing.assert_allclose(found["theory_displacement"], found["displacement"])
    last = found.sel(landscape=0)
    assert last["bias_square"].item() == pytest.approx(float(away.square().mean() / 8), rel=1e-3)
    assert abs(last["spread"].item()) < 1e-4 * last["bias_square"].item()
    np.testing.assert_allclose(found["prefers_answer"], 1)
    for name in ("error", "spread"):
        np.testing.assert_allclose(found[f"{name}_by_problem"].mean("problem"), found[name])
    moved = (found["displacement_by_problem"] * found["answer_norm"]).mean("problem")
    np.testing.assert_allclose(moved / found["answer_norm"].mean(), found["displacement"])
    assert found["spread_chance"].item() == pytest.approx(float(y.var(0).mean()))
    trivial = [float((y - answer).square().mean()) for answer in task.trivial(x).values()]
    least = min([*trivial, float(y.var(0, correction=0).mean())])
    assert found["error_chance"].item() == pytest.approx(least)


def opposite(length: float) -> tuple[Tensor, Tensor]:
    """Problems with the answers a and −a, and a."""
    a = length * normalize(torch.randn(12, 5, generator=stream("cpu", 0)).double())
    return torch.cat([a, -a], 1), a


@cache
def far_apart() -> xr.Dataset:
    """So far that every landscape has both wells, and starts fall to either side at once."""
    return perfect(TwoAnswers(5), *opposite(1000.0), landscapes=[0, 9], starts=16)


def test_two_answers_have_two_basins_of_equal_size() -> None:
    """Half of the starts each: the larger of two has ½ + .8 √(¼/16) on average."""
    found = far_apart()
    assert (found["ends"] == 2).all()
    assert found["several_ends"].item() == 1
    share = found["basin_share"].values
    assert share[0] == pytest.approx(0.5 + 0.8 * np.sqrt(0.25 / 16), abs=0.08)
    assert share[:2].sum() == pytest.approx(1)
    assert found["basin_share_error"][0].item() < 0.04


def test_error_is_bias_and_spread_and_neither_where_the_other_answer_is_right_too() -> None:
    last = far_apart().sel(landscape=0)
    whole = last["bias_square"] + last["spread"]
    assert whole.item() == pytest.approx(last["error"].item(), rel=1e-9)
    # Ends ±a of equal weight have mean 0: bias² = ‖a‖²/d, and so is their variance about it.
    exact = 1000.0**2 / 5
    assert last["spread"].item() == pytest.approx(exact, rel=0.05)
    error = 5 * last["bias_square_error"].item()
    assert last["bias_square"].item() == pytest.approx(exact, abs=error)
    assert last["nearest_error"].item() < 1e-6 * exact


def test_the_minimum_moves_to_the_middle_where_the_noise_spans_both_answers() -> None:
    found = perfect(TwoAnswers(5), *opposite(2.0), landscapes=[0, 9], starts=2)
    np.testing.assert_allclose(found["displacement"], [0, 1], atol=2e-3)
    np.testing.assert_allclose(found["theory_displacement"], found["displacement"])


def test_what_is_not_finite_is_no_answer(network: Snapshot) -> None:
    nowhere = IREDModule(MLPEnergy(16, 16, width=4))
    for parameter in nowhere.parameters():
        parameter.data.fill_(torch.nan)
    with pytest.raises(RunError, match="not finite"):
        Minimum(steps=1, starts=2)(Snapshot(nowhere, network.batch))
