"""A run that signals itself, so that a test says at which step and in which hook."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback

from ired_interp.callbacks import HessianSpectrum


class SignalAt(Callback):
    """Send this process a signal at the end of a step; once in a run's life, so that it can be resumed."""

    def __init__(self, step: int, number: int) -> None:
        self.step, self.number = step, number

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        sent = Path(trainer.default_root_dir) / "signalled"
        if trainer.global_step == self.step and trainer.is_global_zero and not sent.exists():
            sent.touch()
            os.kill(os.getpid(), self.number)


def fragment(folder: Path, *entries: str) -> list[str]:
    """The arguments that add callbacks, each given as one line `Class: {settings}`."""
    lines = ["trainer:", "  callbacks+:"]
    for entry in entries:
        name, _, settings = entry.partition(": ")
        lines += [f"    - class_path: {name}", f"      init_args: {settings or '{}'}"]
    file = folder / f"fragment-{len(list(folder.glob('fragment-*')))}.yaml"
    file.write_text("\n".join(lines) + "\n")
    return ["--config", str(file)]


class SignalledProbe(HessianSpectrum):
    """A probe whose first measurement is asked to stop half way."""

    def _measure_here(self, trainer: Any, pl_module: Any) -> None:
        sent = Path(trainer.default_root_dir) / "signalled"
        if not sent.exists():
            sent.touch()
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(100)  # ends at once
        super()._measure_here(trainer, pl_module)
