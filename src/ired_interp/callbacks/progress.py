"""Progress of a run: a live line on a terminal, plain lines elsewhere."""

import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from ired_interp.terminal import Bar, log


class RunProgress(Callback):
    """How far along, loss, last validation, speed, the time that remains.

    A terminal shows a live line, and a plain line for each validation; elsewhere there is a plain
    line every ten seconds, and for the first step, the last and its validation.

    Parameters
    ----------
    live : bool
        Whether a terminal gets a live line; plain lines otherwise.
    """

    def __init__(self, live: bool = True) -> None:
        self.live = live
        self._bar: Bar | None = None

    def _start(self, title: str) -> Bar:
        self._close()
        self._begin, self._done = time.monotonic(), 0
        self._bar = Bar(title, live=self.live)
        return self._bar

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._start("step")
        self._first, self._shown = trainer.global_step, False

    def needs(self, step: int) -> bool:
        """Whether it shows this step, however little time has passed."""
        return step == 1

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Show the state, where that is due."""
        assert self._bar is not None
        now, step, last = time.monotonic(), trainer.global_step, trainer.max_steps
        ends = step == last or not self._shown
        if not self._bar.due(now) and not ends:
            return
        self._shown = True
        rate = (step - self._first) / (now - self._begin)
        left = (last - step) / max(rate, 1e-9)
        shown = "  ".join([f"loss {float(outputs['loss']):.4g}", *_errors(trainer)])
        note = f"{step}/{last}  {shown}  {rate:.1f} steps/s"
        self._bar.update(note, step / last, left, at_once=ends)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say what the validation found, on a terminal and at the end of training."""
        ended = trainer.global_step == trainer.max_steps
        if trainer.state.fn == "fit" and (ended or (self._bar is not None and self._bar.live)):
            log(f"validation at step {trainer.global_step}: {'  '.join(_errors(trainer))}")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._start("test")

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Show the state, where that is due."""
        assert self._bar is not None
        self._done += 1
        total = sum(map(int, trainer.num_test_batches))
        note, share = f"{self._done}/{total} batches", self._done / total
        self._bar.update(note, share, at_once=self._done == 1)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the line off the terminal."""
        self._close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Take the line off the terminal."""
        self._close()


def _errors(trainer: Trainer) -> list[str]:
    return [
        f"{name} {float(value):.4g}"
        for name, value in trainer.callback_metrics.items()
        if name.startswith("val/error")
    ]
