"""`ired fit`: train, into a run folder of its own."""

import os
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only

from ired_interp.callbacks import (
    CollapseGuard,
    FiniteLoss,
    KeepBest,
    MeasuringCallback,
    ProbeCallback,
    ReplayedSteps,
    SaveLast,
)
from ired_interp.checkpoint import read_checkpoint
from ired_interp.checkpoint_file import CONFIG_KEY
from ired_interp.checkpoint_io import AtomicCheckpointIO
from ired_interp.class_paths import check_resumed, modules_named
from ired_interp.cluster.claims import check_no_job_trains
from ired_interp.commands.options import take_option, take_options
from ired_interp.errors import InputError, Interrupted, RunError
from ired_interp.files import remove_leftovers
from ired_interp.lightning_cli import IREDCLI, configuration_names, with_files
from ired_interp.lightning_private import never_skip_fit, validate_last_step
from ired_interp.loggers import RunFolderLogger, RunMetrics, WandB
from ired_interp.loggers.wandb import RUN_ID_KEY, keep_run_id
from ired_interp.results import Run, open_run
from ired_interp.results.run import default_name
from ired_interp.results.state import record_state
from ired_interp.results.writer import only_writer
from ired_interp.stopping import defer_signals
from ired_interp.tasks import TaskData
from ired_interp.terminal import is_rank_zero, log
from ired_interp.trainer_settings import sharing_advice
from ired_interp.user_modules import imported_from, look_beside, look_in

_PATIENCE = 300.0  # seconds
_NAME_VARIABLE = "IRED_RUN_NAME"  # tells further processes of the same run its name


def main(command: str, arguments: list[str]) -> int:
    """Run the command."""
    resumed, arguments = take_option(arguments, "--resume")
    if "--help" in arguments or "-h" in arguments:
        print(
            "ired fit --resume RUN [--trainer.KEY VALUE …] [--modules NAME …] goes on with a run "
            "that was stopped (--modules names modules of your own whose classes a run from "
            "elsewhere may name); otherwise:\n"
        )
    if resumed is None:
        FitCLI(arguments).check_measurements()
        return 0
    run = open_run(resumed)
    arguments = resuming(run, arguments)
    if is_rank_zero():
        check_no_job_trains(run.path)
    # Of a job whose node failed, or was cut off, SLURM may still be ending the former processes.
    patience = _PATIENCE if "SLURM_JOB_ID" in os.environ else 0.0
    with only_writer(run, patience) if is_rank_zero() else nullcontext():
        remove_leftovers(run.path)
        if run.begun:
            checkpoint = read_checkpoint(run.path, "last")
            if RUN_ID_KEY in checkpoint.content:
                keep_run_id(run, checkpoint.content[RUN_ID_KEY])
        FitCLI(arguments, run).check_measurements()
    return 0


def resuming(run: Run, arguments: list[str]) -> list[str]:
    """Return the arguments that go on with a run: its configuration, and what may change of it.

    Raises
    ------
    InputError
        If an argument would change more than the trainer, or the run is not the user's own and
        names classes of modules nobody vouches for.
    """
    named, arguments = take_options(arguments, "--modules")
    wrong = [a for a in arguments if a.startswith("--") and not a.startswith("--trainer.")]
    if wrong:
        raise InputError(
            f"--resume goes on with the run as it was configured, but {wrong[0]} was given too; "
            "only --trainer.* may change "
            "(start a new run for anything else)."
        )
    look_in([Path.cwd()])
    check_resumed(run, modules_named(named, []), {"data": TaskData})
    return ["--config", str(run.config), *arguments]


class FitCLI(IREDCLI):
    """Train in a new run folder, or go on in that of `resumed`."""

    def __init__(self, arguments: list[str], resumed: Run | None = None) -> None:
        self.resumed = resumed
        arguments = with_files(arguments)
        self._folders = look_beside(configuration_names(arguments))
        super().__init__("fit", arguments)

    @property
    def run(self) -> Run:
        """The run that is trained."""
        if self.resumed:
            return self.resumed
        name = self.settings.name or os.environ.setdefault(_NAME_VARIABLE, default_name())
        return Run(Path(self.settings.runs).absolute() / self.settings.experiment / name)

    def own_callbacks(self) -> list[Any]:
        """Guard, save and keep the best; the configuration goes into every checkpoint."""
        run, settings = self.run, self.settings
        best = KeepBest(run, self.datamodule.variants[0], settings.keep_best)
        self.guard = CollapseGuard(run, best, settings.stop_on_collapse)
        last = SaveLast(run, settings.save_every)
        own = [FiniteLoss(), _Config(self.dump()), best, self.guard, last]
        return [*own, ReplayedSteps()]

    def trainer_paths(self, logger: Any) -> dict[str, Any]:
        """Place checkpoints, metrics and loggers in the run's folder."""
        more = (
            []
            if logger in (None, True, False)
            else logger
            if isinstance(logger, list)
            else [logger]
        )
        for one in more:
            if isinstance(one, RunFolderLogger):
                one.set_run(self.run, self.dump())
        return {
            "default_root_dir": self.run.path,
            "logger": [RunMetrics(self.run), *more],
            "plugins": [AtomicCheckpointIO()],
        }

    def make_trainer(self, config: dict[str, Any], callbacks: list[Any]) -> Trainer:
        """Build the Trainer, whose loops see to the first step and the last, too."""
        trainer = super().make_trainer(config, callbacks)
        trainer.callbacks.sort(key=_place)  # type: ignore[attr-defined]
        never_skip_fit(trainer)  # a run that was stopped in its last measurements makes them
        validate_last_step(trainer)  # what the run ends with is judged, too
        return trainer

    def fit(self, **kwargs: Any) -> None:
        """Check everything that can be checked, then make the folder and train.

        Raises
        ------
        Interrupted
            If a signal asked the run to stop, after it saved its state.
        RunError
            If the run was stopped because it collapsed, after it saved its state.
        """
        self.model.weights()
        for callback in _measuring(self.trainer):
            callback.check(self.model)
            measurement, task = callback.measurement, self.datamodule.task
            task.check_variant(measurement.variant)
            task.check_count(measurement.problems, f"callback {measurement.probe.label}")
        data = self.datamodule
        data.draw(2, "cpu", data.seed, data.train_variant, "check", training=True)
        measured = (callback.measurement.variant for callback in _measuring(self.trainer))
        for variant in dict.fromkeys((*data.variants, *measured)):  # a file may be another's
            data.draw(2, "cpu", data.seed, variant, "check")
        run, trainer = self.run, self.trainer
        _check_space(run, sum(c.disk_bytes(self.model) for c in _measuring(trainer)))
        if self.resumed is None:
            _claim(run, self.dump(), imported_from(self._folders))
        checkpoint = run.last_checkpoint() if self.resumed and run.begun else None
        how = (
            f", resumed from {checkpoint.name}"
            if checkpoint
            else ", whose training never began: from step 0"
        )
        log(f"run {run.path}" + (how if self.resumed else ""))
        device = trainer.strategy.root_device.type
        if advice := sharing_advice(device, trainer.world_size, self.datamodule.batch_size):
            log(advice)
        with (
            only_writer(run) if self.resumed is None and trainer.is_global_zero else nullcontext(),
            defer_signals(),
            record_state(run, _device(trainer)) if trainer.is_global_zero else nullcontext(),
        ):
            try:
                trainer.fit(self.model, self.datamodule, ckpt_path=checkpoint, weights_only=True)
            except Interrupted:
                log(
                    f"stopped at step {trainer.global_step}; go on with: ired fit --resume "
                    f"{run.path}"
                )
                raise
            if self.guard.stopped is not None:
                raise RunError(
                    f"{self.guard.stopped}; stopped there, as stop_on_collapse asks; all is saved "
                    f"in {run.path}."
                )
        log(f"done: {self.trainer.global_step} steps; results in {run.path}")

    def check_measurements(self) -> None:
        """Say at the end, once more, that measurements failed.

        Raises
        ------
        RunError
            If one did.
        """
        if failures := _failures(self.trainer):
            raise RunError(
                f"training is done, but of its measurements {failures} failed, as said above and "
                f"in {self.run.path}; make them again with `ired probe`."
            )


class _Config(Callback):
    """Put the resolved configuration into every checkpoint, which needs no other file then."""

    def __init__(self, text: str) -> None:
        self.text = text

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint[CONFIG_KEY] = self.text
        for logger in trainer.loggers:
            if isinstance(logger, WandB):
                checkpoint[RUN_ID_KEY] = logger.version


def _device(trainer: Trainer) -> str:
    """Say what the run trains on."""
    device, count = trainer.strategy.root_device, trainer.world_size
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()
    threads = f", threads: {torch.get_num_threads()}" if device.type == "cpu" else ""
    return f"{f'{count} × ' if count > 1 else ''}{name}{threads}"


def _measuring(trainer: Trainer) -> list[ProbeCallback]:
    return [c for c in trainer.callbacks if isinstance(c, ProbeCallback)]  # type: ignore[attr-defined]


def _failures(trainer: Trainer) -> int:
    measuring = [c for c in trainer.callbacks if isinstance(c, MeasuringCallback)]  # type: ignore[attr-defined]
    return sum(callback.failures for callback in measuring)


def _check_space(run: Run, needed: int) -> None:
    """Refuse what will not fit on the disk.

    Raises
    ------
    InputError
        If it does not.
    """
    place = next(folder for folder in run.path.parents if folder.is_dir())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise InputError(
            f"the gradients to collect take {needed / 2**30:.3g} GiB, but {place} has "
            f"{free / 2**30:.3g} free; lower `collect`, or choose another folder by --runs."
        )


def _place(callback: Callback) -> int:
    """Order: what changes the run's state, then what judges it, saves it, measures it."""
    order = (CollapseGuard, SaveLast, MeasuringCallback)
    return next((n for n, kind in enumerate(order, 1) if isinstance(callback, kind)), 0)


@rank_zero_only
def _claim(run: Run, config: str, folders: Sequence[Path]) -> None:
    """Make the run's folder with what resuming takes: its configuration and modules' folders.

    Raises
    ------
    InputError
        If the run exists, or its folder cannot be made.
    """
    made = Run(run.path.with_name(f".{run.path.name}.{os.getpid()}"))
    try:
        made.write_config(config)
        made.write_module_folders(folders)
        made.path.rename(run.path)
    except OSError as error:
        if not run.path.exists():
            raise InputError(
                f"run {run.path} cannot be made ({error.strerror}); choose another folder by "
                "--runs."
            ) from None
        raise InputError(
            f"run {run.path} exists, and results are never overwritten; choose another --name, or "
            "go on with it: "
            f"ired fit --resume {run.path}."
        ) from None
    finally:
        shutil.rmtree(made.path, ignore_errors=True)
