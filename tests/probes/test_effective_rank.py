"""EffectiveRank against planted matrices, closed forms and perfect models."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from ired_interp.baselines import FeedForwardModule, with_energy
from ired_interp.diffusion import Noise
from ired_interp.energy import MLPEnergy
from ired_interp.errors import InputError
from ired_interp.module import IREDModule
from ired_interp.probes import EffectiveRank, Snapshot
from ired_interp.probes.rank_measures import MEASURES, rank_measures
from ired_interp.random import stream
from ired_interp.tasks import ExactEnergy
from ired_interp.tasks.base import Problems, Task
from ired_interp.tasks.completion import Completion
from ired_interp.tasks.inverse import Inverse
from ired_interp.tasks.linear_gaussian import LinearGaussian


def measured(matrices: torch.Tensor, rank: int | None = None) -> dict[str, torch.Tensor]:
    return dict(zip(MEASURES, rank_measures(matrices, rank).unbind(-1), strict=True))


def perfect(task: Task, problems: int = 64) -> Snapshot:
    return Snapshot(IREDModule(ExactEnergy(task)), task.sample(problems, stream("cpu", 1)), task)


def test_equal_singular_values_count_as_what_they_are_by_every_measure() -> None:
    draw = torch.randn(2, 9, 4, generator=stream("cpu", 0), dtype=torch.float64)
    left, right = torch.linalg.qr(draw).Q
    found = measured(7 * left @ right.mT, rank=3)
    for name in MEASURES[:-1]:
        assert float(found[name]) == pytest.approx(4, abs=1e-9), name
    assert float(found["tail"]) == pytest.approx(1 / 4)


def test_numerical_rank_counts_spikes_above_noise_of_unknown_size() -> None:
    draw = torch.randn(2, 30, 60, 3, generator=stream("cpu", 1))
    spikes = 3 * draw[0] @ draw[1].mT
    for scale in (0.1, 10.0):
        noise = torch.randn(30, 60, 60, generator=stream("cpu", 2))
        assert (measured(scale * (spikes + noise))["numerical"] == 3).all()
    zeros = measured(torch.zeros(3, 3))
    assert zeros["numerical"] == 0
    assert zeros["participation"].isnan()


def test_gaussian_matrices_have_the_participation_of_the_moments() -> None:
    task = Completion(20, rank=2, noise=0.0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        energy = MLPEnergy(400, 400, width=8)
    found = EffectiveRank(landscapes=[0])(
        Snapshot(IREDModule(energy), task.sample(8, stream("cpu", 1)), task)
    )
    n = 20
    chance = found["rank_chance"].sel(measure="participation")
    assert float(chance) == pytest.approx((n**2 + 2) / (2 * n + 1), rel=0.01)
    answer = found["rank"].sel(of="answer", landscape=0)
    assert float(answer.sel(measure="numerical")) == 2
    assert float(answer.sel(measure="tail")) < 1e-10
    assert 1 < float(answer.sel(measure="participation")) < 2
    copied = found["rank"].sel(of="copy visible, 0 elsewhere", landscape=0)
    assert float(copied.sel(measure="tail")) > 0.1
    # an output of a wide layer over few problems cannot span more than they do
    assert float(found["activation_rank"].sel(activation="fc4", measure="stable").max()) < 8


def test_a_perfect_model_with_one_answer_denoises_to_it_in_every_landscape() -> None:
    found = EffectiveRank()(perfect(Inverse(4)))["rank"]
    for of in ("denoised", "solution", "posterior mean"):
        np.testing.assert_allclose(
            found.sel(of=of).drop_sel(measure=["numerical", "tail"]),
            found.sel(of="answer").drop_sel(measure=["numerical", "tail"]),
            rtol=1e-3,
        )
    assert found.sel(of="residual", measure="participation").isnull().all()


def test_a_perfect_model_of_a_gaussian_posterior_denoises_to_its_mean_at_the_same_points() -> None:
    snapshot = perfect(LinearGaussian(9))
    found = EffectiveRank()(snapshot)
    rank = found["rank"].sel(measure="participation")
    np.testing.assert_allclose(rank.sel(of="denoised"), rank.sel(of="posterior mean"), rtol=1e-5)
    assert rank.sel(of="residual").notnull().all()  # the answer is not known from x
    # where all is noise, nothing is known but the mean of the answers to x
    mean = LinearGaussian(9).posterior(snapshot.batch.x).mean
    mean = measured(mean.reshape(-1, 3, 3))["participation"].mean()
    assert float(rank.sel(of="denoised", landscape=9)) == pytest.approx(float(mean), rel=1e-2)


def test_detectable_singular_values_are_those_above_the_threshold_of_the_noise() -> None:
    found = EffectiveRank()(perfect(Inverse(4)))
    schedule = ExactEnergy(Inverse(4)).schedule
    y = Inverse(4).sample(64, stream("cpu", 1)).y.double().reshape(-1, 4, 4)
    s = np.linalg.svd(y.numpy(), compute_uv=False)
    for k in (0, 3, 6):
        threshold = float(schedule.noise[k] / schedule.signal[k]) * math.sqrt(4)
        assert float(found["detectable"].sel(landscape=k)) == pytest.approx(
            (s > threshold).sum(1).mean()
        )


def trained(snapshot: Snapshot, change: dict[str, torch.Tensor]) -> Snapshot:
    """The same after its weights have changed so."""
    named = dict(snapshot.module.energy.named_parameters())
    initial = {name: weight.detach().clone() for name, weight in named.items()}
    with torch.no_grad():
        for name, step in change.items():
            named[name].add_(step)
    return replace(snapshot, initial=initial)


def test_a_planted_change_of_the_weights_is_found_with_its_rank(network: Snapshot) -> None:
    network.module.double()
    x, y = (part.double() for part in network.batch)
    snapshot = replace(network, batch=type(network.batch)(x, y))
    draw = torch.randn(2, 12, 2, generator=stream("cpu", 3), dtype=torch.float64)
    left, right = torch.linalg.qr(draw).Q
    snapshot = trained(snapshot, {"fc2.weight": 0.1 * left @ right.mT})
    found = EffectiveRank(landscapes=[0])(snapshot)
    change = found["change_rank"].sel(layer="fc2")
    for name in ("participation", "entropy", "stable", "nuclear"):
        assert float(change.sel(measure=name)) == pytest.approx(2, abs=1e-8), name
    assert found["change_rank"].sel(layer="fc3", measure="participation").isnull()
    whole = np.linalg.svd(
        snapshot.module.energy.get_parameter("fc2.weight").detach(), compute_uv=False
    )
    weight = found["weight_rank"].sel(layer="fc2", measure="stable")
    assert float(weight) == pytest.approx((whole**2).sum() / whole[0] ** 2)
    assert "change_rank" not in EffectiveRank(landscapes=[0])(
        replace(snapshot, initial=None)
    )  # the start is not known


def test_one_step_on_few_problems_changes_weights_by_few_directions(network: Snapshot) -> None:
    """The gradient of B rows, through one evaluation of the energy's gradient, has rank at most 2B."""
    module = IREDModule(MLPEnergy(16, 16, width=24)).double()
    x, y = (part[:2].double() for part in network.batch)
    drawn = torch.randn(2, *y.shape, generator=stream("cpu", 4), dtype=torch.float64)
    loss = module.training_loss(x, y, Noise(torch.tensor([0, 3]), *drawn)).score
    assert loss.ndim == 0
    named = dict(module.energy.named_parameters())
    module.objective = replace(module.objective, contrast_weight=0.0)
    total = module.training_loss(x, y, Noise(torch.tensor([0, 3]), *drawn)).total
    slopes = dict(zip(named, torch.autograd.grad(total, [*named.values()]), strict=True))
    change = {name: -0.01 * slopes[name] for name in ("fc2.weight", "fc3.weight")}
    batch = type(network.batch)(x, y)
    found = EffectiveRank(landscapes=[0])(trained(Snapshot(module, batch), change))
    for layer in ("fc2", "fc3"):
        assert 2 < float(found["change_rank"].sel(layer=layer, measure="numerical")) <= 4


def test_a_feed_forward_network_has_the_rank_of_its_answers_in_every_landscape() -> None:
    task = Completion(5, rank=1, noise=0.0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = FeedForwardModule(25, 25, width=12)
    problems = task.sample(16, stream("cpu", 1))
    model = with_energy(network)
    assert model is not None
    found = EffectiveRank()(Snapshot(model, problems, task))
    answers = network.answer(problems.x).detach().reshape(-1, 5, 5)
    known = rank_measures(answers, 1).mean(0)
    smooth = [name for name in MEASURES if name != "numerical"]  # not of rounding
    expected = [float(known[MEASURES.index(name)]) for name in smooth]
    for of in ("solution", "denoised"):
        for rank in found["rank"].sel(of=of, measure=smooth):
            np.testing.assert_allclose(rank, expected, rtol=1e-3, err_msg=of)
    assert "model.network.0" in found["layer"]


def test_the_least_nuclear_norm_is_a_reference_where_problems_show_entries() -> None:
    """Of a matrix of rank 1 that shows enough, it is the answer; copying is not."""
    task = Completion(12, rank=1, noise=0.0)
    _, y = task.sample(8, stream("cpu", 2))
    shown = torch.rand(y.shape, generator=stream("cpu", 3)) < 0.85
    snapshot = Snapshot(IREDModule(MLPEnergy(144, 144, 4)), Problems(y * shown, y), task)
    rank = EffectiveRank(landscapes=[0])(snapshot)["rank"].isel(landscape=0)
    found = rank.sel(of="least nuclear norm")
    assert float(found.sel(measure="participation")) == pytest.approx(1, abs=1e-2)
    assert float(found.sel(measure="tail")) < 1e-3
    assert float(rank.sel(of="copy visible, 0 elsewhere", measure="tail")) > 0.05
    assert "least nuclear norm" not in EffectiveRank(landscapes=[0])(perfect(Inverse(4)))["of"]


def test_solutions_that_are_no_square_matrices_are_refused() -> None:
    with pytest.raises(InputError, match="5 entries are no square matrices"):
        EffectiveRank().check(IREDModule(MLPEnergy(4, 5, 4)))
