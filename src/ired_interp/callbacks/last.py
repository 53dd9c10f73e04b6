"""Keep the state of a run, so that it can go on after any end."""

import signal

from lightning.pytorch import LightningModule, Trainer

from ired_interp.callbacks.probe import ProbeCallback
from ired_interp.callbacks.step_end import StepEnd
from ired_interp.errors import Interrupted
from ired_interp.results import Run
from ired_interp.results.run import LAST
from ired_interp.stopping import requested

_AGREED = 10  # steps between which several GPUs agree whether to stop


class SaveLast(StepEnd):
    """Save last.ckpt whenever the run could end.

    That is before the first step, every n steps, before each measurement, after the last step, and
    when a signal asks the run to end. It has to stand before the probes' callbacks and after all
    others. All ranks agree at a step's end whether to stop, so that none waits for another; several
    GPUs do so at every tenth step, as they wait for each other there.

    Parameters
    ----------
    run : Run
        Where to save.
    every_n_steps : int
        Steps between saves.
    """

    def __init__(self, run: Run, every_n_steps: int) -> None:
        self.run, self.every_n_steps = run, every_n_steps
        self._saved = -1

    def needs(self, step: int) -> bool:
        """Whether it saves after this step whatever else happens."""
        return step % self.every_n_steps == 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save a run that begins."""
        super().on_train_start(trainer, pl_module)
        if trainer.global_step == 0:
            self._save(trainer)
        self._saved = trainer.global_step
        self._heed(trainer)

    def on_step_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save where that is due, and end the run where a signal asks for it."""
        step = trainer.global_step
        finished = step >= trainer.max_steps or trainer.should_stop
        measured = any(c.due(step) for c in trainer.callbacks if isinstance(c, ProbeCallback))  # type: ignore[attr-defined]
        if finished or measured or step % self.every_n_steps == 0:
            self._save(trainer)
        together = trainer.world_size > 1 and pl_module.device.type == "cuda"
        if not finished and (not together or step % _AGREED == 0):
            self._heed(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save a run that is done."""
        self._save(trainer)

    def _heed(self, trainer: Trainer) -> None:
        number = requested()
        if trainer.strategy.reduce_boolean_decision(number is not None, all=False):
            self._save(trainer)
            raise Interrupted(number or signal.SIGTERM)

    def _save(self, trainer: Trainer) -> None:
        if trainer.global_step != self._saved:
            trainer.save_checkpoint(self.run.checkpoints / LAST)
            self._saved = trainer.global_step
