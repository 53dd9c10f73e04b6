"""A run that signals itself, so that a test says at which step and in which hook; ranks that wait for their first."""

import os
import signal
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist
import xarray as xr
from lightning.pytorch import Callback

from ired_interp.callbacks import HessianSpectrum
from ired_interp.callbacks.first_rank import on_first_rank


class SignalAt(Callback):
    """Send this process a signal at the end of a step; once in a run's life, so that it can be resumed."""

    def __init__(self, step: int, number: int) -> None:
        self.step, self.number = step, number

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
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

    def measure(self, trainer: Any, pl_module: Any) -> tuple[str, Path, xr.Dataset]:
        sent = Path(trainer.default_root_dir) / "signalled"
        if not sent.exists():
            sent.touch()
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(100)  # ends at once
        return super().measure(trainer, pl_module)


def wait_for_the_first(rank: int, meeting: str) -> None:
    """One of two ranks; the first works for three times as long as their process group waits."""
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    on_first_rank(lambda: None)  # all are there
    dist.distributed_c10d._set_pg_timeout(timedelta(seconds=1))
    on_first_rank(lambda: time.sleep(3))
    dist.destroy_process_group()
