"""Lightning's private parts in use, seen alike in Lightning 2.6.4, 2.6.5 and 2.6.6.

A private part may change with any version: pyproject.toml admits those that the tests of this
module were run with, and no other module names an underscored part of a Lightning object.
"""

from collections.abc import Callable
from typing import Any, Protocol

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from lightning.pytorch.loops.fit_loop import _FitLoop
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.utilities import CombinedLoader


def validation_due(trainer: Trainer) -> bool:
    """Whether Lightning validates after the batch that has just been trained on.

    Reaches for the epoch loop's own test, as no hook says so before the validation begins.
    """
    loop = trainer.fit_loop
    assert loop._data_fetcher is not None
    return loop.epoch_loop._should_check_val_fx(loop._data_fetcher)


def never_skip_fit(trainer: Trainer) -> None:
    """Let `fit` begin and end, with its hooks, even when all steps are made already.

    Replaces the class of the fit loop, whose `skip` leaves out all hooks then.
    """
    trainer.fit_loop.__class__ = _FitLoopWithHooks


class _FitLoopWithHooks(_FitLoop):
    @property
    def skip(self) -> bool:
        return False


def validate_last_step(trainer: Trainer) -> None:
    """Let `fit` validate after its last step, too, where the interval does not end there.

    Replaces the class of the epoch loop, whose own test knows the interval alone, by one that
    `replay_between` can use, too, and in which ranks do not wait for each other's signals.
    """
    trainer.fit_loop.epoch_loop.__class__ = _EpochLoop


class Replay(Protocol):
    """Makes updates between those of the loop."""

    def covers(self, step: int) -> bool:
        """Whether it makes the update of this number, counted from 1."""

    def step(self, fetch: Callable[[], Any]) -> None:
        """Make an update with the batch that is fetched once, which is not moved."""

    def stepped(self) -> None:
        """Do what follows an update that has been counted."""


def replay_between(trainer: Trainer, replay: Replay | None) -> None:
    """Let updates be made between those of the training loop, which counts them as its own.

    Parameters
    ----------
    trainer : Trainer
        Whose epoch loop is that of `validate_last_step`.
    replay : Replay, optional
        What makes them; none where not given.
    """
    loop = trainer.fit_loop.epoch_loop
    if isinstance(loop, _EpochLoop):
        loop.replay = replay


class _EpochLoop(_TrainingEpochLoop):
    replay: Replay | None = None

    def advance(self, data_fetcher: Any) -> None:
        # A run that goes on from a step with a validation first sees to that.
        if self.replay and not (self.restarting and self._should_check_val_fx(data_fetcher)):
            while self.replay.covers(self.global_step + 1):
                self._replay(self.replay, data_fetcher)
        super().advance(data_fetcher)

    def _broadcast_sigterm_tensor(self) -> None:
        """Nothing: signals are `ired_interp.stopping`'s, and this would wait at every step."""

    def _replay(self, replay: Replay, data_fetcher: Any) -> None:
        replay.step(lambda: next(data_fetcher)[0])
        self.batch_progress.increment_by(1, is_last_batch=data_fetcher.done)
        optimizer = self.automatic_optimization.optim_progress.optimizer
        optimizer.step.increment_by(1)
        optimizer.zero_grad.increment_by(1)
        self.update_lr_schedulers("step", update_plateau_schedulers=False)
        self._batches_that_stepped += 1
        replay.stepped()

    def _should_check_val_fx(self, data_fetcher: Any) -> bool:
        ends = self.global_step == self.max_steps and self._should_check_val_epoch()
        return ends or super()._should_check_val_fx(data_fetcher)


def leave_signals_alone(trainer: Trainer) -> None:
    """Keep the Trainer from setting handlers of SIGTERM and SIGUSR1 while it works.

    Replaces the method of its signal connector: those handlers save and communicate from wherever
    a signal finds a rank.
    """
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]


def training_loaders(trainer: Trainer) -> CombinedLoader:
    """Combine the training loaders as the fit loop does, whose mode is not handed out."""
    loaders = trainer.fit_loop._combined_loader
    assert loaders is not None
    return CombinedLoader(loaders.iterables, loaders._mode)


def move_batch(trainer: Trainer, batch: Any) -> Any:
    """Move a batch as training does: through the hooks of module or data module that transfer it.

    The hook before the transfer is called by a private method alone.
    """
    batch = trainer.precision_plugin.convert_input(batch)
    batch = trainer.lightning_module._on_before_batch_transfer(batch, dataloader_idx=0)
    return trainer.strategy.batch_to_device(batch, dataloader_idx=0)


def forget_compiled(module: LightningModule) -> None:
    """Let a copy of a module that was compiled use its own methods.

    `torch.compile` puts compiled methods of the original into the instance, which a copy has, too.
    """
    if getattr(module, "_compiler_ctx", None) is not None:
        for method in ("forward", "training_step", "validation_step", "test_step", "predict_step"):
            vars(module).pop(method, None)


def averaged_module(averaging: WeightAveraging) -> LightningModule | None:
    """Return the copy of the module that holds the averaged weights; None before training.

    Reaches for the AveragedModel, which the callback hands out nowhere.
    """
    if averaging._average_model is None:
        return None
    module = averaging._average_model.module
    assert isinstance(module, LightningModule)
    return module


def count_average(averaging: WeightAveraging, step: int) -> None:
    """Note that the average was updated after a step; reaches for what the callback saves."""
    assert averaging._average_model is not None
    averaging._average_model.n_averaged += 1
    averaging._latest_update_step = step


def averaged_until(averaging: WeightAveraging) -> int:
    """Return the step after which the average was updated last."""
    return averaging._latest_update_step


def averages_taken(averaging: WeightAveraging) -> int:
    """How often the average was updated; reaches for the AveragedModel's count."""
    return 0 if averaging._average_model is None else int(averaging._average_model.n_averaged)


def set_tensorboard_folder(logger: TensorBoardLogger, folder: str) -> None:
    """Let a logger that has written nothing yet write below `folder`.

    Sets what the constructor sets, which comes before the run's folder is known.
    """
    logger._root_dir = folder


def wandb_arguments(logger: WandbLogger) -> dict[str, Any]:
    """Return the keywords of the logger's call of `wandb.init`, to be changed before it.

    Reaches for the mapping that the constructor makes, which comes before the run's folder and
    W&B's mode are known.
    """
    return logger._wandb_init


def name_wandb_run(logger: WandbLogger, name: str, folder: str, identity: str) -> None:
    """Give the logger its run's name, folder and id, where the constructor keeps them, too."""
    logger._name, logger._save_dir, logger._id = name, folder, identity
    wandb_arguments(logger).update(name=name, dir=folder, id=identity)


def open_wandb_run(logger: WandbLogger) -> Any:
    """Return the W&B run that the logger has begun; None if it has begun none.

    Reaches for the attribute behind `experiment`, which begins a run where there is none.
    """
    return logger._experiment


def release_wandb_run(logger: WandbLogger) -> Any:
    """Hand over the begun run to be finished, if there is one; the logger keeps its id alone.

    A later use of the logger then goes on with that run instead of writing to a finished one.
    """
    run = open_wandb_run(logger)
    if run is not None:
        logger._id = run.id or logger._id
        logger._experiment = None
    return run


class HookedCLI(LightningCLI):
    """LightningCLI, of which two private steps and a parser have public names.

    `make_trainer` takes the place of `_instantiate_trainer`, `run_command` of `_run_subcommand`.
    """

    def make_trainer(self, config: dict[str, Any], callbacks: list[Any]) -> Trainer:
        """Return the Trainer of a configuration, with callbacks besides those configured."""
        return super()._instantiate_trainer(config, callbacks)

    def run_command(self, name: str) -> None:
        """Call the method of a command's name, once everything is built."""
        super()._run_subcommand(name)

    def dump_command(self, name: str, settings: Any) -> str:
        """Write settings of a command as YAML; reaches for the command's own parser."""
        text: str = self._parser(name).dump(settings, skip_unset=False)
        return text

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Any]) -> Trainer:
        return self.make_trainer(config, callbacks)

    def _run_subcommand(self, subcommand: str) -> None:
        self.run_command(subcommand)
