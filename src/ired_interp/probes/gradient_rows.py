"""Gradients of a loss in the weights as rows, by layer, in chunks that fit a memory."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import ClassVar

import torch
from torch import Tensor

from ired_interp.errors import InputError, RunError


class GradientRows(ABC):
    """Rows g_i ∈ R^N, computed when they are asked for by a slice.

    Parameters
    ----------
    weights : mapping of str to Tensor
        What is differentiated in, by name.
    count : int
        Number of rows.

    Attributes
    ----------
    layers : dict of str to int
        Weights N_l of each layer, named like its parameters without the last part.
    size : int
        N, weights in all.
    counted : str
        The setting that says how many rows there are.
    """

    counted: ClassVar[str] = "problems"

    def __init__(self, weights: Mapping[str, Tensor], count: int) -> None:
        self.count = count
        self._names: dict[str, list[str]] = {}
        for name in weights:
            self._names.setdefault(layer_of(name), []).append(name)
        self.layers = {
            layer: sum(weights[name].numel() for name in names)
            for layer, names in self._names.items()
        }
        self.size = sum(self.layers.values())
        self._bytes = next(iter(weights.values())).element_size()

    @abstractmethod
    def _gradients(self, rows: slice) -> Mapping[str, Tensor]:
        """Compute rows, as {name: (rows, *shape of the weight)}."""

    def __getitem__(self, rows: slice) -> dict[str, Tensor]:
        """Compute rows, as {layer: (rows, N_l)}.

        Raises
        ------
        RunError
            If a gradient is not finite.
        """
        found = self._gradients(rows)
        ends = [end for g in found.values() for end in g.aminmax()]  # NaN where one is
        if not torch.stack(ends).isfinite().all():
            raise RunError("a gradient of the loss is not finite; the weights have diverged.")
        return {
            layer: torch.cat([found[name].flatten(1) for name in names], dim=1)
            for layer, names in self._names.items()
        }

    def chunks(self, memory: float) -> Iterator[slice]:
        """Cut the rows into slices whose computation takes about `memory` bytes."""
        at_once = max(1, int(memory / (4 * self.size * self._bytes)))
        for start in range(0, self.count, at_once):
            yield slice(start, min(start + at_once, self.count))

    def rows(self, layer: str | None, memory: float) -> Tensor:
        """Compute all rows.

        Parameters
        ----------
        layer : str, optional
            Whose weights; all without it.
        memory : float
            Bytes that gradients may take.

        Returns
        -------
        Tensor
            (B, N), on the CPU.

        Raises
        ------
        InputError
            If the gradients do not fit in the memory.
        """
        size = self.layers[layer] if layer else self.size
        if 4 * size * self.count > memory:
            raise InputError(
                f"{self.count} gradients of {size} weights take "
                f"{4 * size * self.count / 2**30:.1f} GiB, memory_gib allows "
                f"{memory / 2**30:.1f}; lower the number of {self.counted}, or choose a layer."
            )
        rows = torch.empty(self.count, size)
        for chunk in self.chunks(memory / 2):
            found = self[chunk]
            rows[chunk] = found[layer] if layer else torch.cat(list(found.values()), dim=1)
        return rows


def layer_of(parameter: str) -> str:
    """Name the layer that a parameter belongs to: its name without the last part."""
    return parameter.rpartition(".")[0] or parameter
