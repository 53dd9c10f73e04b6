"""Keep the state of a run, so that it can go on after any end."""

import signal
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from ired_interp.errors import Interrupted
from ired_interp.results import Run
from ired_interp.results.run import LAST
from ired_interp.terminal import say


class SaveLast(Callback):
    """Save last.ckpt every n steps, after the last step, and when a signal asks the run to end.

    At the first SIGINT (Ctrl-C) or SIGTERM the step is finished and the state saved; at the second the program stops at once. All ranks agree
    at a step's end, so that none waits for another.

    Parameters
    ----------
    run : where to save.
    every_n_steps : steps between saves.
    """

    def __init__(self, run: Run, every_n_steps: int) -> None:
        self.run, self.every_n_steps = run, every_n_steps
        self._received: int | None = None
        self._previous: dict[int, Any] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._receive)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        interrupted = trainer.strategy.reduce_boolean_decision(self._received is not None, all=False)
        finished = step >= trainer.max_steps or trainer.should_stop
        if interrupted or finished or step % self.every_n_steps == 0:
            trainer.save_checkpoint(self.run.checkpoints / LAST)
        if interrupted and not finished:
            say(f"stopped at step {step}; go on with: ired fit --resume {self.run.path}")
            raise Interrupted(self._received or signal.SIGTERM)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._received is not None:
            raise KeyboardInterrupt
        self._received = number
        say("interrupted: finishing this step and saving; once more to stop at once")
