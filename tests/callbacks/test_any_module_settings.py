"""What the callbacks refuse of plain LightningModules, what they bear, and what they leave alone."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from ired_interp.callbacks import GradientStatistics, Spectrum, SubspaceDrift
from ired_interp.callbacks.fixed_batches import fixed_batches
from ired_interp.errors import InputError
from ired_interp.results import read_result
from lit_modules import Plain, cross_entropy, data, last, same, train

pytestmark = pytest.mark.process  # trainings of many seconds in all


class Manual(Plain):
    """Two optimizers, used by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any) -> None:
        for optimizer in self.optimizers():  # type: ignore[union-attr]
            optimizer.zero_grad()
            self.manual_backward(own_loss(self, batch))
            optimizer.step()

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(part.parameters(), 0.1) for part in (self.net[0], self.net[2])]


def own_loss(module: Any, batch: Any) -> Tensor:
    return cross_entropy(module.net(batch[0]), batch[1])


class Silent(Plain):
    def training_step(self, batch: Any) -> Any:
        return None


class Nameless(Plain):
    def training_step(self, batch: Any) -> Any:
        return {"total": super().training_step(batch)}


class Rows(Plain):
    def training_step(self, batch: Any) -> Any:
        return cross_entropy(self.net(batch[0]), batch[1], reduction="none")


class Teacher(Plain):
    def training_step(self, batch: Any) -> Any:
        with torch.no_grad():
            self.net[0].weight.mul_(0.9)
        return super().training_step(batch)


class Frozen(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.requires_grad_(False)


class Once(IterableDataset[Any]):
    """A stream that is used up by going through it."""

    def __init__(self) -> None:
        self.rows = iter(list(data(64, 1).dataset))

    def __iter__(self) -> Any:
        return self.rows


@pytest.mark.parametrize(
    ("module", "settings", "words"),
    [
        (Manual, {}, "Manual.training_step makes the updates itself"),
        (Silent, {}, "Silent.training_step returned None; expected the loss"),
        (Nameless, {}, "Nameless.training_step returned a dict without 'loss'"),
        (Rows, {}, "a loss of shape (8,); expected a scalar"),
        (
            Plain,
            {"loss": lambda module, batch: torch.tensor(1.0)},
            "does not depend on its weights",
        ),
        (Plain, {"loss": lambda module, batch: 1.0}, "loss= returned 1.0"),
        (Teacher, {}, "Teacher.training_step changes weights itself"),
        (Frozen, {}, "Frozen has no weights to train"),
        (Plain, {"loader": "val"}, "the Trainer has no validation loader"),
        (Plain, {"eigenpairs": 1000}, "eigenpairs=1000, but the model has 39 weights"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_the_first_step(
    module: type[Plain], settings: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as refused:
        train(tmp_path, Spectrum(every_n_steps=1, **settings), module=module, loader=data())
    assert words in str(refused.value)
    assert not list(tmp_path.glob("**/*.nc"))


def test_a_stream_that_ends_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    loader = DataLoader(Once(), 8)
    with pytest.raises(InputError, match="gone through only once"):
        train(tmp_path, Spectrum(every_n_steps=1), module=Plain, loader=loader)
    assert len(list(loader)) == 7  # the Trainer itself had fetched one


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Spectrum(), "no schedule; expected exactly one"),
        (
            lambda: Spectrum(every_n_steps=1, every_n_epochs=1),
            "every_n_steps=1 and every_n_epochs=1",
        ),
        (lambda: Spectrum(every_n_epochs=0), "every_n_epochs=0; expected at least 1"),
        (lambda: Spectrum(every_n_steps=1, eigenvalues=3), "no setting 'eigenvalues'; choose from"),
        (lambda: Spectrum(every_n_steps=1, batches=0), "batches=0"),
        (lambda: Spectrum(every_n_steps=1, loader="test"), "no loader 'test'"),
        (lambda: Spectrum(every_n_steps=1, tol=2.0), "tol=2.0"),
    ],
)
def test_settings_that_cannot_be_are_refused(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(InputError) as refused:
        make()
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("callback", "words"),
    [
        (lambda: GradientStatistics(), "no schedule"),
        (lambda: GradientStatistics(every_n_steps=9, window=5), "no use for window=5"),
        (lambda: GradientStatistics(every_n_steps=9, landscapes=[0]), "no use for landscapes=[0]"),
        (lambda: SubspaceDrift(every_n_steps=9, problems=4), "no use for problems=4"),
        (lambda: SubspaceDrift(every_n_steps=9, source="solution"), "no source 'solution'"),
        (lambda: SubspaceDrift(every_n_steps=9, layer="net.9"), "choose one of net.0, net.2"),
        (lambda: SubspaceDrift(every_n_steps=9, batches=1), "batches=1; expected at least 2"),
    ],
)
def test_settings_of_energies_are_refused_for_other_modules(
    callback: Callable[[], Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as refused:
        train(tmp_path, callback(), module=Plain, loader=data())
    assert words in str(refused.value)


def test_manual_optimization_is_measured_by_a_loss_of_its_own(tmp_path: Path) -> None:
    """Two updates a batch: no multiple of three is passed over, and the end is measured."""
    measure = GradientStatistics(every_n_steps=3, loss=own_loss)
    train(tmp_path, measure, module=Manual, loader=data(), max_steps=10)
    files = sorted((tmp_path / "results" / "gradient_statistics_loss").glob("*.nc"))
    assert [read_result(file).attrs["step"] for file in files] == [4, 6, 10]


class Failing(Plain):
    """Breaks in evaluation mode once its weights have moved."""

    def training_step(self, batch: Any) -> Any:
        if not self.training and float(self.net[0].bias.detach().abs().sum()) != self.first:
            raise KeyError("scale")
        return super().training_step(batch)

    def on_fit_start(self) -> None:
        self.first = float(self.net[0].bias.detach().abs().sum())
        self.lock = threading.Lock()  # cannot be copied


def test_a_failure_is_recorded_and_training_goes_on(tmp_path: Path) -> None:
    module = train(tmp_path, GradientStatistics(every_n_steps=2), module=Failing, loader=data())
    assert module.trainer.global_step == 4
    found = last(tmp_path, "gradient_statistics_loss")
    assert found.attrs["failed"] == "KeyError: 'scale'"


def test_the_history_of_frames_goes_on_after_a_resume(tmp_path: Path) -> None:
    """In another version folder, as Lightning's loggers make one for every start."""
    whole, first = tmp_path / "whole", tmp_path / "first"
    kept = tmp_path / "kept.ckpt"

    def drift() -> SubspaceDrift:
        return SubspaceDrift(every_n_steps=2, source="gradients", p=1)

    train(whole, drift(), module=Plain, loader=data())
    module = train(
        first, drift(), module=Plain, loader=data(), max_steps=2, logger=CSVLogger(first)
    )
    module.trainer.save_checkpoint(kept)
    trainer = L.Trainer(
        max_steps=4,
        accelerator="cpu",
        logger=CSVLogger(first),
        callbacks=[drift()],
        default_root_dir=first,
        enable_progress_bar=False,
        enable_checkpointing=False,
    )
    trainer.fit(Plain(), data(), ckpt_path=kept)
    probe = "subspace_drift_gradients_theta_training"
    expected, found = last(whole, probe), last(first / "lightning_logs" / "version_1", probe)
    assert list(found["label"].values) == [0, 2, 4]
    np.testing.assert_allclose(found["overlap"], expected["overlap"], atol=1e-6)


def test_fixed_batches_leave_the_loader_alone() -> None:
    """The same batches whatever was drawn before; sampler, generators, dataset and workers keep their state."""

    class Counted(TensorDataset):
        reads = 0

        def __getitem__(self, index: Any) -> Any:
            self.reads += 1
            return super().__getitem__(index)

    dataset = Counted(torch.arange(40.0)[:, None])
    loader = DataLoader(dataset, 4, shuffle=True, generator=torch.Generator().manual_seed(3))
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    with pytest.raises(InputError, match="no validation loader"):
        fixed_batches(trainer, "val", 2)
    trainer.fit_loop.epoch_loop.val_loop._combined_loader = L.pytorch.utilities.CombinedLoader(
        loader
    )
    state, before = loader.generator.get_state(), torch.get_rng_state()
    first = fixed_batches(trainer, "val", 3)
    assert torch.equal(state, loader.generator.get_state())
    assert torch.equal(before, torch.get_rng_state())
    assert dataset.reads == 0
    torch.rand(7, generator=loader.generator)
    torch.rand(5)
    assert same(first, fixed_batches(trainer, "val", 3))
    assert len(torch.cat([x for (x,) in first]).unique()) == 12
