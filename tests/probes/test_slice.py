"""Slices of the landscapes against the paraboloids and double wells of perfect models, and dense Hessians."""

from copy import deepcopy

import numpy as np
import pytest
import torch

from ired_interp.energy import FixedEntries, MLPEnergy
from ired_interp.errors import InputError, RunError
from ired_interp.module import IREDModule
from ired_interp.probes import Slice, Snapshot
from ired_interp.probes.base import measuring_point
from ired_interp.probes.planes import directions, frames
from ired_interp.probes.slice_curves import nearest
from ired_interp.random import stream
from ired_interp.schedule import Schedule
from ired_interp.tasks import Completion, ExactEnergy, Inverse, LinearGaussian, TwoAnswers
from ired_interp.tasks.base import Problems

SCHEDULE = Schedule().double()
SIGNAL, NOISE = SCHEDULE.signal.numpy(), SCHEDULE.noise.numpy()


def test_one_answer_is_the_same_paraboloid_in_every_landscape_and_direction() -> None:
    """(a² + b²)/2 nats to 1e-12, and −a‖ε‖ + a²/2 down the slope of a noised answer."""
    task = Inverse(3)
    x = task.sample(5, stream("cpu", 1)).x.double()
    module = IREDModule(ExactEnergy(task)).double()
    snapshot = Snapshot(module, Problems(x, task.posterior(x).mean), task)
    found = Slice(grid=7)(snapshot)
    exact = ((found["a"] ** 2 + found["b"] ** 2) / 2).values
    picture = found["slice"].sel(family="random")
    np.testing.assert_allclose(picture, np.broadcast_to(exact, picture.shape), atol=1e-10)
    line = found["line"].transpose(..., "a")
    np.testing.assert_allclose(line, np.broadcast_to(exact[:, 3], line.shape), atol=1e-10)
    noised = Slice(point="noised", grid=7)(snapshot)
    for k in range(10):
        eps = measuring_point(snapshot, k, "noised", 0) - SCHEDULE.signal[k] * snapshot.batch.y
        size = float(eps.norm(dim=1).mean()) / NOISE[k]
        down = noised["line"].sel(family="gradient", landscape=k)
        np.testing.assert_allclose(down, exact[:, 3] - size * noised["a"], atol=1e-9)


def test_a_gaussian_is_quadratic_with_the_curvature_of_its_planes() -> None:
    task = LinearGaussian(6, 1.0, 1.0, rank=2)
    module = IREDModule(ExactEnergy(task)).double()
    batch = Problems(*(part.double() for part in task.sample(8, stream("cpu", 1))))
    found = Slice(point="noised", grid=5)(Snapshot(module, batch, task))
    free = NOISE**2 / (SIGNAL**2 + NOISE**2)
    for name in ("curvature", "curvature_fit", "theory_curvature"):
        np.testing.assert_allclose(found[name].sel(family="support"), free, rtol=1e-7)
        np.testing.assert_allclose(found[name].sel(family="kernel"), 1, rtol=1e-7)
    assert float(found["anharmonicity"].max()) < 1e-10
    np.testing.assert_allclose(found["curvature_error"].sel(family="support"), 0, atol=1e-10)


def test_a_double_well_is_not_quadratic_and_has_its_own_form() -> None:
    """From the middle along a − b: a²/2 − ln cosh(a δ), with δ = √ᾱ‖a − b‖/2σ."""
    task = TwoAnswers(4)
    a = torch.zeros(2, 4).double()
    a[:, 0] = torch.tensor([0.5, 1.0])
    module = IREDModule(ExactEnergy(task)).double()
    problems = Problems(torch.cat([a, -a], 1), torch.zeros_like(a))
    found = Slice(grid=9)(Snapshot(module, problems, task))
    u = found["a"].values
    delta = (SIGNAL / NOISE)[:, None] * a[:, 0].numpy()
    exact = u**2 / 2 - np.log(np.cosh(delta[..., None] * u))
    # The slope at the middle is 0, so that the family of one direction takes the first axis.
    line = found["line"].sel(family="gradient")
    np.testing.assert_allclose(line, exact.mean(1), atol=1e-9)
    bend = found["curvature"].sel(family="gradient")
    np.testing.assert_allclose(bend, 1 - (delta**2).mean(1), rtol=1e-6)
    rest = exact - u**2 / 2 * (1 - delta**2)[..., None]
    root = np.sqrt((rest**2).mean(2)).sum(1) / np.sqrt((exact**2).mean(2)).sum(1)
    np.testing.assert_allclose(found["anharmonicity"].sel(family="gradient"), root, rtol=1e-5)


def test_curvature_along_drawn_directions_is_that_of_the_dense_hessian(network: Snapshot) -> None:
    x, y = network.batch
    probe = Slice([0, 6], rank=2, draws=3, grid=3)
    ranked = Problems(x, low_rank(len(y)))
    snapshot = Snapshot(network.module, ranked, network.task)
    found, every = probe(snapshot), frames(snapshot, 2)
    energy = deepcopy(network.module.energy).double()
    drawn = directions(every, y.shape, 3, stream("cpu", 0, "slice"))
    for k in (0, 6):
        hessian = energy.hessian(x.double(), SCHEDULE.signal[k] * ranked.y.double(), k)
        for name, units in drawn.items():
            exact = NOISE[k] * torch.einsum("cbi,bij,cbj->cb", units, hessian, units)
            mean = found["curvature"].sel(landscape=k, family=name).item()
            assert mean == pytest.approx(float(exact.mean()), rel=1e-5), name


def low_rank(count: int) -> torch.Tensor:
    factors = torch.randn(2, count, 4, 2, generator=torch.Generator().manual_seed(0))
    return (factors[0] @ factors[1].mT).flatten(1)


def test_a_family_of_one_direction_has_a_line_and_no_picture() -> None:
    task = Completion(3, 1, noise=0.0)
    batch = task.sample(3, stream("cpu", 1))
    module = IREDModule(MLPEnergy(9, 9, width=4))
    found = Slice([4], grid=3)(Snapshot(module, batch, task))
    assert np.isnan(found["slice"].sel(family="core")).all()
    assert found["slice"].sel(family="column").notnull().all()
    assert found["line"].sel(family="core").notnull().all()


def test_complaints(network: Snapshot) -> None:
    with pytest.raises(InputError, match="rank 4 of 4 × 4 matrices"):
        Slice(rank=4)(network)
    for parameter in network.module.parameters():
        parameter.data.fill_(torch.nan)
    with pytest.raises(RunError, match="landscape 3 is not finite"):
        Slice([3])(network)


def test_eigenvectors_bend_as_the_dense_hessian_says(network: Snapshot) -> None:
    x, y = network.batch
    found = Slice([0, 6], grid=3)(network)
    energy = deepcopy(network.module.energy).double()
    for k in (0, 6):
        hessian = energy.hessian(x.double(), SCHEDULE.signal[k] * y.double(), k)
        exact = NOISE[k] * torch.linalg.eigvalsh(hessian)
        bent = found["curvature"].sel(landscape=k)
        for name, place in (("hessian_top", -1), ("hessian_bottom", 0)):
            assert bent.sel(family=name).item() == pytest.approx(float(exact[:, place].mean()))
        # on a picture along the two outermost, the mixed difference is vᵀHw = 0 to third order
    small = Slice([0], grid=3, reach=1e-3)(network).sel(landscape=0)
    values = torch.linalg.eigvalsh(
        energy.hessian(x[:1].double(), SCHEDULE.signal[0] * y[:1].double(), 0)
    )[0]
    for name, places in (("hessian_top", (-1, -2)), ("hessian_bottom", (0, 1))):
        picture = small["slice"].sel(family=name).values * 1e6
        for part, place in zip((picture[:, 1], picture[1]), places, strict=True):
            bend = part[0] + part[2] - 2 * part[1]
            assert bend == pytest.approx(NOISE[0] * float(values[place]), rel=1e-3)
        mixed = picture[2, 2] + picture[0, 0] - picture[2, 0] - picture[0, 2]
        assert abs(mixed) < 1e-3 * abs(bend)
    assert "hessian_top" not in Slice([0], grid=3, hessian=False)(network)["family"]


def test_given_entries_are_none_of_the_directions() -> None:
    task = HalfGiven(2)
    module = IREDModule(ExactEnergy(task), task=task).double()
    problems = Problems(*(part.double() for part in task.sample(3, stream("cpu", 1))))
    found = Slice([4], grid=3)(Snapshot(module, problems, task))
    np.testing.assert_allclose(found["curvature"], 1, rtol=1e-6)


class HalfGiven(Inverse):
    def fixed(self, x: torch.Tensor) -> FixedEntries:
        mask = torch.tensor([True, False, False, True]).expand(len(x), -1)
        return FixedEntries(mask, self.posterior(x).mean)


def test_retracted_lines_follow_matrices_of_the_rank() -> None:
    """E/σ is half the square of the distance in standard deviations, of the truncated SVD by NumPy."""
    task = Inverse(4)
    x = task.sample(3, stream("cpu", 1)).x.double()
    y = nearest(low_rank(3).double(), 2)
    snapshot = Snapshot(IREDModule(ExactEnergy(task)).double(), Problems(x, y), task)
    probe = Slice([4], rank=2, retract=True, draws=1, grid=5, hessian=False)
    found = probe(snapshot).sel(landscape=4)
    mean = SIGNAL[4] * task.posterior(x).mean.numpy()
    drawn = directions(frames(snapshot, 2), y.shape, 1, stream("cpu", 0, "slice"))
    for name in ("column", "tangent", "normal"):
        lines = []
        for a in found["a"].values:
            moved = SIGNAL[4] * y.numpy() + NOISE[4] * a * drawn[name][0].numpy()
            if name != "normal":
                u, s, vt = np.linalg.svd(moved.reshape(-1, 4, 4))
                moved = (u[..., :2] * s[:, None, :2] @ vt[:, :2]).reshape(-1, 16)
            lines.append(((moved - mean) ** 2).sum(1) / (2 * NOISE[4] ** 2))
        line = np.array(lines) - lines[2]
        np.testing.assert_allclose(found["line"].sel(family=name), line.mean(1), atol=1e-9)


def test_curvature_along_curved_ways_is_their_second_difference(network: Snapshot) -> None:
    """dᵀHd and what the curve adds, against the rise itself at small distances."""
    ranked = Problems(network.batch.x, low_rank(len(network.batch.y)))
    snapshot = Snapshot(network.module, ranked, network.task)
    settings = {"rank": 2, "grid": 3, "reach": 1e-3, "hessian": False}
    curved = Slice([3], retract=True, **settings)(snapshot).sel(landscape=3)
    straight = Slice([3], **settings)(snapshot).sel(landscape=3)
    for name in ("column", "row", "core", "tangent", "normal"):
        own, other = curved.sel(family=name), straight.sel(family=name)
        assert own["curvature_fit"].item() == pytest.approx(own["curvature"].item(), rel=1e-3)
        same = own["curvature"].item() == pytest.approx(other["curvature"].item(), rel=1e-3)
        assert same is (name != "tangent"), "only turning both spaces at once leaves the line"
    with pytest.raises(InputError, match="expected point: answer"):
        Slice(retract=True, point="noised")
    with pytest.raises(InputError, match="no known rank"):
        Slice(retract=True)(network)
    with pytest.raises(InputError, match="off matrices of that rank"):
        Slice(retract=True, rank=1)(snapshot)
