"""InferenceTrajectory against closed forms, and the measures on the rank-r manifold against planted parts."""

import numpy as np
import pytest
import torch
from scipy import stats

from ired_interp.diffusion import Inference
from ired_interp.energy import Energy
from ired_interp.errors import InputError
from ired_interp.module import IREDModule
from ired_interp.probes import InferenceTrajectory, Snapshot
from ired_interp.probes.planes import directions, families, frames
from ired_interp.probes.rank_manifold import normal_ratio
from ired_interp.random import stream
from ired_interp.tasks import ExactEnergy
from ired_interp.tasks.base import Problems, Task
from ired_interp.tasks.completion import Completion
from ired_interp.tasks.inverse import Inverse
from ired_interp.tasks.linear_gaussian import LinearGaussian
from ired_interp.tasks.two_answers import TwoAnswers

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
    theory = found["theory_contraction"].isel(move=0)
    np.testing.assert_allclose(theory, np.stack([truth, truth], 1), atol=1e-6)
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
    low, high = (found["theory_contraction"].isel(bound=i, move=0) for i in (0, 1))
    assert float((high - low).max()) > 0.5
    for name in ("contraction", "gradient_contraction", "predicted_contraction"):
        values = found[name].isel(move=0)
        assert bool(((low - 1e-4 < values) & (values < high + 1e-4)).all()), name
    # a quadratic energy: the gradient contracts exactly as its curvature says
    np.testing.assert_allclose(
        found["gradient_contraction"], found["predicted_contraction"], atol=1e-4
    )


def test_of_two_right_answers_the_error_is_that_from_the_nearer() -> None:
    """A perfect model ends at one of them, which is not always the one drawn."""
    snapshot = perfect(TwoAnswers(4))
    draw = stream("cpu", 0, "start")
    start = torch.randn(snapshot.batch.y.shape, generator=draw, dtype=torch.float64)
    settings = snapshot.module.settled(snapshot.module.inference)
    end = snapshot.module.solve(snapshot.batch.x, preset=settings, start=start).trajectory[-1]
    both = snapshot.batch.x.unflatten(1, (2, 4))
    errors = (both - end[:, None]).square().mean(2)
    found = InferenceTrajectory()(snapshot)["error"].isel(landscape=-1, inner_step=-1)
    np.testing.assert_allclose(found, errors.amin(1), rtol=1e-4)
    drawn = (snapshot.batch.y - end).square().mean(1)
    assert (drawn > 10 * errors.amin(1)).any()


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


class Sloped(Energy):
    """Planted: linear, with given gradients."""

    def __init__(self, slope: torch.Tensor) -> None:
        super().__init__(slope.shape[1], slope.shape[1])
        self.slope = slope

    def evaluate(self, context: object, y: torch.Tensor) -> torch.Tensor:
        return (self.slope * y).sum(1)


def completion(problems: int = 12) -> tuple[Completion, Problems]:
    task = Completion(6, rank=2, noise=0.0)
    return task, task.sample(problems, stream("cpu", 2))


def test_planted_tangent_and_normal_parts_are_found() -> None:
    task, batch = completion()
    u, _, vt = torch.linalg.svd(batch.y.unflatten(1, (6, 6)).double())
    tangent = u[:, :, :1] @ vt[:, 4:5]  # in the column space, outside the row space
    normal = u[:, :, 3:4] @ vt[:, 5:6]  # outside both
    slope = (3 * tangent + 1.5 * normal).flatten(1).float()
    module = IREDModule(Sloped(slope), inference=Inference(steps=STEPS))
    found = InferenceTrajectory()(Snapshot(module, batch, task))
    np.testing.assert_allclose(found["normal_ratio"], 0.5, rtol=1e-4)
    np.testing.assert_allclose(found["normal_ratio_answer"], 0.5, rtol=1e-4)
    assert found.attrs["rank"] == 2
    directionless = torch.randn(4000, 36, generator=torch.Generator().manual_seed(0))
    ratios, chance = normal_ratio(directionless, batch.y[:1].expand(4000, -1), 2)
    assert float(found["normal_ratio_chance"]) == pytest.approx(chance)
    assert ratios.mean() == pytest.approx(chance, abs=4.5 * ratios.std() / 4000**0.5)


def test_families_are_planes_of_their_dimensions() -> None:
    """Draws lie where they say and fill that plane evenly."""
    task, batch = completion(2)
    module = IREDModule(Sloped(torch.zeros_like(batch.y)))
    every = frames(Snapshot(module, batch, task), None)
    visible = int((batch.x[0] != 0).sum())
    dims = {"random": 36, "visible": visible, "hidden": 36 - visible}
    dims |= {"column": 8, "row": 8, "core": 4, "tangent": 20, "normal": 16}
    u, _, vt = torch.linalg.svd(batch.y[0].view(6, 6).double())
    drawn = directions(every, batch.y.shape, 2000, stream("cpu", 3))
    assert list(drawn) == list(families(every)) == list(dims)
    for name in dims:
        torch.testing.assert_close(drawn[name].norm(dim=2), torch.ones(2000, 2).double())
        moment = (drawn[name][:, 0].mT @ drawn[name][:, 0]) / 2000
        values = torch.linalg.eigvalsh(moment).flip(0)
        assert int((values > 1e-9).sum()) == dims[name], name
        assert float(values[0]) < 1.5 / dims[name] + 0.02, name
    column = drawn["column"][:, 0].view(-1, 6, 6)
    assert float((u[:, :2].mT @ column).abs().max()) < 1e-5  # turns the column space at first order
    assert float((column @ vt[2:].mT).abs().max()) < 1e-5
    assert float(drawn["hidden"][:, batch.x != 0].abs().max()) == 0
    nothing_shown = frames(Snapshot(module, Problems(batch.x[:, :9], batch.y)), 2)
    assert list(families(nothing_shown)) == ["random", "column", "row", "core", "tangent", "normal"]


def test_later_steps_contract_by_their_own_factor() -> None:
    """The published rules double the step from a landscape's second move on."""
    task = LinearGaussian(6, 0.5, 1.0)
    rules = Inference(preset="published", bound=1e6, steps=3, jump=False)
    module = IREDModule(ExactEnergy(task), inference=rules)
    found = InferenceTrajectory()(Snapshot(module, task.sample(64, stream("cpu", 7)), task))
    theory = found["theory_contraction"]
    assert theory.dims == ("landscape", "move", "bound")
    low, high = abs(theory).min("bound"), abs(theory).max("bound")
    told = np.isfinite(found["contraction"].values)
    assert told[:, 0].sum() >= 2
    assert told[:, 1:].sum() >= 4
    inside = (found["contraction"] > low - 1e-3) & (found["contraction"] < high + 1e-3)
    assert inside.values[told].all()


def test_errors_of_contraction_are_the_jackknife() -> None:
    snapshot = perfect(LinearGaussian(9), 8)
    found = InferenceTrajectory()(snapshot)
    without = []
    for i in range(8):
        start = torch.randn(8, 9, generator=stream("cpu", 0, "start"), dtype=torch.float64)
        k = snapshot.module.landscapes - 1
        centre = snapshot.module.schedule.signal[k] * snapshot.task.posterior(snapshot.batch.x).mean
        rows = torch.arange(8) != i
        step = snapshot.module.schedule.step[k]
        moved = start - step * snapshot.module.energy.gradient(snapshot.batch.x, start, k)
        without.append(float((moved - centre)[rows].norm() / (start - centre)[rows].norm()))
    few = stats.t.ppf(0.975, 7) / stats.norm.ppf(0.975)
    error = few * np.sqrt(7 * np.var(without))
    assert float(found["contraction_error"][0, 0]) == pytest.approx(error, rel=0.1)  # first order


def test_complaints(network: Snapshot) -> None:
    sampling = IREDModule(network.module.energy, inference=Inference(gradient_descent=False))
    with pytest.raises(InputError, match="takes no gradient steps"):
        InferenceTrajectory()(Snapshot(sampling, network.batch))
    with pytest.raises(InputError, match="rank 4"):
        InferenceTrajectory(rank=4)(network)
    x, y = network.batch
    flat = (y[:, :4, None] * y[:, None, 4:8]).flatten(1)  # of rank 1, in float32
    with pytest.raises(InputError, match="spans only 1 dimensions"):
        InferenceTrajectory(rank=2)(Snapshot(network.module, Problems(x, flat)))
