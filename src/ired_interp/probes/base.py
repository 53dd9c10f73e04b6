"""The contract of every probe: settings, and one call that turns a snapshot into a labelled dataset."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
import xarray as xr
from torch import Tensor

from ired_interp.errors import InputError
from ired_interp.module import IREDModule
from ired_interp.random import stream
from ired_interp.ranks import ALONE, Ranks
from ired_interp.tasks.base import Problems, Task

Weights = Literal["average", "raw"]
Point = Literal["noised", "answer", "solution", "trajectory"]


@dataclass(frozen=True)
class Snapshot:
    """What a probe measures.

    Attributes
    ----------
    module : the model, with the weights to be measured. A probe leaves it as it found it.
    batch : problems x (B, d_x) with answers y (B, d_y), on the module's device.
    task : where the problems come from; None if unknown, and then without theory beside the measurement.
    step : updates done. weights : which weights these are. checkpoint : hash of the file they came from, if any.
    scratch : folder in which a long measurement may keep its state, to go on from after a kill; None if there is none.
    ranks : the processes that measure it together, each with the whole batch; `ranks.share(B)` are the problems of this one.
    """

    module: IREDModule
    batch: Problems
    task: Task | None = None
    step: int = 0
    weights: Weights = "average"
    checkpoint: str | None = None
    scratch: Path | None = None
    ranks: Ranks = ALONE


class Probe(ABC):
    """Settings of a measurement; calling it with a snapshot returns an xarray.Dataset.

    A probe draws from its own generator, made from its seed, and never from the global ones.

    Attributes
    ----------
    parallel : whether the ranks of a snapshot share out its problems. Each then returns the result of one process, and an InputError or RunError
        is raised on all of them. Otherwise the first rank measures alone.
    """

    name: ClassVar[str]
    parallel: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, snapshot: Snapshot) -> xr.Dataset:
        """Measure."""

    @property
    def label(self) -> str:
        """Name of its results' folder."""
        return self.name

    def settings(self) -> dict[str, Any]:
        """Its constructor's arguments, as JSON values; a probe keeps each under its own name."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def summary(self, result: xr.Dataset) -> str:
        """The result as a table for the terminal."""
        return repr(result)


def chosen_landscapes(module: IREDModule, landscapes: Literal["all"] | Sequence[int]) -> list[int]:
    """Landscape indices that a setting names, checked against the model."""
    if landscapes == "all":
        return list(range(module.landscapes))
    wrong = [k for k in landscapes if not 0 <= k < module.landscapes]
    if wrong or not landscapes:
        raise InputError(
            f"landscapes {list(landscapes)} were asked for; this model has 0 to {module.landscapes - 1}, name at least one of them."
        )
    return list(landscapes)


def measuring_point(snapshot: Snapshot, k: int, point: Point, seed: int) -> Tensor:
    """Where landscape k is looked at, (B, d_y): the noised answer √ᾱ_k y* + σ_k ε, the scaled answer √ᾱ_k y*, √ᾱ_k times what `solve` finds
    ("solution"), or where `solve` stands at the end of landscape k ("trajectory")."""
    module, (x, y) = snapshot.module, snapshot.batch
    if point == "noised":
        eps = torch.randn(
            y.shape, generator=stream(y.device, seed, "point", k), device=y.device, dtype=y.dtype
        )
        return module.schedule.noised(y, torch.full((len(y),), k, device=y.device), eps)
    if point == "answer":
        return module.schedule.signal[k] * y
    if point in ("solution", "trajectory"):
        generator = stream(y.device, seed, "start")
        start = torch.randn(y.shape, generator=generator, device=y.device, dtype=y.dtype)
        answers = module.solve(x, preset=module.inference, start=start).trajectory  # K − 1 first
        return (
            module.schedule.signal[k]
            * answers[-1 if point == "solution" else module.landscapes - 1 - k]
        )
    raise InputError(
        f"point {point!r} does not exist; choose 'noised', 'answer', 'solution' or 'trajectory'."
    )
