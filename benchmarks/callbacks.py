"""What the callbacks cost: a training with all four at their default intervals beside the same training without.

python benchmarks/callbacks.py ratio     CPU time of 20 000 steps with and without, in turns
python benchmarks/callbacks.py cost      CPU time of each callback when it runs, beside a training step, up to the paper's size
python benchmarks/callbacks.py memory    resident memory over 1000 steps with a measurement every 25
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer

from ired_interp.callbacks import (
    GradientStatistics,
    HessianSpectrum,
    InferenceTrajectory,
    ProbeCallback,
    SubspaceDrift,
    WeightAveraging,
)
from ired_interp.energy import MLPEnergy
from ired_interp.lightning_cli import quiet
from ired_interp.module import IREDModule
from ired_interp.tasks import Inverse, TaskData

KINDS: list[type[ProbeCallback]] = [
    GradientStatistics,
    HessianSpectrum,
    SubspaceDrift,
    InferenceTrajectory,
]


def fit(callbacks: list[Callback], n: int, width: int, batch: int, steps: int) -> float:
    """CPU seconds of a training."""
    quiet()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            max_steps=steps,
            accelerator="cpu",
            callbacks=[WeightAveraging(), *callbacks],
            default_root_dir=folder,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            gradient_clip_val=1.0,
            limit_val_batches=0,
        )
        module = IREDModule(MLPEnergy(n * n, n * n, width))
        start = time.process_time()
        trainer.fit(module, TaskData(Inverse(n), batch_size=batch))
        return time.process_time() - start


def timed(callback: Callback, hooks: tuple[str, ...]) -> list[float]:
    """A growing list of the CPU seconds that a callback's hooks take."""
    seconds: list[float] = []

    def wrap(hook: Any) -> Any:
        def run(*arguments: Any, **named: Any) -> None:
            start = time.process_time()
            hook(*arguments, **named)
            seconds.append(time.process_time() - start)

        return run

    for name in hooks:
        setattr(callback, name, wrap(getattr(callback, name)))
    return seconds


def warm_up() -> None:
    """Imports and first calls, which a training pays once."""
    fit([kind(every_n_steps=8) for kind in KINDS], 4, 16, 16, 8)


def ratio() -> None:
    warm_up()
    spent = {"without": 0.0, "with": 0.0}
    for turn in ("without", "with", "with", "without"):
        spent[turn] += fit(
            [kind() for kind in KINDS] if turn == "with" else [], 4, 128, 256, 20_000
        )
    print(
        f"inverse n = 4, width 128, batch 256, 20 000 steps: with/without = {spent['with'] / spent['without']:.3f}"
    )


def cost() -> None:
    warm_up()
    for n, width, batch, steps in ((4, 128, 256, 400), (8, 256, 256, 200), (20, 512, 2048, 16)):
        step = fit([], n, width, batch, steps) / steps
        callbacks: list[ProbeCallback] = [kind(every_n_steps=steps) for kind in KINDS]
        seconds = [timed(c, ("on_before_optimizer_step", "on_train_batch_end")) for c in callbacks]
        fit(list(callbacks), n, width, batch, steps)
        print(f"inverse n = {n}, width {width}, batch {batch}: a step {1000 * step:.0f} ms")
        for kind, spent in zip(KINDS, seconds, strict=True):
            interval, one = (
                kind().every_n_steps,
                sum(spent),
            )  # one measurement, and what the hooks cost at the other steps
            print(
                f"  {kind.__name__}: {one:.2f} s, every {interval} steps: {one / (interval * step):.2%}"
            )


class Resident(Callback):
    def __init__(self) -> None:
        self.mib: dict[int, float] = {}

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step % 100 == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.mib[trainer.global_step] = pages * 4096 / 2**20


def memory() -> None:
    for name, callbacks in (("without", []), ("with", [kind(every_n_steps=25) for kind in KINDS])):
        resident = Resident()
        fit([*callbacks, resident], 4, 128, 256, 1000)
        print(
            f"{name}: MiB at step "
            + ", ".join(f"{step}: {mib:.0f}" for step, mib in resident.mib.items())
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["ratio", "cost", "memory"])
    {"ratio": ratio, "cost": cost, "memory": memory}[parser.parse_args().what]()
