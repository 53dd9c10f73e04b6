"""Sparse dictionaries against planted atoms, their Gaussian null, and closed forms."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ired_interp.energy import MLPEnergy
from ired_interp.errors import InputError, RunError
from ired_interp.module import IREDModule
from ired_interp.probes import Dictionary, Snapshot, topk
from ired_interp.probes.dictionary_scores import plane_alignment
from ired_interp.probes.planes import families, frames
from ired_interp.probes.topk import agreement, explained, learn_dictionary
from ired_interp.probes.vector_nulls import gaussian_like, leading_components
from ired_interp.random import stream
from ired_interp.tasks import ExactEnergy
from ired_interp.tasks.completion import Completion
from ired_interp.tasks.inverse import Inverse

D, ATOMS, L0, COUNT, STEPS = 32, 48, 3, 8000, 2500


@pytest.mark.process  # trains for ten seconds
def test_a_planted_dictionary_is_found_and_nothing_in_gaussian_data_like_it() -> None:
    draw = stream("cpu", 0)
    atoms = torch.nn.functional.normalize(torch.randn(ATOMS, D, generator=draw))
    places = torch.rand(COUNT, ATOMS, generator=draw).topk(L0, 1).indices
    sizes = torch.rand(COUNT, L0, generator=draw) + 0.5
    rows = torch.zeros(COUNT, ATOMS).scatter(1, places, sizes) @ atoms
    rows = rows + 0.02 * torch.randn(COUNT, D, generator=draw)
    surrogate = gaussian_like(rows, draw)
    found = {}
    for name, data in (("planted", rows), ("null", surrogate)):
        learned = learn_dictionary(data[:-1000], ATOMS, L0, STEPS, stream("cpu", 1, "d"))
        made = learned.reconstruct(data[-1000:])
        codes = learned.codes(data[-1000:])
        assert int((codes > 0).sum(1).max()) <= L0
        torch.testing.assert_close(learned.atoms.norm(dim=1), torch.ones(ATOMS))
        wrong, size = explained(data[-1000:], made)
        matched = agreement(atoms, learned.atoms)
        found[name] = 1 - wrong.sum() / size.sum(), float((matched > 0.9).mean())
    assert found["planted"][1] >= 0.85
    assert found["null"][1] == 0
    assert found["planted"][0] > 0.85 > 0.7 > found["null"][0]
    leading = leading_components(rows[:-1000], rows[-1000:], L0)
    wrong, size = explained(rows[-1000:], leading)
    assert 1 - wrong.sum() / size.sum() < 0.3


def test_the_gaussian_null_has_the_mean_and_covariance_of_the_data() -> None:
    draw = stream("cpu", 2)
    rows = torch.randn(20_000, 3, generator=draw).exp() @ torch.randn(3, 3, generator=draw)
    drawn = gaussian_like(rows, draw)
    np.testing.assert_allclose(drawn.mean(0), rows.mean(0), atol=0.1)
    scale = float(torch.cov(rows.mT).abs().max())
    np.testing.assert_allclose(torch.cov(drawn.mT), torch.cov(rows.mT), atol=0.05 * scale)


def test_atoms_are_matched_one_to_one_whatever_their_order_and_sign() -> None:
    atoms = torch.nn.functional.normalize(torch.randn(5, 8, generator=stream("cpu", 3)))
    np.testing.assert_allclose(agreement(atoms, -atoms.flip(0)), 1, rtol=1e-6)
    twice = torch.cat([atoms[:1], atoms[:1]])
    assert agreement(atoms, twice).min() < 0.95  # one atom cannot stand for two


def network() -> Snapshot:
    task = Completion(3, rank=1, noise=0.0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = IREDModule(MLPEnergy(9, 9, width=4))
    return Snapshot(module, task.sample(64, stream("cpu", 0)), task)


def test_as_many_components_as_dimensions_explain_all_and_the_null_is_taken_off() -> None:
    probe = Dictionary(atoms=32, l0=4, samples=256, steps=20)
    found = probe(network()).isel(landscape=0)
    share = found["explained"]
    assert float(share.sel(kind="principal components")) == pytest.approx(1, abs=1e-5)
    difference = float(share.sel(kind="dictionary") - share.sel(kind="Gaussian null"))
    assert float(found["excess"]) == pytest.approx(difference)
    # few steps move atoms little from where they were drawn
    np.testing.assert_allclose(found["agreement"], found["agreement_chance"], atol=0.1)


def test_a_perfect_reconstruction_keeps_the_energy_and_the_mean_keeps_nothing() -> None:
    snapshot, probe = network(), Dictionary(atoms=8, l0=8)
    (x, y), k = snapshot.batch, 2
    own = probe._vectors(snapshot.module, snapshot.batch, y, k)
    both = torch.cat([torch.eye(4), -torch.eye(4)])
    whole = topk.Dictionary(both, both, torch.zeros(8), own.mean(0), 1.0, 8)
    torch.testing.assert_close(whole.reconstruct(own), own)
    kept = probe._fidelity(snapshot.module, x, y, k, whole)
    np.testing.assert_allclose(kept[:, 0], 1, atol=1e-4)
    nothing = replace(whole, encoder=0 * both)
    kept = probe._fidelity(snapshot.module, x, y, k, nothing)
    np.testing.assert_allclose(kept[:, 0], 0, atol=1e-6)


def test_a_perfect_model_with_one_answer_has_no_error_to_learn_from() -> None:
    task = Inverse(2)
    module = IREDModule(ExactEnergy(task))
    snapshot = Snapshot(module, task.sample(4, stream("cpu", 0)), task)
    with pytest.raises(InputError, match="ExactEnergy has no such sites"):
        Dictionary(samples=64).check(module)
    with pytest.raises(InputError, match="give the task"):
        Dictionary(source="error", samples=64, steps=2)(Snapshot(module, snapshot.batch))
    with pytest.raises(RunError, match="nothing to learn"):
        Dictionary(source="error", samples=64, steps=2)(snapshot)


def test_the_grid_explains_what_each_number_of_atoms_does_alone() -> None:
    settings = {"atoms": 16, "samples": 128, "steps": 5}
    found = Dictionary(**settings, l0=2, grid=[1, 2, 4])(network())
    by_number = found["explained_by_l0"].isel(landscape=0)
    assert by_number["l0"].values.tolist() == [1, 2, 4]
    np.testing.assert_allclose(by_number.sel(l0=2), found["explained"][0])
    alone = Dictionary(**settings, l0=4)(network())
    np.testing.assert_allclose(by_number.sel(l0=4), alone["explained"][0])
    leading = by_number.sel(kind="principal components")
    assert (leading.diff("l0") > 0).all()
    with pytest.raises(InputError, match="grid="):
        Dictionary(atoms=4, grid=[5])


def test_atoms_lie_to_planes_as_where_they_are_used() -> None:
    """Atoms are entries, and each problem has what it does not show: all in the hidden plane."""
    task = Completion(3, rank=1, noise=0.0)
    batch = task.sample(40, stream("cpu", 0))
    snapshot = Snapshot(IREDModule(MLPEnergy(9, 9, width=4)), batch, task)
    every = frames(snapshot, None)
    rows = (batch.x == 0).float() * torch.rand(40, 9, generator=stream("cpu", 1))
    unit = torch.eye(9)
    learned = topk.Dictionary(unit, unit, torch.zeros(9), torch.zeros(9), 1.0, 9)
    found = plane_alignment(learned, rows, every)
    share = dict(zip(families(every), found.share.T, strict=True))
    chance = dict(zip(families(every), found.chance, strict=True))
    np.testing.assert_allclose(share["hidden"], 1)
    np.testing.assert_allclose(share["visible"], 0)
    assert chance["hidden"] == pytest.approx(float((batch.x == 0).double().mean()))
    assert chance["tangent"] == pytest.approx(5 / 9)
    # all entries used alike: their shares in a plane add up to its dimension
    found = plane_alignment(learned, torch.ones(40, 9), every)
    np.testing.assert_allclose(found.share.mean(0), found.chance, rtol=1e-6)
    unused = plane_alignment(replace(learned, offset=-10 * torch.ones(9)), rows, every)
    assert np.isnan(unused.share).all()


def test_errors_are_aligned_with_planes_and_layers_are_not() -> None:
    found = Dictionary(source="error", atoms=8, l0=2, samples=64, steps=2)(network())
    assert found["alignment"].dims == ("landscape", "atom", "family")
    assert found["alignment_chance"].sel(family="random") == 1
    both = found["alignment"].sel(family=["visible", "hidden"]).sum("family", skipna=False)
    np.testing.assert_allclose(both.values[both.notnull().values], 1, rtol=1e-5)
    assert "alignment" not in Dictionary(atoms=8, l0=2, samples=64, steps=2)(network())
