"""The commands made small: one process on a CPU, a few steps and problems, a temporary folder."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.accelerators import AcceleratorRegistry
from lightning.pytorch.strategies import StrategyRegistry

from ired_interp.callbacks import MeasuringCallback, ProbeCallback
from ired_interp.commands.evaluate import EvaluateCLI
from ired_interp.commands.fit import FitCLI
from ired_interp.errors import InputError
from ired_interp.lightning_cli import IREDCLI
from ired_interp.loggers import WandB
from ired_interp.measure import Measurement
from ired_interp.rehearsal.contract import FEW
from ired_interp.results import Run

STEPS = 3  # training steps: the least with which GradientStatistics has gradients to compare
_NEVER = 10**9
_OFFLINE = {"offline": True, "online": False, "log_model": False}  # settings of loggers
# Where callbacks, loggers and profilers write.
_PATH_ARGUMENTS = ("dirpath", "save_dir", "root_dir", "dir")
_CPU_PRECISION = (
    "16-true",
    "transformer-engine",
    "transformer-engine-float16",
)  # those that only GPUs have


class _Miniature(IREDCLI):
    """A command that is parsed and built by its construction, and run when it is asked to."""

    accelerator = "cpu"
    folder: Path  # the only place where anything is written

    def before_instantiate_classes(self) -> None:
        for part in ("logger", "callbacks", "profiler"):
            _place(self.settings.trainer.get(part), self.folder)

    def run_command(self, name: str) -> None:
        """Nothing yet."""

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        given = self.settings.trainer
        _check_known("accelerator", given.accelerator, ["auto", "gpu", *AcceleratorRegistry])
        _check_known("strategy", given.strategy, ["auto", *StrategyRegistry.available_strategies()])
        precision = given.precision
        if self.accelerator == "cpu" and precision in _CPU_PRECISION:
            precision = "32-true"
        folder = {"default_root_dir": str(self.folder)}
        here = {"accelerator": self.accelerator, "devices": 1, "num_nodes": 1, "strategy": "auto"}
        return super().instantiate_trainer(
            **here, **folder, precision=precision, enable_progress_bar=False, **kwargs
        )


class MiniatureFit(_Miniature, FitCLI):
    """`ired fit` in the folder of `run`, which holds a copy of what a resumed run left.

    Parameters
    ----------
    arguments : list[str]
        Of the command, without --resume.
    run : Run
        Where it writes.
    resumed : bool
        Whether `run` is to be gone on with.
    batch : int | None
        Problems per step; as configured if None.
    steps : int
        To take.
    problems : int | None
        Of each probe, at most; as configured if None.
    probing : bool
        Whether probes measure and the model is validated at the last step; never otherwise.
    accelerator : str
        "cpu" or "gpu".
    """

    def __init__(
        self,
        arguments: list[str],
        run: Run,
        resumed: bool,
        batch: int | None,
        steps: int = STEPS,
        problems: int | None = FEW,
        probing: bool = True,
        accelerator: str = "cpu",
    ) -> None:
        self.place, self.folder = run, run.path
        self.batch, self.steps, self.problems = batch, steps, problems
        self.probing, self.accelerator = probing, accelerator
        self.reduced = False  # whether a probe measures fewer problems than configured
        self.configured: list[Measurement] = []  # what the callbacks measure outside of a rehearsal
        super().__init__(arguments, run if resumed else None)

    @property
    def run(self) -> Run:
        """The run that is trained."""
        return self.place

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the Trainer of a few steps, with probes made small."""
        self.facts = self._facts()
        self.model.compile_loss = self.model.compile_loss and self.accelerator != "cpu"
        self.datamodule.validation_problems = FEW
        self.datamodule.batch_size = self.batch or self.datamodule.batch_size
        trainer = super().instantiate_trainer(
            max_steps=self.steps,
            min_steps=None,
            max_time=None,
            val_check_interval=self.steps * self.settings.trainer.accumulate_grad_batches,
            limit_val_batches=1.0
            if self.probing and self.settings.trainer.limit_val_batches != 0
            else 0,
            log_every_n_steps=1 if self.probing else self.settings.trainer.log_every_n_steps,
            **kwargs,
        )
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            self._shrink(callback)
        for logger in trainer.loggers:
            if isinstance(logger, WandB) and logger.mode != "disabled":
                logger.mode = "offline"
        return trainer

    def continue_after(self, step: int) -> None:
        """Take the steps after `step`, at which a resumed run stands."""
        last = step + self.steps
        self.trainer.fit_loop.epoch_loop.max_steps = last
        self.trainer.val_check_interval = last * self.trainer.accumulate_grad_batches
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, MeasuringCallback):
                callback.schedule(last, None)

    def _facts(self) -> dict[str, Any]:
        settings, trainer = self.settings, self.settings.trainer
        devices = trainer.devices
        return {
            **{name: settings[name] for name in ("experiment", "name", "runs", "save_every")},
            **{name: trainer[name] for name in ("num_nodes", "accelerator", "max_steps")},
            "devices": int(devices) if str(devices).isdecimal() else devices,
            "batch_size": self.datamodule.batch_size,
            "trainable_parameters": sum(
                p.numel() for p in self.model.parameters() if p.requires_grad
            ),
            "dimensions": [self.model.condition_dim, self.model.solution_dim],
        }

    def _shrink(self, callback: Callback) -> None:
        if not self.probing:
            if isinstance(callback, MeasuringCallback):
                callback.schedule(_NEVER, None)
            return
        for name in ("every_n_steps", "update_every_n_steps", "window", "collect"):
            if isinstance(vars(callback).get(name), int):
                setattr(callback, name, min(getattr(callback, name), STEPS))
        remembers = (
            self.resumed and callback.state_dict()
        )  # of measurements with the configured settings
        if isinstance(callback, ProbeCallback) and not remembers:
            configured = callback.measurement
            small = configured.small(self.problems or configured.problems)
            self.reduced |= small.problems < configured.problems
            self.configured.append(configured)
            callback.measurement = small


class MiniatureEvaluation(_Miniature, EvaluateCLI):
    """`ired test` or `ired validate` on a few problems; its result goes into `folder`."""

    def __init__(self, folder: Path, *arguments: Any) -> None:
        self.folder = folder
        super().__init__(*arguments)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the Trainer for a few problems."""
        self.datamodule.validation_problems = self.datamodule.test_problems = FEW
        return super().instantiate_trainer(**kwargs)

    def results(self) -> Path:
        """Return a folder of the rehearsal's own."""
        return Run(self.folder).results


def _check_known(name: str, value: Any, known: list[str]) -> None:
    if isinstance(value, str) and value not in known:
        raise InputError(
            f"trainer.{name} is {value!r}, which does not exist; choose one of "
            f"{', '.join(sorted(known))}."
        )


def _place(configured: Any, folder: Path) -> None:
    """Let what a part of the configuration names write into a folder, and only there."""
    for entry in configured if isinstance(configured, list) else [configured]:
        if (arguments := getattr(entry, "init_args", None)) is None:
            continue
        for name in _PATH_ARGUMENTS:
            if name in arguments:
                arguments[name] = str(folder / "placed")
        for name, value in _OFFLINE.items():
            if name in arguments:
                arguments[name] = value
        if "tracking_uri" in arguments:
            arguments["tracking_uri"] = (folder / "placed").as_uri()
