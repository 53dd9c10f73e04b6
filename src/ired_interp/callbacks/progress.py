"""Progress of a run as plain lines, where no terminal shows a bar."""

import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from ired_interp.terminal import PLAIN_SECONDS, duration, log


class PlainProgress(Callback):
    """Every ten seconds, one line: how far along, loss, last errors, the time that remains."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._start = self._shown = time.monotonic()
        self._first = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write a line where that is due."""
        now, step, last = time.monotonic(), trainer.global_step, trainer.max_steps
        if now - self._shown < PLAIN_SECONDS and step not in (self._first + 1, last):
            return
        self._shown = now
        rate = (step - self._first) / (now - self._start)
        values = {"loss": float(outputs["loss"])}
        values |= {
            name: float(v)
            for name, v in trainer.callback_metrics.items()
            if name.startswith("val/error")
        }
        shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        log(
            f"step {step}/{last}  {shown}  {rate:.1f} steps/s, "
            f"{duration((last - step) / max(rate, 1e-9))} left"
        )

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._start = self._shown = time.monotonic()
        self._done = 0

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write a line where that is due."""
        self._done += 1
        now, total = time.monotonic(), sum(map(int, trainer.num_test_batches))
        if self._done == 1 or now - self._shown >= PLAIN_SECONDS:
            self._shown = now
            left = (now - self._start) / self._done * (total - self._done)
            log(f"test: {self._done}/{total} batches, {duration(left)} left")
