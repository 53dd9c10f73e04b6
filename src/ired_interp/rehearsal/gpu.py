"""How busy a GPU is while it trains."""

import time
from collections.abc import Iterable
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.profiler import ProfilerActivity, profile

WANTED = 0.8
_WARM_UP = 20  # steps: compilation, autotuning and the allocator are done by then
_SECONDS = 3.0  # of steps timed, without the profiler, which slows them
_PROFILED = 10  # steps whose kernels are timed


class GpuWatch(Callback):
    """Time the steps of a training, then the kernels of some more, and stop it.

    Attributes
    ----------
    step_seconds : float
        Wall time of a step.
    kernel_seconds : float
        Time of a step during which at least one kernel or copy ran.
    """

    def __init__(self) -> None:
        self.step_seconds = self.kernel_seconds = 0.0
        self._steps = 0
        self._profile: Any = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Time a step; stop the training after the last that is timed."""
        self._steps += 1
        if self._steps == _WARM_UP:
            torch.cuda.synchronize()
            self._start = time.perf_counter()
        elif self._steps > _WARM_UP and not self.step_seconds:
            if time.perf_counter() - self._start > _SECONDS:
                torch.cuda.synchronize()
                self.step_seconds = (time.perf_counter() - self._start) / (self._steps - _WARM_UP)
                self._timed = self._steps
                self._profile = profile(activities=[ProfilerActivity.CUDA])
                self._profile.start()
        elif self._profile is not None and self._steps == self._timed + _PROFILED:
            torch.cuda.synchronize()
            self._profile.stop()
            events = [e for e in self._profile.events() or [] if e.device_type.name == "CUDA"]
            spans = [(e.time_range.start, e.time_range.end) for e in events]
            self.kernel_seconds = union_length(spans) / 1e6 / _PROFILED
            trainer.should_stop = True

    @property
    def busy(self) -> float:
        """Share of a step during which the GPU worked."""
        return min(1.0, self.kernel_seconds / self.step_seconds)


def union_length(spans: Iterable[tuple[float, float]]) -> float:
    """Length of the union of intervals."""
    total, end = 0.0, float("-inf")
    for start, stop in sorted(spans):
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total


def advice(watch: GpuWatch, batch: int, compiled: bool) -> str:
    """Return the sentence on a GPU's share of busy time."""
    text = (
        f"the GPU was busy {watch.busy:.0%} of a step of {watch.step_seconds * 1e3:.1f} ms with "
        f"{batch} problems"
    )
    if watch.busy >= WANTED:
        return text
    ways = "a larger data.batch_size" + ("" if compiled else " or model.compile: true")
    return f"{text}, less than {WANTED:.0%}: the step is bound by overhead, which {ways} lowers"
