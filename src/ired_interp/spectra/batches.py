"""The batches of an operator: one, or many in a fixed order, and what each counts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ired_interp.errors import InputError
from ired_interp.random import isolated
from ired_interp.spectra.structure import fingerprint, row_count, to_device

Weights = Literal["rows", "equal", "sum"] | Callable[[Any], float]


class Batches:
    """One batch, or a source of many that is gone through once for every product.

    Every pass sees the same global random states, so that a shuffling DataLoader gives one order
    and random augmentation one result. Batches that do not stay the same are refused.

    Parameters
    ----------
    batch : object, optional
        One batch.
    batches : iterable, optional
        Of batches.
    weights : {"rows", "equal", "sum"} or callable
        As in ``HessianOperator``.
    device : torch.device
        Where they go, one at a time.

    Raises
    ------
    InputError
        If these are no batch or no source of batches, with what to give.
    """

    def __init__(
        self,
        batch: Any,
        batches: Iterable[Any] | None,
        weights: Weights,
        device: torch.device,
    ) -> None:
        if not callable(weights) and weights not in ("rows", "equal", "sum"):
            raise InputError(
                f"weights is {weights!r}; expected 'rows', 'equal', 'sum' or a function of a batch"
            )
        if batch is not None and batches is not None:
            raise InputError("both batch and batches were given; expected one of them")
        if isinstance(batch, DataLoader):
            raise InputError("batch is a DataLoader, a source of many; give it as batches=")
        if fault := _no_batch(batch, "batch"):
            raise InputError(fault)
        self.single = batches is None
        self.weights = weights
        source = [batch] if batches is None else checked_source(batches)
        self._held = isinstance(source, list | tuple)
        self._source = tuple(source) if self._held else source
        self._device = device
        self._marks: list[tuple[str, ...]] = []
        self._complete = False

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the batches, on the device.

        Raises
        ------
        InputError
            If a batch is not what it was in the first pass.
        """
        index = -1
        for index, batch in enumerate(self._source if self._held else in_fixed_order(self._source)):
            if not self._held:
                self._compare(index, fingerprint(batch))
            yield to_device(batch, self._device)
        if not self._held and index + 1 != len(self._marks):
            raise InputError(_changed(f"{len(self._marks)} batches, then {index + 1}"))
        self._complete = True

    def _compare(self, index: int, mark: tuple[str, ...]) -> None:
        if not self._complete and index == len(self._marks):
            self._marks.append(mark)
        elif index >= len(self._marks) or mark != self._marks[index]:
            raise InputError(_changed(f"batch {index} is another one"))

    def weight(self, chunk: Any, batch: Any) -> float:
        """Weigh a chunk of a batch; the sum over all is not divided by.

        Parameters
        ----------
        chunk, batch : object
            The chunk, and the batch that it is cut from, which may be the same.

        Returns
        -------
        float
            At least 0.

        Raises
        ------
        InputError
            If rows are wanted and cannot be counted, or a function gives no weight.
        """
        if self.weights == "rows":
            return float(row_count(chunk))
        if self.weights == "sum" or (self.weights == "equal" and chunk is batch):
            return 1.0
        if self.weights == "equal":
            return row_count(chunk) / row_count(batch)
        assert callable(self.weights)
        found = float(self.weights(chunk))
        if not (math.isfinite(found) and found >= 0):
            raise InputError(
                f"weights gave {found} for a batch; expected a number that is 0 or more"
            )
        return found


def in_fixed_order(source: Iterable[Any]) -> Iterator[Any]:
    """Iterate with global random states that depend on the place in the order alone.

    Parameters
    ----------
    source : iterable
        Whose order or items may be drawn from the generators of PyTorch, NumPy and Python, which
        are put back after each item.

    Yields
    ------
    object
        Its items.
    """
    iterator: Iterator[Any] | None = None
    for index in count():
        with isolated(index):
            iterator = iter(source) if iterator is None else iterator
            try:
                item = next(iterator)
            except StopIteration:
                return
        yield item
        del item  # which would live on while the next one is made


def checked_source(batches: Any, name: str = "batches") -> Iterable[Any]:
    """Return what is a source of batches, and refuse what is none.

    Parameters
    ----------
    batches : object
        What was given.
    name : str
        As what.

    Returns
    -------
    iterable
        The same.

    Raises
    ------
    InputError
        With what to give in its place.
    """
    kind = type(batches).__name__
    fault = _no_batch(batches, name)
    if isinstance(batches, Tensor | Mapping | str):
        fault = f"{name} is one {kind}; expected several batches: put it in a list, [batch]"
    elif isinstance(batches, list | tuple) and _looks_like_one(batches):
        fault = f"{name} is a {kind} of tensors, like one batch; put it in a list, [batch]"
    elif not fault and not isinstance(batches, Iterable):
        fault = f"{name} is a {kind}; expected a DataLoader or a list of batches"
    if fault:
        raise InputError(fault)
    source: Iterable[Any] = batches
    return source


def _no_batch(data: Any, name: str) -> str | None:
    """Why these are neither a batch nor batches."""
    if isinstance(data, Iterator):
        return (
            f"{name} is a {type(data).__name__}, which can be gone through only once; give a list "
            "of its batches, or the DataLoader that it comes from"
        )
    if isinstance(data, Dataset):
        return (
            f"{name} is a {type(data).__name__}, whose items are no batches; give "
            "DataLoader(dataset, batch_size=…) as a source of them"
        )
    return None


def _looks_like_one(batches: list[Any] | tuple[Any, ...]) -> bool:
    """Whether these are tensors that can hardly be batches of one kind, as inputs and targets."""
    if not batches or not all(isinstance(part, Tensor) for part in batches):
        return False
    kinds = {(part.dtype, part.shape[1:]) for part in batches}
    return isinstance(batches, tuple) or len(kinds) > 1


def _changed(how: str) -> str:
    return (
        f"the batches changed between two passes ({how}): give a DataLoader with shuffle=False and "
        "without random augmentation, or batches=list(loader), which holds them in memory"
    )
