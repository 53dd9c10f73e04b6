"""The exact energy against the closed forms it stands for, in float64."""

import numpy as np
import pytest
import torch

from ired_interp.diffusion import Inference
from ired_interp.errors import InputError
from ired_interp.module import IREDModule
from ired_interp.probes import HessianSpectrumY, Snapshot
from ired_interp.random import stream
from ired_interp.tasks import Addition, Completion, ExactEnergy, Inverse, LinearGaussian
from ired_interp.tasks.base import Problems

TASKS = [Addition(3), Inverse(3), LinearGaussian(8)]


def exact(task, count=12):
    x, y = task.sample(count, stream("cpu", 0, "exact"))
    return IREDModule(ExactEnergy(task)).double(), Problems(x.double(), y.double())


@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.name)
def test_hessian_eigenvalues(task):
    """σ_k(ᾱ_k s + σ_k²)⁻¹ per eigenvalue s of the posterior covariance, 1/σ_k where x fixes y: to 1e-5, the float32 schedule constants' rounding."""
    module, problems = exact(task)
    result = HessianSpectrumY(dtype="float64")(Snapshot(module, problems, task))
    u = np.arange(11) / 10
    f = np.cos((u + 0.008) / 1.008 * np.pi / 2) ** 2
    alpha_bar = np.cumprod(1 - np.clip(1 - f[1:] / f[:-1], 0, 0.999))
    variances = np.geomspace(0.01, 1.0, 8) if task.name == "linear_gaussian" else np.zeros(9)
    sigma = np.sqrt(1 - alpha_bar)[:, None]
    expected = np.sort(sigma / (alpha_bar[:, None] * variances + sigma**2), axis=1)
    np.testing.assert_allclose(
        result["eigenvalues"],
        np.broadcast_to(expected[:, None], (10, 12, len(variances))),
        rtol=1e-5,
    )
    np.testing.assert_allclose(result["theory"], expected, rtol=1e-5)
    assert float(result["deviation"].max()) < 1e-5
    assert result["eigenvalues"].dims == ("landscape", "problem", "rank")


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.name)
def test_solve_ends_at_the_posterior_mean(task, steps):
    module, (x, y) = exact(task)
    solution = module.solve(x, steps=steps, generator=stream("cpu", 1))
    mean = task.posterior(x).mean
    # the jump is exact where x fixes y; otherwise each landscape contracts the rest by ∏(1 − η_k λ_i)
    torch.testing.assert_close(
        solution.y, mean, rtol=0, atol=1e-10 if task.name != "linear_gaussian" else 0.02
    )
    assert solution.trajectory.shape == (10, *y.shape)
    assert solution.energies.shape == (10, steps + 1, 12)
    assert solution.accepted.shape == (10, steps, 12)
    assert (solution.energies.diff(dim=1) <= 0).all()


def test_more_steps_come_closer():
    module, (x, _) = exact(LinearGaussian(8))
    mean = LinearGaussian(8).posterior(x).mean
    start = torch.randn(mean.shape, generator=stream("cpu", 1), dtype=torch.float64)
    errors = [(module.solve(x, steps=t, start=start).y - mean).abs().max() for t in (1, 5, 20)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-7


def test_gradient_is_the_posterior_mean_of_the_noise():
    """E[ε | y_k] by the linear regression of ε on (y_k − √ᾱ_k m), within sampling error."""
    task = LinearGaussian(3, 0.3, 1.0)
    module, (x, y) = exact(task, 40_000)
    k, eps = 2, torch.randn(y.shape, generator=stream("cpu", 2), dtype=torch.float64)
    noised = module.schedule.noised(y, torch.full((len(y),), k), eps)
    residual = noised - module.schedule.signal[k] * task.posterior(x).mean
    regression = torch.linalg.lstsq(residual, eps).solution
    gradient = module.energy.gradient(x, noised, k)
    assert (
        residual @ regression - gradient
    ).square().mean().sqrt() < 0.02  # 3 coefficients of 40 000 samples: about 0.01


def test_corrected_rules_solve_what_the_published_ones_cannot():
    task = Addition(3)
    x, y = task.sample(200, stream("cpu", 0), "harder")
    module = IREDModule(ExactEnergy(task))
    errors = {
        preset: float(
            (module.solve(x, preset=Inference(preset), generator=stream("cpu", 1)).y - y)
            .square()
            .mean()
        )
        for preset in ("corrected", "published")
    }
    assert errors["corrected"] < 1e-8
    assert errors["published"] > 0.3


def test_tasks_without_a_known_posterior_are_refused():
    with pytest.raises(InputError, match="completion is not known"):
        ExactEnergy(Completion(4, 2))
