"""Posteriors of several answers and of deficient rank against densities of another library and closed forms."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import (
    Categorical,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
)

from ired_interp.errors import InputError
from ired_interp.evaluation import floors
from ired_interp.module import IREDModule
from ired_interp.random import stream
from ired_interp.results.names import PERFECT
from ired_interp.schedule import Schedule
from ired_interp.tasks import (
    Completion,
    ExactEnergy,
    FinitePosterior,
    LinearGaussian,
    TaskData,
    TwoAnswers,
)

SCHEDULE = Schedule().double()
KS = torch.arange(10)


def differences(values: torch.Tensor) -> torch.Tensor:
    """Log-densities up to the constant of each landscape."""
    return values - values[:1]


def test_the_log_posterior_of_several_answers_is_that_of_their_noised_mixture() -> None:
    draw = torch.Generator().manual_seed(0)
    answers = torch.randn(1, 3, 4, generator=draw, dtype=torch.float64)
    weights = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    posterior = FinitePosterior(answers.expand(10, -1, -1), weights)
    points = torch.randn(6, 10, 4, generator=draw, dtype=torch.float64)
    at = posterior.at(SCHEDULE, KS, torch.float64)
    found = torch.stack([-posterior.energy(at, y) / SCHEDULE.noise for y in points])
    parts = Independent(
        Normal(SCHEDULE.signal[:, None, None] * answers, SCHEDULE.noise[:, None, None]), 1
    )
    truth = MixtureSameFamily(Categorical(weights.expand(10, 3)), parts).log_prob(points)
    torch.testing.assert_close(differences(found), differences(truth), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(posterior.mean[0], weights @ answers[0])


@pytest.mark.parametrize("rank", [None, 3, 0])
def test_the_log_posterior_of_a_deficient_covariance_is_that_of_the_noised_gaussian(
    rank: int | None,
) -> None:
    task = LinearGaussian(5, 0.5, 1.0, rank=rank)
    x = torch.randn(1, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mean, basis, variances = task.posterior(x)
    assert int((variances > 0).sum()) == (5 if rank is None else rank)
    covariance = basis @ variances.diag() @ basis.mT
    points = torch.randn(6, 10, 5, generator=torch.Generator().manual_seed(2)).double()
    found = torch.stack([task.log_posterior(x.expand(10, -1), y, KS, SCHEDULE) for y in points])
    for k in range(10):
        noised = (
            SCHEDULE.signal[k] ** 2 * covariance + SCHEDULE.noise[k] ** 2 * torch.eye(5).double()
        )
        truth = MultivariateNormal(SCHEDULE.signal[k] * mean[0], noised).log_prob(points[:, k])
        torch.testing.assert_close(differences(found[:, k]), differences(truth), atol=1e-9, rtol=0)


def test_answers_vary_in_as_many_directions_as_the_covariance_has_rank() -> None:
    task = LinearGaussian(8, 1.0, 1.0, rank=3)
    x, y = task.sample(500, stream("cpu", 0))
    values = torch.linalg.svdvals(y - task.posterior(x).mean).square() / 500
    assert values[3:].max() < 1e-9
    # Sample eigenvalues of a unit covariance lie within (1 ± √(3/500))² and a little.
    np.testing.assert_allclose(values[:3], 1, atol=0.35)


def test_the_energy_between_two_answers_has_the_barrier_and_curvature_of_their_distance() -> None:
    """At the middle λ_min = (1 − Δ²/4σ²)/σ, Δ = √ᾱ‖a − b‖; the barrier over the answers in closed form."""
    task = TwoAnswers(6)
    energy = ExactEnergy(task).double()
    x = task.sample(5, stream("cpu", 3)).x.double()
    a, b = x.chunk(2, 1)
    wells = []
    for k in range(10):
        signal, sigma = SCHEDULE.signal[k], SCHEDULE.noise[k]
        gap = signal * (a - b).norm(dim=1)
        middle = signal * (a + b) / 2
        curvature = torch.linalg.eigvalsh(energy.hessian(x, middle, k))
        torch.testing.assert_close(curvature[:, 0], (1 - gap**2 / (4 * sigma**2)) / sigma)
        torch.testing.assert_close(curvature[:, 1:], torch.full((5, 5), 1 / sigma.item()).double())
        barrier = energy(x, middle, k) - energy(x, signal * a, k)
        ratio = (gap / sigma) ** 2
        exact = sigma * (ratio / 8 - math.log(2) + torch.log1p(torch.exp(-ratio / 2)))
        torch.testing.assert_close(barrier, exact)
        wells.append(curvature[:, 0] < 0)
    found = torch.stack(wells)
    assert found[0].all()
    assert not found[9].any()


def test_two_answers_are_drawn_alike_and_either_counts_as_right() -> None:
    task = TwoAnswers(3)
    x, y = task.sample(2000, stream("cpu", 0))
    a, b = x.chunk(2, 1)
    first, second = (y == a).all(1), (y == b).all(1)
    assert (first ^ second).all()
    assert abs(float(first.double().mean()) - 0.5) < 5 * 0.5 / 2000**0.5
    torch.testing.assert_close(task.nearest_answer(x, y, a + 0.1 * (b - a)), a)
    torch.testing.assert_close(task.nearest_answer(x, y, a + 0.9 * (b - a)), b)
    scores = floors(TaskData(task), IREDModule(ExactEnergy(task)), "test", "same", 400)
    assert scores[PERFECT][0] < 0.05 * scores["mean of both answers"][0]


def test_completion_shows_the_entries_that_are_not_blank_and_others_show_none() -> None:
    task = Completion(5, 2)
    x, y = task.sample(50, stream("cpu", 0))
    visible = task.visible(x)
    assert torch.equal(visible, x == y)
    assert 0.4 < float(visible.double().mean()) < 0.6
    assert LinearGaussian(4).visible(torch.zeros(1, 4)) is None


def test_complaints() -> None:
    with pytest.raises(InputError, match="rank=5 of a covariance of 4 entries"):
        LinearGaussian(4, rank=5)
    with pytest.raises(InputError, match="n=0"):
        TwoAnswers(0)
    x = torch.zeros(1, 16)
    with pytest.raises(InputError, match="posterior of task completion is not known"):
        Completion(4, 2).log_posterior(x, x, torch.zeros(1).long(), SCHEDULE)
