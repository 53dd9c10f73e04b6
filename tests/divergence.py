"""A run that is trained well and then with a huge learning rate, so that a test says where it collapses."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger


class HugeSteps(Callback):
    """From a step on, the learning rate is `lr`."""

    def __init__(self, step: int, lr: float) -> None:
        self.step, self.lr = step, lr

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step >= self.step:
            for group in trainer.optimizers[0].param_groups:
                group["lr"] = self.lr


class RunTable(CSVLogger):
    """A logger with a table of runs: the values of its row, in the order in which they were set."""

    def __init__(self) -> None:
        super().__init__(".", name="row")

    def set_summary(self, name: str, value: str) -> None:
        with Path("table.txt").open("a") as file:
            file.write(f"{name} {value}\n")
