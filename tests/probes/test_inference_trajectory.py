"""InferenceTrajectory against closed forms, and the measures on the rank-r manifold against planted parts."""

import math

import numpy as np
import pytest
import torch

from ired_interp.diffusion import Inference
from ired_interp.energy import Energy
from ired_interp.errors import InputError
from ired_interp.geometry import grassmann_distance
from ired_interp.module import IREDModule
from ired_interp.probes import InferenceTrajectory, Snapshot
from ired_interp.probes.rank_manifold import (
    energy_distance_correlation,
    normal_ratio,
    turned_candidates,
)
from ired_interp.random import stream
from ired_interp.tasks import ExactEnergy
from ired_interp.tasks.base import Problems, Task
from ired_interp.tasks.completion import Completion
from ired_interp.tasks.inverse import Inverse
from ired_interp.tasks.linear_gaussian import LinearGaussian

STEPS = 1


def perfect(task: Task, problems: int = 16) -> Snapshot:
    """In float64, and without the jump, which would take a perfect model to its minimum before the first inner step."""
    module = IREDModule(ExactEnergy(task), inference=Inference(steps=STEPS, jump=False)).double()
    return Snapshot(
        module, Problems(*(t.double() for t in task.sample(problems, stream("cpu", 1)))), task
    )


def test_contraction_of_a_perfect_model_with_one_answer() -> None:
    snapshot = perfect(Inverse(4))
    found = InferenceTrajectory()(snapshot)
    schedule = snapshot.module.schedule
    truth = (1 - schedule.step / schedule.noise).flip(0).double().numpy()
    np.testing.assert_allclose(found["theory_contraction"], np.stack([truth, truth], 1), atol=1e-6)
    for name in ("contraction", "gradient_contraction", "predicted_contraction"):
        first = found[name].isel(move=0)
        np.testing.assert_allclose(
            first, truth, atol=2e-5, err_msg=name
        )  # float32: 1 − η/σ rounds at 1e-7, ratios a little more
    sigma = schedule.noise.flip(0).double().numpy()
    # E = σ/2 · ‖y − min‖²/σ², and ∇E has norm ‖y − min‖/σ
    np.testing.assert_allclose(
        found["energy"],
        sigma[:, None, None] / 2 * found["gradient_norm"] ** 2,
        rtol=1e-4,
        atol=1e-9,
    )
    assert (found["acceptance"] == 1).all()


def test_contraction_of_a_gaussian_posterior_lies_in_its_range() -> None:
    found = InferenceTrajectory()(perfect(LinearGaussian(9)))
    low, high = (found["theory_contraction"].isel(bound=i) for i in (0, 1))
    assert float((high - low).max()) > 0.5
    for name in ("contraction", "gradient_contraction", "predicted_contraction"):
        values = found[name].isel(move=0)
        assert bool(((low - 1e-4 < values) & (values < high + 1e-4)).all()), name
    # a quadratic energy: the gradient contracts exactly as its curvature says
    np.testing.assert_allclose(
        found["gradient_contraction"], found["predicted_contraction"], atol=1e-4
    )


def test_follows_what_solve_returns(network: Snapshot) -> None:
    found = InferenceTrajectory(steps=3, seed=5)(network)
    start = torch.randn(network.batch.y.shape, generator=stream("cpu", 5, "start"))
    solution = network.module.solve(network.batch.x, steps=3, start=start)
    np.testing.assert_allclose(found["energy"], solution.energies, rtol=1e-6)
    np.testing.assert_allclose(found["acceptance"], solution.accepted.float().mean(2))
    error = (solution.trajectory - network.batch.y).square().mean(2)
    np.testing.assert_allclose(found["error"].isel(inner_step=-1), error, rtol=1e-5)
    s = torch.linalg.svdvals(solution.trajectory.unflatten(2, (4, 4))).square()
    np.testing.assert_allclose(
        found["effective_rank"].isel(inner_step=-1), s.sum(2) ** 2 / s.square().sum(2), rtol=1e-4
    )


class ManifoldEnergy(Energy):
    """Planted: the squared distance of y/√ᾱ_k's part outside the answer's column space, plus a linear term along given gradients."""

    def __init__(self, answer: torch.Tensor, rank: int, slope: torch.Tensor, steep: float) -> None:
        super().__init__(answer.shape[1], answer.shape[1])
        u = torch.linalg.svd(answer.unflatten(1, (6, 6))).U[..., :rank]
        self.outside, self.slope, self.steep = torch.eye(6) - u @ u.mT, slope, steep

    def evaluate(self, context: object, y: torch.Tensor) -> torch.Tensor:
        off = self.outside @ y.unflatten(1, (6, 6))
        return self.steep * off.square().sum((1, 2)) + (self.slope * y).sum(1)


def completion(problems: int = 12) -> tuple[Completion, Problems]:
    task = Completion(6, rank=2, noise=0.0)
    return task, task.sample(problems, stream("cpu", 2))


def test_planted_tangent_and_normal_parts_are_found() -> None:
    task, batch = completion()
    u, _, vt = torch.linalg.svd(batch.y.unflatten(1, (6, 6)).double())
    tangent = u[:, :, :1] @ vt[:, 4:5]  # in the column space, outside the row space
    normal = u[:, :, 3:4] @ vt[:, 5:6]  # outside both
    slope = (3 * tangent + 1.5 * normal).flatten(1).float()
    module = IREDModule(ManifoldEnergy(batch.y, 2, slope, 0.0), inference=Inference(steps=STEPS))
    found = InferenceTrajectory()(Snapshot(module, batch, task))
    np.testing.assert_allclose(found["normal_ratio"], 0.5, rtol=1e-4)
    np.testing.assert_allclose(found["normal_ratio_answer"], 0.5, rtol=1e-4)
    assert found.attrs["rank"] == 2
    directionless = torch.randn(4000, 36, generator=torch.Generator().manual_seed(0))
    ratios, chance = normal_ratio(directionless, batch.y[:1].expand(4000, -1), 2)
    assert float(found["normal_ratio_chance"]) == pytest.approx(chance)
    assert math.sqrt(16 / 20) == pytest.approx(chance)  # (n − r)² and r(2n − r) dimensions
    assert ratios.mean() == pytest.approx(
        chance, rel=0.05
    )  # mean of ratios against ratio of root mean squares


def test_candidates_lie_where_they_say() -> None:
    _, batch = completion()
    angles = torch.linspace(0, math.pi / 2, 5)
    candidates, distances = turned_candidates(batch.y, 2, angles, stream("cpu", 0))
    columns = [torch.linalg.svd(c.unflatten(1, (6, 6)).double()) for c in (batch.y, *candidates)]
    for i, distance in enumerate(distances):
        found = grassmann_distance(columns[i + 1].U[..., :2], columns[0].U[..., :2])
        np.testing.assert_allclose(
            found, float(distance), atol=1e-3
        )  # float32 answers with singular values down to 0.1
        np.testing.assert_allclose(columns[i + 1].S, columns[0].S, atol=1e-5)


def test_energy_that_follows_the_distance_and_one_that_does_not() -> None:
    task, batch = completion(24)
    for steep, low, high in ((1.0, 0.999, 1.0), (-1.0, -1.0, -0.999)):
        module = IREDModule(
            ManifoldEnergy(batch.y, 2, torch.zeros_like(batch.y), steep),
            inference=Inference(steps=STEPS),
        )
        value = float(
            InferenceTrajectory()(Snapshot(module, batch, task))["energy_distance_correlation"][0]
        )
        assert low <= round(value, 9) <= high
    candidates, distances = turned_candidates(
        batch.y, 2, torch.linspace(0, 1.5, 24), stream("cpu", 0)
    )
    values = energy_distance_correlation(
        _Noise(36), batch.x, candidates, distances, torch.tensor(1.0), 0
    )
    assert abs(values.mean()) < 4 / math.sqrt(
        23 * 24
    )  # four standard deviations of unrelated ranks


class _Noise(Energy):
    def __init__(self, d: int) -> None:
        super().__init__(d, d)

    def evaluate(self, context: object, y: torch.Tensor) -> torch.Tensor:
        return (1e3 * y).sin().sum(1)


def test_complaints(network: Snapshot) -> None:
    sampling = IREDModule(network.module.energy, inference=Inference(gradient_descent=False))
    with pytest.raises(InputError, match="takes no gradient steps"):
        InferenceTrajectory()(Snapshot(sampling, network.batch))
    with pytest.raises(InputError, match="rank 4"):
        InferenceTrajectory(rank=4)(network)
