"""The contract of every probe: settings, and a call that turns a snapshot into a dataset."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import torch
import xarray as xr
from torch import Tensor

from ired_interp.energy import Energy
from ired_interp.errors import InputError
from ired_interp.module import IREDModule
from ired_interp.random import stream
from ired_interp.ranks import ALONE, Ranks
from ired_interp.registry import Registered
from ired_interp.tasks.base import Problems, Task
from ired_interp.tasks.exact import ExactEnergy

Weights = Literal["average", "raw"]
Point = Literal["noised", "answer", "solution", "trajectory"]
Self = TypeVar("Self", bound="Probe")


@dataclass(frozen=True)
class Snapshot:
    """What a probe measures.

    Attributes
    ----------
    module : IREDModule
        The model, with the weights to be measured. A probe leaves it as it found it.
    batch : Problems
        Problems x (B, d_x) with answers y (B, d_y), on the module's device.
    task : Task, optional
        Where the problems come from; without it no theory stands beside the measurement.
    step : int
        Updates done.
    weights : str
        Which weights these are, "average" or "raw".
    checkpoint : str, optional
        Hash of the file that they came from.
    scratch : Path, optional
        Folder in which a long measurement may keep its state, to go on from after a kill.
    ranks : Ranks
        The processes that measure it together, each with the whole batch; `ranks.share(B)` are the
        problems of this one.
    optimizer : mapping, optional
        `state_dict()` of what trained the model, for its last step.
    initial : mapping of str to Tensor, optional
        The energy's parameters as training began, by name, where they are known.
    """

    module: IREDModule
    batch: Problems
    task: Task | None = None
    step: int = 0
    weights: Weights = "average"
    checkpoint: str | None = None
    scratch: Path | None = None
    ranks: Ranks = ALONE
    optimizer: Mapping[str, Any] | None = None
    initial: Mapping[str, Tensor] | None = None

    def exact_curvature(self) -> Tensor | None:
        """Return eigenvalues (K, d_y) of a perfect model's Hessian in y, None if not known."""
        posterior = self.task.posterior(self.batch.x[:1]) if self.task else None
        return None if posterior is None else posterior.curvature(self.module.schedule)

    def exact_energy(self) -> Energy | None:
        """Return a perfect model's energy of the free entries, in float64, None if not known."""
        if self.task is None or self.task.posterior(self.batch.x[:1]) is None:
            return None
        exact = ExactEnergy(self.task, self.module.landscapes)
        return self.module.free(exact.to(self.batch.x.device).double())

    def visible(self) -> Tensor | None:
        """Return which entries (B, d_y) of solutions the problems show, None without such a task.

        Tasks of which every problem shows all entries, or none, have no such split either.
        """
        visible = self.task.visible(self.batch.x) if self.task else None
        if visible is None or visible.all() or not visible.any():
            return None
        return visible

    def as_training_began(self) -> "Snapshot | None":
        """Return a copy with the initial weights on the same problems, None if not known."""
        if self.initial is None:
            return None
        module = deepcopy(self.module)
        with torch.no_grad():
            for name, weight in module.energy.named_parameters():
                weight.copy_(self.initial[name])
        return replace(self, module=module)


class Probe(Registered, ABC):
    """Settings of a measurement; calling it with a snapshot returns an xarray.Dataset.

    A probe draws from its own generator, made from its seed, and never from the global ones.

    Attributes
    ----------
    name : str
        What `ired probe --probes` and `ii.probe` call it, and its results' folder.
    parallel : bool
        Whether the ranks of a snapshot share out its problems. Each then returns the result of one
        process, and an InputError or RunError is raised on all of them. Otherwise the first rank
        measures alone.
    of_answers : bool
        Whether it says something of a network that has answers but no energy, too.

    Examples
    --------
    >>> class MeanEnergy(Probe):
    ...     name = "mean_energy"
    ...
    ...     def __call__(self, snapshot):
    ...         x, y = snapshot.batch
    ...         energies = [snapshot.module.energy(x, y, k) for k in range(2)]
    ...         return xr.Dataset({"energy": ("landscape", [float(e.mean()) for e in energies])})
    """

    parallel: ClassVar[bool] = False
    of_answers: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, snapshot: Snapshot) -> xr.Dataset:
        """Measure.

        Parameters
        ----------
        snapshot : Snapshot
            Model and problems.

        Returns
        -------
        xarray.Dataset
            Labelled, with units and errors.
        """

    @property
    def label(self) -> str:
        """Name of its results' folder."""
        return self.name

    @property
    def least_problems(self) -> int:
        """How many problems it needs."""
        return 1

    def settings(self) -> dict[str, Any]:
        """Return its constructor's arguments as JSON values; each is kept under its own name."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def check(self, module: IREDModule) -> None:
        """Refuse a model that the settings do not fit, before anything is measured or trained.

        Parameters
        ----------
        module : IREDModule
            The model that will be measured.
        """

    def small(self: Self) -> Self:
        """Return a probe that fails where this one does and takes little time, for a rehearsal."""
        return deepcopy(self)

    def with_settings(self: Self, **settings: Any) -> Self:
        """Return a probe of the same class with some settings changed."""
        own = {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}
        return type(self)(**(own | settings))

    def summary(self, result: xr.Dataset) -> str:
        """Return the result as a table for the terminal."""
        return repr(result)


def chosen_landscapes(module: IREDModule, landscapes: Literal["all"] | Sequence[int]) -> list[int]:
    """List the landscapes that a setting names.

    Parameters
    ----------
    module : IREDModule
        The model that must have them.
    landscapes : "all" or a sequence of int
        The setting.

    Returns
    -------
    list of int
        The indices k.

    Raises
    ------
    InputError
        If the model has not all of them, or none is named.
    """
    if landscapes == "all":
        return list(range(module.landscapes))
    wrong = [k for k in landscapes if not 0 <= k < module.landscapes]
    if wrong or not landscapes:
        raise InputError(
            f"landscapes {list(landscapes)} were asked for; this model has 0 to "
            f"{module.landscapes - 1}, name at least one of them."
        )
    return list(landscapes)


def measuring_point(snapshot: Snapshot, k: int, point: Point, seed: int) -> Tensor:
    """Return where landscape k is looked at.

    Parameters
    ----------
    snapshot : Snapshot
        Model and B problems.
    k : int
        Landscape.
    point : str
        "noised", the noised answer √ᾱ_k y* + σ_k ε; "answer", the scaled answer √ᾱ_k y*;
        "solution", √ᾱ_k times what `solve` finds; "trajectory", where `solve` stands at the end of
        landscape k.
    seed : int
        Of ε, and of the start of `solve`.

    Returns
    -------
    Tensor (B, d_y)
        The point of each problem; entries that the problem gives are √ᾱ_k times it.

    Raises
    ------
    InputError
        If the point does not exist.
    """
    y = _measuring_point(snapshot, k, point, seed)
    fixed = snapshot.module.fixed(snapshot.batch.x)
    return y if fixed is None else fixed.hold(y, snapshot.module.schedule.signal[k])


def _measuring_point(snapshot: Snapshot, k: int, point: Point, seed: int) -> Tensor:
    module, y = snapshot.module, snapshot.batch.y
    if point == "noised":
        eps = torch.randn(
            y.shape, generator=stream(y.device, seed, "point", k), device=y.device, dtype=y.dtype
        )
        return module.schedule.noised(y, torch.full((len(y),), k, device=y.device), eps)
    if point == "answer":
        return module.schedule.signal[k] * y
    if point in ("solution", "trajectory"):
        solutions = solutions_along(snapshot, seed)
        place = -1 if point == "solution" else module.landscapes - 1 - k
        return module.schedule.signal[k] * solutions[place]
    raise InputError(
        f"point {point!r} does not exist; choose 'noised', 'answer', 'solution' or 'trajectory'."
    )


def solutions_along(snapshot: Snapshot, seed: int) -> Tensor:
    """Solve as the model does, from a start of the seed.

    Parameters
    ----------
    snapshot : Snapshot
        Model and B problems.
    seed : int
        Of the start.

    Returns
    -------
    Tensor (K, B, d_y)
        The solutions as of each landscape, K − 1 first.
    """
    module, (x, y) = snapshot.module, snapshot.batch
    start, inner = stream(y.device, seed, "start"), stream(y.device, seed, "inference")
    begin = torch.randn(y.shape, generator=start, device=y.device, dtype=y.dtype)
    found = module.solve(x, preset=module.inference, start=begin, generator=inner)
    return found.trajectory
