"""Whether memory grows while the same thing is done again and again."""

import ctypes
import gc
import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from ired_interp.cluster.fault import Fault

WARM_UP = 10  # evaluations before memory is looked at: allocators, optimiser state and caches are filled by then
REPEATED = 30  # evaluations over which it must be flat
ROWS = 512  # problems of an evaluation, at most: even a small model's graph of so many stands out
_SHARE = 0.25  # of what keeping every graph would take
_NOISE = 4 * 2**20  # bytes by which the allocator lets memory that does not grow vary
_KEPT = 4  # graphs held to see how large one is


class MemoryWatch(Callback):
    """Read the resident memory after the warm-up and after the last step of a training."""

    def __init__(self) -> None:
        self.grown = 0
        self._steps = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._steps += 1
        if self._steps == WARM_UP:
            self._before = resident_bytes()
        if self._steps == WARM_UP + REPEATED:
            self.grown = resident_bytes() - self._before


def repeated(evaluate: Callable[[], object]) -> int:
    """By how many bytes memory grows over the repetitions."""
    for _ in range(WARM_UP):
        evaluate()
    before = resident_bytes()
    for _ in range(REPEATED):
        evaluate()
    return resident_bytes() - before


def resident_bytes() -> int:
    """Resident memory of this process that is in use: unreachable objects are collected, and free memory is given back first."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


def graph_bytes(evaluate: Callable[[], object]) -> int:
    """What keeping one evaluation's result with its graph takes."""
    evaluate()
    before = resident_bytes()
    kept = [evaluate() for _ in range(_KEPT)]
    taken = resident_bytes() - before
    return max(taken, 0) // len(kept)


def judge(grown: int, graph: int, what: str) -> str:
    """The sentence on memory that grew by `grown` bytes; raises where that is a quarter of what keeping every graph would take, or more."""
    allowed = max(_SHARE * REPEATED * graph, _NOISE)
    text = (
        f"resident memory grew by {grown / 2**20:.1f} MiB over {REPEATED} {what}, where keeping every graph would take "
        f"{REPEATED * graph / 2**20:.0f} MiB (allowed {allowed / 2**20:.0f} MiB)"
    )
    if grown > allowed:
        raise Fault(text, "detach() what a callback, a loss or an energy keeps from step to step")
    return text
