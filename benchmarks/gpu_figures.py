"""What benchmarks/gpu.py has measured, in a file as it comes and in a table at the end; clocks."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback


class Clock(Callback):
    """Writes when steps were done."""

    def __init__(self, steps: list[int], file: str) -> None:
        self.steps, self.file, self.times = steps, Path(file), {}  # type: ignore[var-annotated]

    def needs(self, step: int) -> bool:
        return step in self.steps

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step in self.steps and trainer.is_global_zero:
            torch.cuda.synchronize()
            self.times[trainer.global_step] = time.perf_counter()
            self.file.write_text(json.dumps(self.times))


class Figures:
    """All that was measured, in a file as it comes."""

    def __init__(self, file: Path) -> None:
        self.file, self.rows = file, []  # type: ignore[var-annotated]
        self.begin = time.perf_counter()
        self.card = torch.cuda.get_device_name() + f", torch {torch.__version__}"

    def add(self, what: str, value: float | int | str, unit: str = "", aim: str = "") -> None:
        self.rows.append({"what": what, "value": value, "unit": unit, "aim": aim})
        seconds = time.perf_counter() - self.begin
        content = {"card": self.card, "seconds": seconds, "figures": self.rows}
        self.file.write_text(json.dumps(content, indent=1))
        print(f"[{seconds:5.0f} s] {what}: {shown(value)} {unit}", flush=True)

    def print(self) -> None:
        print(f"\n{self.card}\n\n| what | measured | aim |\n|---|---|---|")
        for row in self.rows:
            print(f"| {row['what']} | {shown(row['value'])} {row['unit']} | {row['aim']} |")


def shown(value: float | int | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def seconds(work: Callable[[], object], repeats: int = 1) -> float:
    """Of one call, the least of some."""
    taken = []
    for _ in range(repeats):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return min(taken)


def milliseconds(work: Callable[[], object], calls: int = 20) -> float:
    work()
    return 1000 * seconds(lambda: [work() for _ in range(calls)], 3) / calls
