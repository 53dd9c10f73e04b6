"""The contract of probes of any loss: a function of weights and a batch, on fixed batches."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import xarray as xr
from torch import Tensor

from ired_interp.ranks import ALONE, Ranks


class Loss(Protocol):
    """A scalar loss of a batch that is the same function of the weights at every call."""

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """Those that are trained, by name; none counts twice."""

    def __call__(self, batch: Any) -> Tensor:
        """Compute the loss of a batch at the weights, differentiable in them."""

    def at(self, weights: Mapping[str, Tensor], batch: Any) -> Tensor:
        """Compute the loss at other values of the weights, for `torch.func`."""


@dataclass(frozen=True)
class LossSnapshot:
    """What a probe of a loss measures.

    Attributes
    ----------
    loss : Loss
        At the weights to be measured.
    batches : list
        On which; each counts the same.
    step : int
        Updates done.
    weights : str
        "raw": those that are trained.
    checkpoint : str, optional
        Hash of the file that they came from.
    scratch : Path, optional
        Folder in which a long measurement may keep its state.
    ranks : Ranks
        The processes that measure it.
    optimizer : mapping, optional
        `state_dict()` of the one that trains the weights, for its last step.
    """

    loss: Loss
    batches: list[Any]
    step: int = 0
    weights: Literal["raw"] = "raw"
    checkpoint: str | None = None
    scratch: Path | None = None
    ranks: Ranks = ALONE
    optimizer: Mapping[str, Any] | None = None


class LossProbe(ABC):
    """Settings of a measurement; calling it with a snapshot of a loss returns a dataset.

    Attributes
    ----------
    label : str
        Name of its results' folder.
    least_batches : int
        How many batches it needs.
    """

    label: str
    least_batches: ClassVar[int] = 1

    @abstractmethod
    def __call__(self, snapshot: LossSnapshot) -> xr.Dataset:
        """Measure.

        Parameters
        ----------
        snapshot : LossSnapshot
            Loss and batches.

        Returns
        -------
        xarray.Dataset
            Labelled, with units and errors.
        """

    def settings(self) -> dict[str, Any]:
        """Return its constructor's arguments as JSON values; each is kept under its own name."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def check(self, weights: Mapping[str, Tensor]) -> None:  # noqa: B027  (most fit all weights)
        """Refuse weights that the settings do not fit, before anything is trained.

        Parameters
        ----------
        weights : mapping of str to Tensor
            Those of the loss.
        """
