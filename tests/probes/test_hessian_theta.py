"""Spectra in θ against dense float64 Hessians of the same objectives, written with torch.func."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call, hessian

import ired_interp.probes.theta_spectrum as theta
from conftest import reference_weights
from ired_interp.diffusion import Noise, Objective
from ired_interp.energy import MLPEnergy
from ired_interp.errors import InputError, RunError
from ired_interp.module import IREDModule
from ired_interp.probes import HessianSpectrumTheta, HessianSpectrumY, Snapshot
from ired_interp.random import stream
from ired_interp.ranks import Ranks
from ired_interp.tasks import ExactEnergy, LinearGaussian
from ired_interp.tasks.base import Problems


@pytest.fixture(scope="module")
def snapshot():
    energy = MLPEnergy(3, 3, width=4, landscapes=10)
    reference_weights(energy)
    for name, parameter in energy.named_parameters():
        parameter.requires_grad_(
            not name.startswith(("time_mlp", "t_map"))
        )  # few weights: a dense Hessian is small
    x, y = LinearGaussian(3).sample(9, stream("cpu", 0))
    return Snapshot(IREDModule(energy).double(), Problems(x.double(), y.double()))


def dense(snapshot, objective, k, seed=0):
    module, (x, y) = snapshot.module, snapshot.batch
    drawn = Noise.draw(9, 3, 10, stream("cpu", seed, "theta"))
    rows = drawn.k if k is None else torch.full((9,), k)
    eps, contrast = drawn.eps.double(), drawn.contrast_eps.double()
    signal, sigma = module.schedule.signal[rows, None], module.schedule.noise[rows, None]
    noised = signal * y + sigma * eps
    trained = {n: p.detach() for n, p in module.energy.named_parameters() if p.requires_grad}
    sizes = [p.numel() for p in trained.values()]
    context = module.energy.condition(x, rows)
    negative = (
        Objective()
        .negative(module.energy, module.schedule, context, y, Noise(rows, eps, contrast))
        .detach()
    )

    def value(flat):
        parts = [
            part.view_as(p) for part, p in zip(flat.split(sizes), trained.values(), strict=True)
        ]
        weights = dict(zip(trained, parts, strict=True))

        def energies(y):
            return functional_call(module.energy, weights, (x, y, rows))

        if objective == "energy":
            return energies(noised).mean()
        score = (torch.func.grad(lambda y: energies(y).sum())(noised) - eps).pow(2).mean()
        if objective == "score":
            return score
        return (
            score
            + 0.5 * F.softplus(energies(signal * y + sigma * contrast) - energies(negative)).mean()
        )

    flat = torch.cat([p.flatten() for p in trained.values()])
    return hessian(value)(flat), torch.func.grad(value)(flat)


@pytest.mark.process
@pytest.mark.parametrize("landscape", [0, 6, "mixed"])
@pytest.mark.parametrize("objective", ["loss", "score", "energy"])
def test_against_the_dense_hessian(snapshot, objective, landscape):
    matrix, gradient = dense(snapshot, objective, None if landscape == "mixed" else landscape)
    values, vectors = torch.linalg.eigh(matrix)
    result = HessianSpectrumTheta(
        landscapes="mixed" if landscape == "mixed" else [landscape],
        objective=objective,
        eigenpairs=6,
        which="BE",
        tol=1e-6,
        density_probes=20,
        density_steps=30,
        trace_matvecs=30,
        dtype="float64",
    )(snapshot).isel(landscape=0)
    expected = np.concatenate([values[:3].numpy(), values[-3:].numpy()])
    found = np.sort(result["eigenvalues"].values)
    np.testing.assert_array_less(np.abs(found - expected), result["residuals"].max().item() + 1e-9)
    assert result["converged"].all()
    share = (vectors.T @ gradient).square() / gradient.square().sum()
    expected_share = torch.cat([share[-3:], share[:3]]).sum().item()
    assert result["gradient_share"].sum().item() == pytest.approx(expected_share, abs=1e-4)
    width = result["trace_high"].item() - result["trace_low"].item()
    assert (
        abs(result["trace"].item() - matrix.trace().item()) <= width
    )  # twice the half-width of a 95 % interval
    mass = np.trapezoid(result["density"], result["density_grid"])
    assert mass == pytest.approx(1, abs=0.02)
    assert result["parameters"].item() == len(gradient)


@pytest.mark.process
def test_interrupted_spectrum_goes_on_from_its_folder(snapshot, tmp_path, monkeypatch):
    """Stopped after the eigenpairs of the second landscape: the same result as in one go, the count of products included."""
    probe = HessianSpectrumTheta(
        landscapes=[1, 2], eigenpairs=4, density_probes=2, density_steps=10
    )
    whole = probe(snapshot)
    calls, density = iter(range(10)), theta.density

    def stop(*arguments, **settings):
        if next(calls) == 1:
            raise KeyboardInterrupt
        return density(*arguments, **settings)

    kept = replace(snapshot, scratch=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(theta, "density", stop)
        with pytest.raises(KeyboardInterrupt):
            probe(kept)
    resumed = probe(kept)
    assert resumed.equals(whole)


def test_memory_that_cannot_hold_the_vectors_is_refused_before_the_work(snapshot):
    with pytest.raises(InputError, match="memory"):
        HessianSpectrumTheta(landscapes=[0], memory_gib=2e-6)(snapshot)


def test_summary_names_both_ends(snapshot):
    probe = HessianSpectrumTheta(landscapes=[3], eigenpairs=2, density_probes=0, trace_matvecs=0)
    result = probe(snapshot)
    text = probe.summary(result)
    assert "λ_min" in text
    assert "converged" in text
    assert "trace" not in text
    noted = result.assign(notes=("landscape", ["1 of 2 eigenvalues is rough"]))
    assert "k=3: 1 of 2 eigenvalues is rough" in probe.summary(noted)


def test_energy_without_weights_and_diverged_weights():
    task = LinearGaussian(3)
    exact = Snapshot(IREDModule(ExactEnergy(task)), Problems(*task.sample(4, stream("cpu", 0))))
    with pytest.raises(InputError, match="has none"):
        HessianSpectrumTheta()(exact)
    energy = MLPEnergy(3, 3, 4)
    energy.fc1.weight.data.fill_(float("nan"))
    broken = Snapshot(IREDModule(energy), exact.batch)
    for probe in (HessianSpectrumY(), HessianSpectrumTheta()):
        with pytest.raises(RunError, match="not finite"):
            probe(broken)


class Together(Ranks):
    """One of two threads that gather as processes do."""

    meeting = threading.Barrier(2)
    given: ClassVar[list[object]] = [None, None]

    def all_gather_object(self, value):
        self.given[self.rank] = value
        self.meeting.wait(60)
        found = list(self.given)
        self.meeting.wait(60)
        return found


@pytest.mark.parametrize("landscapes", [[7, 2, 5], [4]])
def test_processes_that_share_out_landscapes_find_what_one_does(snapshot, monkeypatch, landscapes):
    """As on several GPUs; one is left without work where there are too few."""
    probe = HessianSpectrumTheta(landscapes=landscapes, eigenpairs=2, density_probes=0)
    measured = []
    measure = HessianSpectrumTheta._measure

    def noted(self, snapshot, k, steps):
        measured.append(k)
        assert snapshot.ranks.count == 1
        return measure(self, snapshot, k, steps)

    expected = probe(snapshot)
    monkeypatch.setattr(HessianSpectrumTheta, "_by_landscape", staticmethod(lambda snapshot: True))
    monkeypatch.setattr(HessianSpectrumTheta, "_measure", noted)
    with ThreadPoolExecutor(2) as pool:
        ranks = [replace(snapshot, ranks=Together(rank=rank, count=2)) for rank in (0, 1)]
        found = list(pool.map(probe, ranks))
    assert sorted(measured) == sorted(landscapes)
    assert found[0].identical(expected)
    assert found[1].identical(expected)
