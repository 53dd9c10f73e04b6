"""Patching and readouts against closed forms, the chain that the network is, and perfect models."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

from ired_interp.energy import MLPEnergy
from ired_interp.errors import InputError
from ired_interp.module import IREDModule
from ired_interp.probes import Patching, Readout, Snapshot
from ired_interp.probes.corruptions import corruptions, evaluation
from ired_interp.probes.landscape_patches import landscape_restored
from ired_interp.probes.pairs import partners
from ired_interp.probes.part_patches import PLANES, part_restored, parts_of
from ired_interp.probes.ridge import ridge_predictions
from ired_interp.probes.site_patches import attributions, restored, run
from ired_interp.random import stream
from ired_interp.tasks import ExactEnergy
from ired_interp.tasks.base import Problems
from ired_interp.tasks.completion import Completion
from ired_interp.tasks.inverse import Inverse
from ired_interp.tasks.linear_gaussian import LinearGaussian

K = 3


def network_of(width: int = 12, scale_condition: bool = False) -> IREDModule:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return IREDModule(MLPEnergy(9, 9, width, scale_condition=scale_condition)).double()


def snapshot_of(module: IREDModule, problems: int = 16) -> Snapshot:
    x, y = (part.double() for part in Inverse(3).sample(problems, stream("cpu", 7)))
    return Snapshot(module, Problems(x, y), Inverse(3))


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    return snapshot_of(network_of())


@pytest.mark.parametrize("scale_condition", [False, True])
def test_whatever_a_chain_must_restore_it_does(scale_condition: bool) -> None:
    measured = snapshot_of(network_of(scale_condition=scale_condition))
    found = Patching(landscapes=[0, 9])(measured)
    truth = found["restored_truth"]
    known = truth.notnull()
    assert bool(known.sel(corruption="smoother", site="x_path").any()) is not scale_condition
    assert found["restored"].sel(corruption="smoother", landscape=9).isnull().all()
    assert found["restored"].sel(corruption="sharper", landscape=0).isnull().all()
    assert int(found["restored"].isnull().any(["site", "direction", "metric"]).sum()) == 2
    for direction in found["direction"].values:
        off = abs(found["restored"].sel(direction=direction) - truth).where(known)
        assert float(off.max()) < 1e-9, direction
    # which landscape it is enters by two ways, that need not add up
    ways = found["restored"].sel(site=["mod2", "mod3"], metric="energy")
    ways = xr.concat(
        [ways.sel(corruption="smoother", landscape=0), ways.sel(corruption="sharper", landscape=9)],
        "end",
    )
    assert ((ways > 1e-6) | (ways < -1e-6)).all()


class Seen(MLPEnergy):
    """Tells what it is given."""

    def condition(self, x, k):
        return x, k


def test_corruptions_change_one_thing_alone() -> None:
    task = Completion(4, rank=1, noise=0.0)
    module = IREDModule(Seen(16, 16, 4)).double()
    batch = Problems(*(part.double() for part in task.sample(40, stream("cpu", 1))))
    masked = Snapshot(module, batch, task)
    assert corruptions(masked) == [
        *("problem", "entry", "row", "answer", "noise", "smoother", "sharper")
    ]
    (x, _), clean = evaluation(masked, K, None, 0)
    for how, most in (("entry", 1), ("row", 4)):
        (other, k), y = evaluation(masked, K, how, 0)
        gone = (other != x).unflatten(1, (4, 4))
        assert (other[gone.flatten(1)] == 0).all()
        assert (gone.any(2).sum(1) == 1).all(), "in one row of every problem"
        assert 1 <= int(gone.sum((1, 2)).min()) <= int(gone.sum((1, 2)).max()) <= most
        assert torch.equal(y, clean)
        assert (k == K).all()
    (same, k), y = evaluation(masked, K, "sharper", 0)
    assert torch.equal(same, x)
    assert torch.equal(y, clean)
    assert (k == K - 1).all()

    task = Inverse(4)
    batch = Problems(*(part.double() for part in task.sample(40, stream("cpu", 1))))
    spectral = Snapshot(module, batch, task)
    assert corruptions(spectral)[:2] == ["problem", "eigenvalue"]
    (moved, _), _ = evaluation(spectral, K, "eigenvalue", 0)
    q = torch.linalg.eigh(batch.x.view(-1, 4, 4)).eigenvectors
    turned = q.mT @ moved.view(-1, 4, 4) @ q
    torch.testing.assert_close(turned, torch.diag_embed(turned.diagonal(dim1=1, dim2=2)))
    own = torch.linalg.eigvalsh(batch.x.view(-1, 4, 4))
    new = (turned.diagonal(dim1=1, dim2=2) - own).abs() > 1e-9
    assert (new.sum(1) == 1).all()
    torch.testing.assert_close(turned.diagonal(dim1=1, dim2=2)[new], own[partners(len(own))][new])
    masked = replace(masked, module=IREDModule(MLPEnergy(16, 16, 4)).double())
    found = Patching(landscapes=[K])(masked)["restored"].sel(corruption=["entry", "row"])
    np.testing.assert_allclose(found.sel(site="x_path"), 1, rtol=1e-6)
    np.testing.assert_allclose(found.sel(site="y_path"), 0, atol=1e-6)


def test_values_patched_into_their_own_evaluation_change_nothing(snapshot: Snapshot) -> None:
    energy = snapshot.module.energy
    context, y = evaluation(snapshot, K, None, 0)
    clean = run(energy, context, y)
    again = run(energy, context, y, clean.sites)
    assert torch.equal(again.energy, clean.energy)
    assert torch.equal(again.gradient, clean.gradient)
    torch.testing.assert_close(clean.gradient, energy.gradient(snapshot.batch.x, y, K).detach())
    other = run(energy, *evaluation(snapshot, K, "noise", 0))
    assert restored(other, other, clean) == {"energy": (0, 0), "gradient": (0, 0)}


def test_parts_of_the_last_layer_restore_what_its_readout_says(snapshot: Snapshot) -> None:
    """E = ‖W h₃ + b‖², so that the energy of any patched h₃ is known."""
    energy = snapshot.module.energy
    assert isinstance(energy, MLPEnergy)
    clean, corrupted = (evaluation(snapshot, K, how, 0) for how in (None, "problem"))
    found = part_restored(energy, clean, corrupted, "h3", 0)
    sizes = parts_of(12)
    assert sizes == [1, 2, 4, 8, 12]
    share = {n: [v for v, _ in row] for n, row in zip(PLANES, found, strict=True)}
    for name in PLANES:
        assert share[name][-1] == pytest.approx(0 if name == "complement" else 1)
    runs = [run(energy, *each) for each in (clean, corrupted)]
    own, theirs = (each.sites["h3"] for each in runs)
    fit = torch.arange(len(own)) // 2 % 2 == 0
    basis = torch.linalg.svd((own - theirs)[fit]).Vh[:2]
    moved = theirs + (own - theirs) @ basis.mT @ basis
    with torch.no_grad():
        energies = energy.fc4(moved).square().sum(1)
    part, whole = ((e - runs[1].energy)[~fit] for e in (energies, runs[0].energy))
    kept = whole.abs() >= np.quantile(whole.abs().numpy(), 0.1)
    truth = (part * whole.sign())[kept].sum() / whole.abs()[kept].sum()
    assert share["leading"][1] == pytest.approx(float(truth))


def test_integrated_gradients_add_up_to_the_change_of_energy(snapshot: Snapshot) -> None:
    energy = snapshot.module.energy
    clean, corrupted = (evaluation(snapshot, K, how, 0) for how in (None, "problem"))
    runs = [run(energy, *each) for each in (clean, corrupted)]
    change = runs[0].energy - runs[1].energy
    # of h3 the energy is quadratic, so that two nodes are exact; of u1 it is any function
    for site, nodes, tolerance in (("h3", 2, 1e-12), ("u1", 64, 1e-4)):
        parts = attributions(energy, *corrupted, site, runs[0].sites[site], nodes)
        error = (parts.sum(1) - change).abs().max() / change.abs().max()
        assert float(error) < tolerance, site


def test_with_the_jump_a_perfect_model_decides_in_the_last_landscape() -> None:
    """It jumps to the answer of whatever problem it sees, from anywhere."""
    task = Inverse(3)
    measured = Snapshot(IREDModule(ExactEnergy(task)), task.sample(16, stream("cpu", 1)), task)
    found = landscape_restored(measured, [0, 4, 9], 0)["landscape_restored"][1]
    np.testing.assert_allclose(found, [[1, 1], [0, 0], [0, 0]], atol=1e-3)


def test_ridge_is_the_least_squares_of_what_is_linear_and_learns_nothing_from_noise() -> None:
    draw = stream("cpu", 2)
    x = torch.randn(600, 8, generator=draw, dtype=torch.float64)
    y = x @ torch.randn(8, 3, generator=draw, dtype=torch.float64)
    noisy = y + 0.5 * torch.randn(600, 3, generator=draw, dtype=torch.float64)
    noise = torch.randn(600, 3, generator=draw, dtype=torch.float64)
    parts = x.split([400, 100, 100])
    assert len(parts) == 3
    targets = {"linear": noisy, "noise": noise}
    found = ridge_predictions(
        (parts[0], parts[1], parts[2]), {n: (t[:400], t[400:500]) for n, t in targets.items()}
    )
    design = torch.cat([torch.ones(400, 1), x[:400]], 1)
    truth = torch.linalg.lstsq(design.double(), noisy[:400]).solution
    predicted = torch.cat([torch.ones(100, 1).double(), x[500:]], 1) @ truth
    assert float((found["linear"] - predicted).norm() / predicted.norm()) < 0.01
    assert float(found["noise"].square().mean()) < 0.05


def test_readouts_find_what_is_linear_and_give_the_input_its_due() -> None:
    task = LinearGaussian(5)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = IREDModule(MLPEnergy(5, 5, width=16))
    batch = task.sample(4, stream("cpu", 0))
    found = Readout(landscapes=[K], samples=2000)(Snapshot(module, batch, task))
    assert float(found["r2"].sel(landscape=K, site="h3", target="output")) == pytest.approx(
        1, abs=1e-4
    )
    # the best linear guess from x and the noised answer is the posterior mean
    mean, _, s = task.posterior(torch.eye(5))
    schedule = module.schedule
    signal, noise = float(schedule.signal[K]) ** 2, float(schedule.noise[K]) ** 2
    left = (s * noise / (signal * s + noise)).sum()
    truth = 1 - left / (mean.square().sum() + s.sum())
    one = found["r2_baseline"].sel(landscape=K, target="answer", baseline="input")
    assert float(one) == pytest.approx(float(truth), abs=0.02)
    chance = found["r2_baseline"].sel(baseline="permuted")
    assert float(abs(chance).max()) < 0.05
    best = found["r2_baseline"].max("baseline").clip(min=0)
    np.testing.assert_allclose(found["gain"], found["r2"] - best)


def test_what_has_no_sites_or_no_task_is_refused(snapshot: Snapshot) -> None:
    exact = IREDModule(ExactEnergy(Inverse(3)))
    for probe in (Patching(), Readout()):
        with pytest.raises(InputError, match="ExactEnergy has no such sites"):
            probe.check(exact)
    with pytest.raises(InputError, match="give the task"):
        Readout()(replace(snapshot, task=None))
    few = replace(snapshot, batch=Problems(*(part[:4] for part in snapshot.batch)))
    with pytest.raises(InputError, match="4 problems; give it at least 8"):
        Patching()(few)
