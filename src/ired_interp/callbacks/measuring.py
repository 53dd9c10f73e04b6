"""When something is measured in a training, whatever it is and whatever is trained."""

from abc import abstractmethod
from pathlib import Path

import xarray as xr
from lightning.pytorch import LightningModule, Trainer

from ired_interp.callbacks.first_rank import on_first_rank
from ired_interp.callbacks.step_end import StepEnd
from ired_interp.errors import InputError, RunError
from ired_interp.loggers import publish
from ired_interp.spectra.fingerprint import Fingerprint


class MeasuringCallback(StepEnd):
    """Measure every n steps or epochs, and at the end of training.

    Of several ranks the first measures while the others wait. Results go to all loggers, too. A
    measurement that changes a weight of the model ends the training.

    Parameters
    ----------
    label : str
        What is measured, and the name of its results' folder.
    every_n_steps : int, optional
        Training steps (updates done) between measurements.
    every_n_epochs : int, optional
        Epochs between them, in place of steps.

    Attributes
    ----------
    failures : int
        Measurements that failed in this process.

    Raises
    ------
    InputError
        If not exactly one of the two is given, or it is too small.
    """

    def __init__(
        self, label: str, every_n_steps: int | None = None, every_n_epochs: int | None = None
    ) -> None:
        self._measured = self.started_at = self._last = -1  # steps
        self._label, self.failures = label, 0
        self.schedule(every_n_steps, every_n_epochs)

    def schedule(self, every_n_steps: int | None, every_n_epochs: int | None) -> None:
        """Set when to measure.

        Parameters
        ----------
        every_n_steps, every_n_epochs : int, optional
            As in the constructor.

        Raises
        ------
        InputError
            If not exactly one of the two is given, or it is too small.
        """
        given = {"every_n_steps": every_n_steps, "every_n_epochs": every_n_epochs}
        chosen = {name: value for name, value in given.items() if value is not None}
        if len(chosen) != 1:
            found = " and ".join(f"{name}={value}" for name, value in chosen.items())
            raise InputError(
                f"callback {self._label} has {found or 'no schedule'}; expected exactly one of "
                "every_n_steps and every_n_epochs."
            )
        for name, value in chosen.items():
            if value < 1:
                raise InputError(f"callback {self._label} has {name}={value}; expected at least 1.")
        self.every_n_steps, self.every_n_epochs = every_n_steps, every_n_epochs

    @abstractmethod
    def measure(self, trainer: Trainer, pl_module: LightningModule) -> tuple[str, Path, xr.Dataset]:
        """Measure what is there now, and write it.

        Parameters
        ----------
        trainer : Trainer
            Of the training.
        pl_module : LightningModule
            What is trained.

        Returns
        -------
        str, Path and xarray.Dataset
            Label, file and what is in it.
        """

    def due(self, step: int) -> bool:
        """Whether to measure after this step (at the end of training in any case).

        Where one batch makes several updates, steps are passed over: what counts is whether a
        multiple of `every_n_steps` lies between the step before and this one.
        """
        every, before = self.every_n_steps, step - 1 if self._last < 0 else self._last
        return every is not None and step > 0 and step // every > before // every

    def needs(self, step: int) -> bool:
        """Whether it reads or measures something at this step."""
        every = self.every_n_steps
        return every is not None and step % every == 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure at the step gone on from: its checkpoint was written before that."""
        super().on_train_start(trainer, pl_module)
        self.started_at, self._last = trainer.global_step, -1
        if self._measured != self.started_at:
            self._measured = -1  # of another training
        if self.due(trainer.global_step):
            self._measure(trainer, pl_module)
        self._last = trainer.global_step

    def on_step_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure where that is due."""
        if self.due(trainer.global_step):
            self._measure(trainer, pl_module)
        self._last = trainer.global_step

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure where that is due."""
        every = self.every_n_epochs
        if every is not None and (trainer.current_epoch + 1) % every == 0:
            self._measure(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure what training ended with."""
        self._measure(trainer, pl_module)

    def _measure(self, trainer: Trainer, pl_module: LightningModule) -> None:
        step = trainer.global_step
        if step == self._measured:
            return

        def work() -> None:
            weights = Fingerprint(dict(pl_module.named_parameters()))
            label, path, result = self.measure(trainer, pl_module)
            if changed := weights.changed():
                raise RunError(
                    f"measuring {self._label} at step {step} changed {changed[0]} of the model "
                    f"({len(changed)} of its tensors); training cannot go on from that: resume "
                    "without this callback, and report it."
                )
            self.failures += "failed" in result.attrs
            publish(trainer.loggers, label, result, step, path)

        on_first_rank(work)
        self._measured = step
