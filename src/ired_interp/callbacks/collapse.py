"""See a training collapse, which its loss does not show: validation errors that get much worse."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from ired_interp.callbacks.best import KeepBest
from ired_interp.evaluation import trivial_floors
from ired_interp.loggers import summarise
from ired_interp.module import IREDModule
from ired_interp.results import Run
from ired_interp.results.validation import (
    Course,
    Setback,
    Validation,
    floor_sentence,
    setback_sentence,
    write_validation,
)
from ired_interp.solver import SolverModule
from ired_interp.tasks import TaskData, Variant
from ired_interp.terminal import log

SUMMARY = "collapse"  # its name in a logger's table of runs


class CollapseGuard(Callback):
    """Compare each validation with its floor and its best; say, record and publish setbacks.

    What counts as one, and as a collapse, is the rule of `ired_interp.results.validation.Course`.
    It has to stand behind the callback that keeps the best, and before the one that saves the last
    checkpoint.

    Parameters
    ----------
    run : Run
        Where to record.
    best : KeepBest
        What keeps the checkpoint to go back to.
    stop : bool
        Whether to end training when the errors by which the best is chosen collapse.

    Attributes
    ----------
    stopped : str | None
        Why training was ended.
    """

    def __init__(self, run: Run, best: KeepBest, stop: bool = False) -> None:
        self.run, self.best, self.stop = run, best, stop
        self.validation = Validation()
        self.stopped: str | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the errors so far, as they are compared."""
        return asdict(self.validation)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from these errors."""
        self.validation = Validation.from_dict({**state_dict, "finished": False})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the state that training goes on from."""
        if self.validation.courses:
            self._record(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the errors of this validation."""
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, TaskData)
        for place, variant in enumerate(data.variants):
            if variant not in self.validation.courses:
                self.validation.courses[variant] = self._begin(trainer, data, variant)
            course = self.validation.courses[variant]
            error = float(trainer.callback_metrics[f"val/error/{variant}"])
            change = course.add(trainer.global_step, error)
            if change is not None:
                self._say(variant, course, change, pl_module)
                if self.stop and place == 0 and change.collapse and change is course.lasting:
                    self.stopped = setback_sentence(variant, course, change)
                    trainer.should_stop = True
        self._record(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say which errors never came below their floor, once all steps are done."""
        if trainer.global_step < trainer.max_steps or not self.validation.courses:
            return
        self.validation.finished = True
        self._record(trainer)
        for variant, course in self.validation.courses.items():
            if self.validation.above_floor(variant):
                log(f"{floor_sentence(variant, course)}; train longer, or change the model.")

    def _begin(self, trainer: Trainer, data: TaskData, variant: Variant) -> Course:
        """Return a course with its floor, the same on all ranks, so that they stop together."""
        device = trainer.strategy.root_device
        found = trivial_floors(data, "validation", variant, data.validation_problems, device)
        name, (floor, _) = min(found.items(), key=lambda item: item[1][0])
        return Course(*trainer.strategy.broadcast((name, floor)))

    def _say(
        self, variant: str, course: Course, change: Setback, pl_module: LightningModule
    ) -> None:
        if change.ended is not None:
            word = "collapse" if change.collapse else "setback"
            log(
                f"recovered at step {change.ended}: validation error ({variant}) "
                f"{course.error:.3g}, after the {word} at step {change.step}."
            )
            return
        kept = Path(self.best.best_model_path)
        where = (
            f"{kept} holds the best of validation"
            if self.best.best_model_path
            else "no checkpoint holds the best (keep_best is 0)"
        )
        log(f"{setback_sentence(variant, course, change)}; {where}; {_advice(pl_module)}.")

    def _record(self, trainer: Trainer) -> None:
        if trainer.is_global_zero:
            write_validation(self.run, self.validation)
        summarise(trainer.loggers, SUMMARY, "; ".join(self.validation.marks()) or "none")


def _advice(pl_module: LightningModule) -> str:
    assert isinstance(pl_module, SolverModule)
    ways = [f"a lower model.lr (it is {pl_module.lr:g})"]
    if pl_module.lr_schedule == "constant":
        ways.append("a model.lr_schedule that decays")
    if isinstance(pl_module, IREDModule) and pl_module.objective.contrast_weight:
        ways.append("model.objective.contrast_weight 0")
    return f"to keep it from that, try {', '.join(ways)}"
