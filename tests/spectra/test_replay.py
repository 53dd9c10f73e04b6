"""Products that are replayed from a recording are those that are called; on a CPU a replay is a call that reads and writes fixed memory."""

import gc
import weakref

import pytest
import torch

from ired_interp.capture import Capture, NotCapturedError
from ired_interp.errors import InputError
from ired_interp.random import stream
from ired_interp.spectra import GaussNewtonOperator, HessianOperator, lanczos, replay


@pytest.fixture
def recorded(monkeypatch):
    """Let a CPU record, and list what was of functions of vectors."""
    made: list[Capture] = []
    record = Capture.record

    def noted(self, function, inputs):
        if inputs:
            made.append(self)
        record(self, function, inputs)

    monkeypatch.setattr(replay, "capturable", lambda device: True)
    monkeypatch.setattr(Capture, "record", noted)
    return made


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2))


def data(rows=12):
    return torch.randn(rows, 3, generator=stream("cpu", 1))


def hessian(model, **settings):
    settings = settings or {"batch": data()}
    return HessianOperator(lambda x: model(x).square().mean(), model, **settings)


def vectors(operator, count=8):
    source = stream("cpu", 2)
    return [torch.randn(operator.shape[0], generator=source) for _ in range(count)]


CASES = {
    "one batch": {"batch": data()},
    "several, all kept": {"batches": [data(4), data(8)], "memory": "1GiB"},
}


@pytest.mark.parametrize("settings", CASES.values(), ids=CASES)
def test_replayed_products_are_the_called_ones(recorded, monkeypatch, settings):
    model = network()
    replayed = hessian(model, **settings)
    found = [replayed @ v for v in vectors(replayed)]
    assert len(recorded) == 1
    assert "replayed" in replayed.plan
    monkeypatch.undo()
    called = hessian(model, **settings)
    for mine, truth in zip(found, [called @ v for v in vectors(called)], strict=True):
        assert torch.equal(mine, truth)


def test_a_product_is_the_callers_own(recorded):
    operator = hessian(network())
    first, *others = vectors(operator)
    found = [operator @ first for _ in range(6)]
    kept = found[-1].clone()
    operator @ others[0]
    assert torch.equal(found[-1], kept)
    found[-1].zero_()
    assert torch.equal(operator @ first, kept)


def test_the_eigenpairs_are_the_same(recorded, monkeypatch):
    model = network()
    found = lanczos(hessian(model), 4, "LA", 1e-4, progress=False)
    assert recorded
    monkeypatch.undo()
    truth = lanczos(hessian(model), 4, "LA", 1e-4, progress=False)
    assert torch.equal(found.eigenvalues, truth.eigenvalues)
    assert torch.equal(found.eigenvectors, truth.eigenvectors)


def test_graphs_that_are_built_anew_are_not_replayed(recorded):
    batches = [data(4), data(8)]
    operator = hessian(network(), batches=batches)
    for v in vectors(operator):
        operator @ v
    assert not recorded


@pytest.mark.parametrize("unseen", [True, False])
def test_parameters_that_changed_are_refused(recorded, unseen):
    model = network()
    operator = hessian(model)
    for v in vectors(operator):
        operator @ v
    assert recorded
    with torch.no_grad():
        (model[0].weight.data if unseen else model[0].weight).add_(1.0)
    with pytest.raises(InputError, match="parameters changed"):
        operator @ v


def test_released_graphs_are_recorded_anew(recorded):
    operator = hessian(network())
    before = [operator @ v for v in vectors(operator)]
    operator.release()
    assert "replayed" not in operator.plan
    after = [operator @ v for v in vectors(operator)]
    assert len(recorded) == 2
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_what_cannot_be_recorded_is_called_and_said(monkeypatch, recorded):
    def refuse(self, function, inputs):
        raise NotCapturedError("it waits for the device")

    monkeypatch.setattr(Capture, "record", refuse)
    model = network()
    operator = hessian(model)
    found = [operator @ v for v in vectors(operator)]
    assert "not replayed as a CUDA graph: it waits for the device" in operator.plan
    monkeypatch.undo()
    truth = hessian(model)
    assert all(torch.equal(a, truth @ v) for a, v in zip(found, vectors(truth), strict=True))


def test_gauss_newton_products_are_replayed_too(recorded):
    model, x = network(), data()
    operator = GaussNewtonOperator(model, lambda z, x: z.square().mean(), model, batch=x)
    found = [operator @ v for v in vectors(operator)]
    assert recorded
    dense = operator.dense()
    for mine, v in zip(found, vectors(operator), strict=True):
        torch.testing.assert_close(mine, dense @ v, rtol=1e-4, atol=1e-5)


def test_an_operator_that_is_dropped_frees_its_graphs():
    """Without waiting for a collection of cycles: they can be most of a GPU's memory."""
    gc.disable()
    try:
        operator = hessian(network())
        operator @ vectors(operator)[0]
        dropped = weakref.ref(operator)
        del operator
        assert dropped() is None
    finally:
        gc.enable()


def test_a_recording_that_raises_leaves_nothing_behind():
    def waits(x):
        raise RuntimeError("called a synchronizing operation\nand more")

    capture = Capture(torch.device("cpu"))
    with pytest.raises(NotCapturedError, match=r"synchronizing operation$"):
        capture.record(waits, [torch.ones(2)])
    assert not capture.recorded
    capture.record(lambda x: (x + 1,), [torch.ones(2)])
    assert torch.equal(capture(torch.full((2,), 5.0))[0], torch.full((2,), 6.0))
