"""Spectrum, GradientStatistics and SubspaceDrift on plain LightningModules: right, and without a trace."""

import copy
import random
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor

import ired_interp as ii
from ired_interp.callbacks import GradientStatistics, Spectrum, SubspaceDrift
from ired_interp.commands import report
from ired_interp.errors import InputError, RunError
from ired_interp.probes.gram_statistics import gram_statistics
from ired_interp.results import read_result
from lit_modules import Lit, Plain, cross_entropy, data, last, same, train

pytestmark = pytest.mark.process  # trainings of many seconds in all


class Spy(L.Callback):
    """Keeps all that a measurement might have touched, after every batch."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_train_batch_end(self, trainer: Any, module: Any, *rest: Any) -> None:
        state = {
            "weights": module.state_dict(),
            "gradients": [p.grad for p in module.parameters()],
            "metric": module.accuracy.metric_state,
            "own": module.generator.get_state(),
            "torch": torch.get_rng_state(),
        }
        numbers = [random.getstate(), np.random.get_state()[1].tolist(), module.calls]  # noqa: NPY002
        modes = [part.training for part in module.modules()]
        losses = [loss.item() for loss in module.losses]
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.seen.append(copy.deepcopy((state, [numbers, modes, losses, logged, rest[1]])))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Lit, Spy, Spy, Lit]:
    """The same training without and with all three, on validation batches that need no shuffling."""
    folder = tmp_path_factory.mktemp("any")
    spies = [Spy(), Spy()]
    settings: dict[str, Any] = {"max_steps": -1, "max_epochs": 2, "accumulate_grad_batches": 2}
    train(folder / "plain", spies[0], logger=CSVLogger(folder / "plain"), **settings)
    few = {"loader": "val", "batches": 3}
    measures = [
        Spectrum(
            every_n_steps=4,
            eigenpairs=4,
            which="BE",
            density_probes=2,
            density_steps=20,
            layers="each",
            **few,
        ),
        GradientStatistics(every_n_epochs=2, **few),
        SubspaceDrift(every_n_steps=8, p=1, **few),
        SubspaceDrift(every_n_steps=8, p=1, source="gradients", layer="net.4"),
        GradientStatistics(every_n_steps=3, gradients=16),
    ]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        start = Lit()
    module = train(
        folder / "seen", spies[1], *measures, logger=CSVLogger(folder / "seen"), **settings
    )
    assert isinstance(module, Lit)
    return folder / "seen" / "lightning_logs" / "version_0", module, *spies, start


def test_training_is_bit_identical(trained: Any) -> None:
    """Weights, buffers, gradients under accumulation, metrics, modes, lists, logged values, all random states."""
    folder, _, plain, seen, _ = trained
    assert len(plain.seen) == 16
    logs = [
        folder.parents[2] / name / "lightning_logs/version_0/metrics.csv"
        for name in ("plain", "seen")
    ]
    seen_by_logger = [pd.read_csv(log)["seen"].dropna().tolist() for log in logs]
    assert seen_by_logger[0] == seen_by_logger[1] != []
    for step, (one, other) in enumerate(zip(plain.seen, seen.seen, strict=True)):
        for name, value in one[0].items():
            assert same(value, other[0][name]), (step, name)
        assert same(one[1], other[1]), step


def dense(module: Lit, batches: list[Any]) -> tuple[Tensor, Tensor]:
    """Gradient and Hessian, in float64, of the mean loss that `training_step` has in evaluation mode."""
    net = copy.deepcopy(module.net).double().eval()
    names, shapes = zip(*[(n, p.shape) for n, p in net.named_parameters()], strict=True)
    noise = 0.01 * torch.randn(8, 5, generator=torch.Generator().manual_seed(0)).double()

    def loss(flat: Tensor) -> Tensor:
        parts = flat.split([s.numel() for s in shapes])
        weights = {n: part.view(s) for n, part, s in zip(names, parts, shapes, strict=True)}
        values = [
            cross_entropy(torch.func.functional_call(net, weights, (x.double() + noise,)), y)
            for x, y in batches
        ]
        return torch.stack(values).mean()

    flat = torch.cat([p.detach().flatten() for p in net.parameters()])
    return torch.func.grad(loss)(flat), torch.func.hessian(loss)(flat)


def test_spectrum_is_that_of_the_dense_hessian(trained: Any) -> None:
    folder, module, *_ = trained
    found = last(folder, "hessian_spectrum_loss")
    gradient, matrix = dense(module, list(data(24, 8)))
    values, vectors = torch.linalg.eigh(matrix)
    truth = values[[-1, -2, 1, 0]]
    np.testing.assert_allclose(found["eigenvalues"], truth, atol=1e-4 * float(truth.max()))
    share = (vectors[:, [-1, -2, 1, 0]].T @ gradient).square() / gradient.square().sum()
    np.testing.assert_allclose(found["gradient_share"], share, atol=2e-3)
    assert found.attrs["update"].startswith("last step of ")
    assert 0 < float(found["update_share"].sum()) <= 1
    assert float(found["trace_low"]) <= float(matrix.trace()) <= float(found["trace_high"])


def test_spectra_of_layers_are_those_of_dense_blocks(trained: Any) -> None:
    folder, module, *_ = trained
    found = last(folder, "hessian_spectrum_loss")
    hessian, start = dense(module, list(data(24, 8)))[1], 0
    for layer, size in zip(found["layer"].values, found["layer_parameters"].values, strict=True):
        block = hessian[start : start + size, start : start + size]
        truth = torch.linalg.eigvalsh(block)[[-1, -2, 1, 0]]
        here = found.sel(layer=layer)
        np.testing.assert_allclose(here["layer_eigenvalues"], truth, rtol=2e-3, atol=1e-5)
        square = float(block.square().sum())
        off = float(here["block_squares"].sel(other_layer=layer)) - square
        assert abs(off) < 5 * float(here["block_squares_error"].sel(other_layer=layer))
        start += size
    assert start == len(hessian)


def test_statistics_of_a_loss_that_draws_are_those_of_whole_batches(trained: Any) -> None:
    folder, module, *_ = trained
    files = (folder / "results" / "gradient_statistics_loss").glob("step-00000008*.nc")
    found = next(r for r in map(read_result, files) if '"val"' in r.attrs["settings"])
    assert found.attrs["gradients"].startswith("one gradient a batch, as its loss is not the mean")
    g = torch.stack([dense(module, [batch])[0] for batch in data(24, 8)]).numpy()
    check_statistics(found, g, 1)
    cosines = g @ g.T / np.outer(np.linalg.norm(g, axis=1), np.linalg.norm(g, axis=1))
    np.testing.assert_allclose(found["batch_cosine"].sel(layer="all"), cosines, atol=1e-5)
    layers = found.drop_sel(layer="all")
    np.testing.assert_allclose((layers["norm"] ** 2).sum("layer"), (g * g).sum(1), rtol=1e-5)
    assert list(layers["layer"].values) == ["net.0", "net.1", "net.4"]


def check_statistics(found: Any, g: np.ndarray, samples: int) -> None:
    truth, mine = gram_statistics(g @ g.T, samples), found.sel(layer="all")
    scale = 1e-5 * float((g * g).sum())
    for name, tolerance in (("signal", scale), ("noise", samples * scale), ("mean_cosine", 1e-5)):
        np.testing.assert_allclose(mine[name], truth[name], atol=tolerance)
    assert (mine["noise_scale_low"] <= mine["noise_scale"]).all()


def test_drift_is_that_of_dense_eigenvectors(trained: Any) -> None:
    """Overlap of the first frame with the last, from every other batch, by dense eigenvectors at both ends."""
    folder, module, _, _, start = trained
    found = last(folder, "subspace_drift_hessian_theta_training")
    assert list(found["label"].values) == [0, 8]
    ends = [
        torch.linalg.eigh(dense(one, list(data(24, 8))[::2])[1]).eigenvectors[:, -1:]
        for one in (start, module)
    ]
    truth = float((ends[0].T @ ends[1]).square().sum())
    assert float(found["overlap"][0, 1]) == pytest.approx(truth, abs=2e-3)
    assert 0 < float(found["reliability"][1]) <= 1


class Tokens(Plain):
    """A mean over more than samples."""

    def training_step(self, batch: Any) -> Any:
        chosen = batch[0][:, 0] > 0
        return cross_entropy(self.net(batch[0][chosen]), batch[1][chosen])


@pytest.mark.parametrize(
    ("module", "loader", "most"),
    [(Tokens, (32, 8), 64), (Plain, (30, 8), 4)],  # the last batch is smaller than a microbatch
)
def test_gradients_are_of_whole_batches_where_they_must_be(
    module: type[Plain], loader: tuple[int, int], most: int, tmp_path: Path
) -> None:
    measure = GradientStatistics(every_n_steps=9, gradients=most)
    end = train(tmp_path, measure, module=module, loader=data(*loader))
    found = last(tmp_path, "gradient_statistics_loss")
    assert found.attrs["gradients"].startswith("one gradient a batch")
    norms = []
    for batch in data(*loader):
        parts = torch.autograd.grad(end.training_step(batch), list(end.parameters()))
        norms.append(float(torch.cat([part.flatten() for part in parts]).norm()))
    np.testing.assert_allclose(found["norm"].sel(layer="all"), norms, rtol=1e-5)


class Stubborn(Plain):
    """vmap cannot go through a number on the host."""

    def training_step(self, batch: Any) -> Any:
        loss = super().training_step(batch)
        return loss if loss.item() > -1 else None


@pytest.mark.parametrize("module", [Plain, Stubborn])
@pytest.mark.parametrize(("most", "samples"), [(32, 1), (10, 4)])
def test_gradients_are_of_samples_or_microbatches(
    module: type[Plain], most: int, samples: int, tmp_path: Path
) -> None:
    end = train(
        tmp_path,
        GradientStatistics(every_n_steps=9, gradients=most),
        module=module,
        loader=data(32, 8),
    )
    found = last(tmp_path, "gradient_statistics_loss")
    how = "a loop" if module is Stubborn else "vmap"
    rows = "a sample" if samples == 1 else f"a microbatch of {samples} samples"
    assert found.attrs["gradients"] == f"one gradient {rows}, by {how}"
    gradients = []
    for x, y in data(32, samples):
        loss = cross_entropy(end.net(x), y)  # type: ignore[operator]
        parts = torch.autograd.grad(loss, list(end.parameters()))
        gradients.append(torch.cat([part.flatten() for part in parts]).double())
    check_statistics(found, torch.stack(gradients).numpy(), samples)


def test_results_are_drawn_and_reach_the_logger(trained: Any, capsys: Any) -> None:
    folder, *_ = trained
    assert "hessian_spectrum_loss/eigenvalues/0" in (folder / "metrics.csv").read_text()
    assert report.main("report", [str(folder)]) == 0
    page = (folder / "report.html").read_text()
    for words in (
        "Hessian of the loss in the weights",
        "Hessian of the loss by layer",
        "Share in the top eigenvectors",
        "cosine between batches",
        "val_loss",
    ):
        assert words in page
    assert "perfectly trained energy" not in page  # which nobody's module is
    assert ii.open(folder).skipped == []
    with pytest.raises(InputError, match=r"name one of .*version_0"):
        report.main("report", [str(folder.parents[1])])


@pytest.mark.process  # workers of a loader
def test_workers_that_stay_go_on_as_they_were(tmp_path: Path) -> None:
    ends = []
    for name, callbacks in (("plain", []), ("seen", [GradientStatistics(every_n_steps=2)])):
        loader = data(shuffle=True, num_workers=1, persistent_workers=True)
        module = train(tmp_path / name, *callbacks, module=Plain, loader=loader, max_steps=10)
        ends.append(module.state_dict())
    assert same(*ends)
    assert "failed" not in last(tmp_path / "seen", "gradient_statistics_loss").attrs


def test_a_measurement_that_writes_to_a_weight_ends_the_training(tmp_path: Path) -> None:
    class Damaging(Spectrum):
        def measure(self, trainer: Any, pl_module: Any) -> Any:
            found = super().measure(trainer, pl_module)
            next(pl_module.parameters()).data.view(-1)[0] += 1  # unseen by autograd
            return found

    damaging = Damaging(every_n_steps=2, eigenpairs=1, batches=1)
    with pytest.raises(RunError, match=r"at step 2 changed .*weight of the model \(1 of"):
        train(tmp_path, damaging, max_steps=3)
