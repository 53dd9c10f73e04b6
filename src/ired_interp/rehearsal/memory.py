"""Whether memory grows while the same thing is done again and again."""

import ctypes
import gc
import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from ired_interp.rehearsal.fault import Fault

WARM_UP = 10  # evaluations by which allocators, optimiser state and caches are filled
REPEATED = 30  # evaluations over which it must be flat
_KEPT = 8 * 2**20  # bytes that keeping every batch shall take, so that it stands out from
_NOISE = 2 * 2**20  # bytes by which memory that does not grow may vary; 0.1 MiB was measured
_MOST_ROWS = 2048


class MemoryWatch(Callback):
    """Read the resident memory after the warm-up and after the last step of a training."""

    def __init__(self) -> None:
        self.grown = 0
        self._steps = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Read the memory after the warm-up and after the last step."""
        self._steps += 1
        if self._steps == WARM_UP:
            self._before = resident_bytes()
        if self._steps == WARM_UP + REPEATED:
            self.grown = resident_bytes() - self._before


def growth(evaluate: Callable[[], object]) -> int:
    """By how many bytes memory grows over the repetitions."""
    for _ in range(WARM_UP):
        evaluate()
    before = resident_bytes()
    for _ in range(REPEATED):
        evaluate()
    return resident_bytes() - before


def resident_bytes() -> int:
    """Return the resident memory of this process that is in use.

    Unreachable objects are collected, and free memory is given back first.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


def rows_for(entries: int) -> int:
    """How many problems of so many entries, x and y together, to evaluate at once."""
    return min(_MOST_ROWS, -(-_KEPT // (REPEATED * 4 * entries)))


def check_growth(grown: int, rows: int, entries: int, what: str) -> str:
    """Return the sentence on memory that grew by `grown` bytes.

    Half of what keeping every batch would take is too much.

    Who keeps a graph keeps the batch, and more.

    Raises
    ------
    Fault
        If it grew by too much.
    """
    kept = REPEATED * rows * entries * 4
    allowed = max(kept / 2, _NOISE)
    text = (
        f"resident memory grew by {grown / 2**20:.1f} MiB over {REPEATED} {what} of {rows} "
        "problems, where keeping every batch "
        f"would take {kept / 2**20:.1f} MiB and its graph more (allowed {allowed / 2**20:.1f} MiB)"
    )
    if grown > allowed:
        raise Fault(
            text, "detach() or drop what a callback, a loss or an energy keeps from step to step"
        )
    return text
