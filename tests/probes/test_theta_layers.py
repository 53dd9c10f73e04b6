"""Layers, blocks and shares of the spectrum in θ against dense matrices and real optimizer steps."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import reference_weights
from ired_interp.energy import MLPEnergy
from ired_interp.module import IREDModule
from ired_interp.probes import HessianSpectrumTheta, Snapshot
from ired_interp.probes.last_update import last_update
from ired_interp.probes.theta_spectrum import theta_operator
from ired_interp.random import stream
from ired_interp.spectra.layers import layers_of
from ired_interp.tasks import LinearGaussian
from ired_interp.tasks.base import Problems


@pytest.fixture(scope="module")
def snapshot():
    energy = MLPEnergy(2, 2, width=3, landscapes=10)
    reference_weights(energy)
    for name, parameter in energy.named_parameters():
        parameter.requires_grad_(not name.startswith(("time_mlp", "t_map")))
    x, y = LinearGaussian(2).sample(9, stream("cpu", 0))
    module = IREDModule(energy).double()
    trained = [p for p in module.parameters() if p.requires_grad]
    adam = torch.optim.Adam(trained, lr=1e-3)
    torch.manual_seed(0)
    for _ in range(3):
        for p in trained:
            p.grad = torch.randn_like(p)
        adam.step()
    return Snapshot(module, Problems(x.double(), y.double()), optimizer=adam.state_dict())


PROBE = HessianSpectrumTheta(
    landscapes=[4],
    eigenpairs=6,
    which="LA",
    tol=1e-8,
    density_probes=0,
    trace_matvecs=400,
    layers="each",
    dtype="float64",
)


@pytest.fixture(scope="module")
def measured(snapshot):
    return PROBE(snapshot)


@pytest.fixture(scope="module")
def dense(snapshot):
    operator = theta_operator(snapshot, "score", 4, torch.float64, 2**29, 0)
    steps, _ = last_update(
        snapshot.optimizer,
        {n: p for n, p in snapshot.module.named_parameters() if p.requires_grad},
    )
    update = operator.flatten(steps[f"energy.{name}"] for name in operator.named)
    return operator, operator.dense(), update


def test_each_layer_has_the_spectrum_of_its_diagonal_block(measured, dense):
    operator, matrix, _ = dense
    places = operator.unflatten(torch.arange(len(matrix)))
    layers = layers_of(operator.named)
    assert list(measured["layer"].values) == list(layers)
    for layer, names in layers.items():
        index = torch.cat([places[n].flatten().long() for n in names])
        here = measured.isel(landscape=0).sel(layer=layer)
        values = torch.linalg.eigvalsh(matrix[index][:, index]).flip(0)[:6].numpy()
        found = here["layer_eigenvalues"].values
        np.testing.assert_allclose(found[: len(values)], values, atol=1e-6 * abs(values).max())
        assert np.isnan(found[len(values) :]).all()
        assert int(here["layer_parameters"]) == len(index)
        trace = matrix[index, index].sum().item()
        assert here["layer_trace"].item() == pytest.approx(trace, rel=1e-6, abs=1e-9)


def test_norms_of_blocks_are_those_of_the_dense_matrix_within_their_errors(measured, dense):
    operator, matrix, _ = dense
    places = operator.unflatten(torch.arange(len(matrix)))
    groups = [
        torch.cat([places[n].flatten().long() for n in g])
        for g in layers_of(operator.named).values()
    ]
    truth = np.array([[matrix[a][:, b].square().sum().item() for b in groups] for a in groups])
    here = measured.isel(landscape=0)
    found, error = here["block_squares"].values, here["block_squares_error"].values
    assert (np.abs(found - truth) <= 4 * error + 1e-9 * truth.max()).all()
    assert (error <= found).mean() > 0.8
    np.testing.assert_allclose(found, found.T)


@pytest.mark.parametrize("name", ["gradient", "update"])
def test_shares_in_the_top_eigenspace_are_those_of_dense_eigenvectors(measured, dense, name):
    operator, matrix, update = dense
    vector = operator.gradient() if name == "gradient" else update
    vectors = torch.linalg.eigh(matrix)[1].flip(1)[:, :6]
    cosines = (vectors.T @ vector).square() / vector.square().sum()
    here = measured.isel(landscape=0)
    np.testing.assert_allclose(here[f"{name}_share"], cosines, atol=1e-5)
    assert here[f"{name}_in_top"].item() == pytest.approx(cosines.sum().item(), abs=1e-5)
    signs = (vector.square() / vector.square().sum()) @ vectors.square()
    assert here[f"{name}_in_top_chance"].item() == pytest.approx(signs.sum().item(), abs=1e-5)
    assert here["chance_in_top"].item() == pytest.approx(6 / len(matrix))


@pytest.mark.process
def test_several_draws_give_means_and_errors_of_shares_and_leave_the_spectrum(snapshot, measured):
    probe = PROBE.with_settings(layers="all", draws=3, trace_matvecs=0)
    several = probe(snapshot)
    np.testing.assert_allclose(several["eigenvalues"], measured["eigenvalues"])
    single = [
        PROBE.with_settings(layers="all", trace_matvecs=0)
        ._measure(snapshot, 4, None)["gradient_in_top"]
        .item()
    ]
    for draw in (1, 2):
        operator = theta_operator(snapshot, "score", 4, torch.float64, 2**29, 0, draw)
        vectors = torch.linalg.eigh(operator.dense())[1].flip(1)[:, :6]
        gradient = operator.gradient()
        single.append(((vectors.T @ gradient).square().sum() / gradient.square().sum()).item())
    assert len(set(single)) == 3
    assert several["gradient_in_top"].item() == pytest.approx(np.mean(single), abs=1e-5)
    error = np.std(single, ddof=1) / 3**0.5
    assert several["gradient_in_top_error"].item() == pytest.approx(error, abs=1e-5)
    assert several["update_in_top_error"].item() > 0
    assert " ± " in probe.summary(several)


def test_table_has_a_row_for_each_layer_and_says_whose_step_the_update_is(measured):
    text = PROBE.summary(measured)
    assert all(layer in text for layer in measured["layer"].values)
    assert "last step of Adam" in text
    assert "update in top 6" in text


def test_without_optimizer_state_there_is_no_update_and_the_table_says_so(snapshot):
    probe = PROBE.with_settings(layers="all", trace_matvecs=0)
    result = probe(replace(snapshot, optimizer=None))
    assert "update_share" not in result
    assert "update: none: there is no state of one optimizer" in probe.summary(result)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: torch.optim.Adam(p, lr=0.1), "Adam"),
        (lambda p: torch.optim.Adam(p, lr=0.1, amsgrad=True, betas=(0.5, 0.6)), "Adam"),
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), "SGD"),
    ],
)
def test_last_update_is_what_the_weights_moved_by(make, says):
    torch.manual_seed(0)
    weights = {
        "a": torch.randn(3).double(),
        "idle": torch.zeros(2),
        "b": torch.randn(2, 2).double(),
    }
    weights = {name: w.requires_grad_() for name, w in weights.items()}
    optimizer = make(weights.values())
    for _ in range(4):
        before = {name: w.detach().clone() for name, w in weights.items()}
        for name in ("a", "b"):
            weights[name].grad = torch.randn_like(weights[name])
        optimizer.step()
    steps, whose = last_update(optimizer.state_dict(), weights)
    assert says in whose
    for name, weight in weights.items():
        torch.testing.assert_close(steps[name], (weight.detach() - before[name]).double())


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda p: torch.optim.SGD(p, lr=0.1), "keeps no moments"),
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True), "does not tell"),
        (lambda p: torch.optim.RAdam(p, lr=0.1), "does not tell"),
        (lambda p: torch.optim.Adam([*p, torch.zeros(1, requires_grad=True)]), "trains 2 tensors"),
        (lambda p: torch.optim.Adam([{"params": p}, {"params": [torch.zeros(1)]}]), "which group"),
    ],
)
def test_a_state_that_does_not_tell_the_last_step_gives_none_and_why(make, reason):
    weight = torch.ones(2, requires_grad=True)
    optimizer = make([weight])
    weight.grad = torch.ones(2)
    optimizer.step()
    steps, why = last_update(optimizer.state_dict(), {"w": weight})
    assert steps is None
    assert why.startswith("none: ")
    assert reason in why
