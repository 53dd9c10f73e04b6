"""Barriers and curves between answers against closed forms, and geodesics against the Grassmannian's own."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ired_interp.energy import Energy
from ired_interp.errors import InputError, RunError
from ired_interp.geometry import geodesic, principal_angles
from ired_interp.module import IREDModule
from ired_interp.probes import Path, Snapshot
from ired_interp.probes.curves import of_fixed_rank, straight
from ired_interp.random import stream
from ired_interp.schedule import Schedule
from ired_interp.tasks import Completion, ExactEnergy, Inverse, LinearGaussian, TwoAnswers
from ired_interp.tasks.base import Problems

SCHEDULE = Schedule().double()
SIGNAL, NOISE = SCHEDULE.signal.numpy(), SCHEDULE.noise.numpy()


def perfect(task, count: int) -> Snapshot:
    problems = Problems(*(part.double() for part in task.sample(count, stream("cpu", 1))))
    return Snapshot(IREDModule(ExactEnergy(task)).double(), problems, task)


@pytest.mark.process
def test_the_barrier_between_two_answers_is_that_of_its_formula_on_every_path() -> None:
    """Δ²/8σ² − ln 2 + ln(1 + e^{−Δ²/2σ²}) nats; by symmetry no path is lower than the segment."""
    snapshot = perfect(TwoAnswers(6), 3)
    found = Path(between="answers", bands=3)(snapshot)
    a, b = snapshot.batch.x.chunk(2, 1)
    ratio = (SIGNAL / NOISE)[:, None] ** 2 * (a - b).square().sum(1).numpy()
    barrier = ratio / 8 - math.log(2) + np.log1p(np.exp(-ratio / 2))
    np.testing.assert_allclose(found["distance"], np.sqrt(ratio), rtol=1e-6)
    apart = ratio >= 9
    np.testing.assert_allclose(found["apart"], apart.mean(1))
    assert 0 < apart.mean() < 1
    for k in range(10):
        here = found.sel(landscape=k)
        if not apart[k].any():
            assert np.isnan(here["barrier"]).all()
            continue
        exact = barrier[k][apart[k]].mean()
        assert here["barrier"].sel(curve="straight").item() == pytest.approx(exact, rel=1e-4)
        assert here["barrier"].sel(curve="band").item() == pytest.approx(exact, abs=1e-3)
        assert here["spared"].item() == pytest.approx(0, abs=1e-3)
        np.testing.assert_allclose(here["barrier_linear"], here["barrier"], atol=1e-3)
        np.testing.assert_allclose(here["theory_barrier"], here["barrier"], atol=1e-6)


def test_one_answer_has_no_barrier_and_sags_by_an_eighth_of_the_squared_distance() -> None:
    task = Inverse(3)
    x = task.sample(4, stream("cpu", 1)).x.double()
    module = IREDModule(ExactEnergy(task)).double()
    y = task.posterior(x).mean
    probe = Path(between="problems", bands=1, band_steps=1)
    found = probe(Snapshot(module, Problems(x, y), task))
    square = found["distance"].values ** 2
    rise = found["energy"].sel(curve="straight")
    t = found["t"].values
    np.testing.assert_allclose(rise, square[..., None] * t**2 / 2, rtol=1e-6)
    sag = (rise - rise["t"] * rise.isel(t=-1)).min("t")
    np.testing.assert_allclose(sag, -square / 8, rtol=1e-6)
    told = found["apart"] > 0
    np.testing.assert_allclose(found["barrier"].sel(curve="straight")[told], 0, atol=1e-12)
    np.testing.assert_allclose(found["barrier_linear"].sel(curve="straight")[told], 0, atol=1e-12)


def test_from_a_right_answer_down_to_the_mean_there_is_no_barrier() -> None:
    found = Path([0, 2])(perfect(LinearGaussian(6, 0.5, 1.0), 8))
    assert (found["apart"] > 0.5).all()
    assert (found["energy"].sel(curve="straight").isel(t=-1) < 0).all()
    np.testing.assert_allclose(found["barrier"].sel(curve="straight"), 0, atol=1e-6)


class Ring(Energy):
    """A valley along the unit circle of √ᾱ y: 10(‖y‖ − √ᾱ)²."""

    def condition(self, x: Tensor, k: Tensor) -> Tensor:
        return SCHEDULE.signal[k]

    def evaluate(self, context: Tensor, y: Tensor) -> Tensor:
        return 10 * (y.norm(dim=1) - context).square()


def test_a_band_goes_around_what_the_segment_climbs() -> None:
    angle = torch.tensor([0.0, 2 * math.pi / 3]).double()
    y = torch.stack([angle.cos(), angle.sin()], 1)
    snapshot = Snapshot(IREDModule(Ring(2, 2)).double(), Problems(y, y))
    probe = Path([0], between="problems", band_steps=400)
    found = probe(snapshot).sel(landscape=0)
    exact = 10 * SIGNAL[0] ** 2 * 0.25 / NOISE[0]  # the chord comes within ½ of the middle
    assert found["barrier"].sel(curve="straight").item() == pytest.approx(exact, rel=1e-6)
    assert found["barrier"].sel(curve="band").item() < 0.02 * exact
    assert found["spared"].item() == pytest.approx(exact, rel=0.02)
    unrelaxed = probe.with_settings(band_steps=0)(snapshot)
    np.testing.assert_allclose(unrelaxed["spared"], 0, atol=1e-9)


def low_rank(seed: int) -> Tensor:
    factors = torch.randn(2, 3, 5, 2, generator=torch.Generator().manual_seed(seed)).double()
    return (factors[0] @ factors[1].mT).flatten(1)


def test_curves_of_fixed_rank_join_their_ends_along_the_geodesics_of_both_spaces() -> None:
    a, b, times = low_rank(0), low_rank(1), torch.linspace(0, 1, 5).double()
    curve = of_fixed_rank(a, b, 2, times)
    torch.testing.assert_close(curve[0], a)
    torch.testing.assert_close(curve[-1], b)
    matrices = curve.unflatten(2, (5, 5))
    values = torch.linalg.svdvals(matrices)
    assert float(values[..., 2:].max()) < 1e-12 < float(values[..., 1].min())
    u, _, vt = torch.linalg.svd(matrices)
    for bases in (u[..., :2], vt[..., :2, :].mT):
        for i in range(3):
            exact = geodesic(bases[0, i], bases[-1, i], times)
            assert float(principal_angles(bases[:, i], exact).max()) < 1e-6
    segment = torch.linalg.svdvals(straight(a, b, times).unflatten(2, (5, 5)))
    assert float(segment[2, :, 3].min()) > 1e-3, (
        "a segment leaves the manifold, rank 4 at its middle"
    )


def test_the_curve_of_fixed_rank_is_there_where_answers_have_one() -> None:
    task = Completion(3, 1, noise=0.0)
    batch = task.sample(3, stream("cpu", 1))
    snapshot = Snapshot(IREDModule(ExactEnergy(TwoAnswers(9))), batch, task)
    module = IREDModule(Ring(9, 9))
    found = Path([0], between="problems", bands=2)(Snapshot(module, batch, task))
    assert list(found["curve"].values) == ["straight", "rank", "band"]
    ends = found["energy"].isel(t=-1)
    np.testing.assert_allclose(ends.sel(curve="rank"), ends.sel(curve="straight"), rtol=1e-6)
    assert np.isnan(ends.sel(curve="band")[0, 2]), "two bands of three problems"
    with pytest.raises(InputError, match="those of task completion have not"):
        Path(between="answers")(snapshot)


def test_complaints(network: Snapshot) -> None:
    with pytest.raises(InputError, match="rank 4 of 4 × 4 matrices"):
        Path(rank=4)(network)
    for parameter in network.module.parameters():
        parameter.data.fill_(torch.nan)
    with pytest.raises(RunError, match="landscape 3 is not finite"):
        Path([3], between="problems")(network)
