"""One batch of any structure: its tensors, its rows, its place on a device."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ired_interp.errors import InputError


def tensors(batch: Any) -> Iterator[Tensor]:
    """Iterate over the tensors of a batch, in a fixed order.

    Parameters
    ----------
    batch : object
        A tensor; a tuple, named tuple, list, mapping or dataclass of such; or an object with
        ``to_dict``, as graph batches have it.

    Yields
    ------
    Tensor
        Each one.
    """
    if isinstance(batch, Tensor):
        yield batch
    elif (parts := _parts(batch)) is not None:
        for part in parts.values():
            yield from tensors(part)
    elif callable(getattr(batch, "to_dict", None)):
        yield from tensors(batch.to_dict())


def row_count(batch: Any) -> int:
    """Count the rows, the common length of the first dimension of all tensors.

    Parameters
    ----------
    batch : object
        A batch or a part of one.

    Returns
    -------
    int
        Rows.

    Raises
    ------
    InputError
        If its tensors have different numbers of rows or none, or are out of sight.
    """
    lengths: set[int] = set()
    opaque: set[str] = set()
    _visit(batch, lengths, opaque)
    if opaque or len(lengths) != 1:
        found = (
            f"it holds a {', '.join(sorted(opaque))}"
            if opaque
            else f"its tensors have {sorted(lengths)} of them"
        )
        raise InputError(
            f"the rows of a batch cannot be counted: {found}; give weights='equal', or as weights "
            "a function of a batch that counts what the loss averages over"
        )
    return lengths.pop()


def take_rows(batch: Any, rows: slice | Tensor) -> Any:
    """Take some rows of a batch.

    Parameters
    ----------
    batch : object
        Whose rows can be counted.
    rows : slice or Tensor
        Which ones.

    Returns
    -------
    object
        Of the same structure; what is no tensor with rows stays as it is.
    """
    return _mapped(batch, lambda t: t[rows] if t.ndim else t)


def join_rows(batch: Any, other: Any) -> Any:
    """Put the rows of two batches of one structure together.

    Parameters
    ----------
    batch, other : object
        Whose rows can be counted.

    Returns
    -------
    object
        Of the structure of the first, whose parts without rows it has; None if shapes do not fit.
    """
    first, second = list(tensors(batch)), list(tensors(other))
    if [(t.ndim, t.shape[1:]) for t in first] != [(t.ndim, t.shape[1:]) for t in second]:
        return None
    pairs = zip(first, second, strict=True)
    joined = iter([torch.cat(pair) if pair[0].ndim else pair[0] for pair in pairs])
    return _mapped(batch, lambda _: next(joined))


def to_device(batch: Any, device: torch.device) -> Any:
    """Move a batch; the one given stays where it is.

    Parameters
    ----------
    batch : object
        Tensors in any structure; an object with a ``to`` of its own is moved by that.
    device : torch.device
        Where to.

    Returns
    -------
    object
        Of the same structure; what is on the device already is not copied.
    """
    if all(t.device == device for t in tensors(batch)):
        return batch
    return _mapped(batch, lambda t: t.to(device), device)


def fingerprint(batch: Any) -> tuple[str, ...]:
    """Describe a batch's tensors by shape and by a checksum that knows their order.

    Parameters
    ----------
    batch : object
        The batch.

    Returns
    -------
    tuple of str
        One for each tensor; equal for equal batches.
    """
    marks = []
    for t in tensors(batch):
        values = torch.view_as_real(t.detach()) if t.is_complex() else t.detach()
        rows = values.reshape(len(t) if t.ndim and t.numel() else 1, -1).sum(1, dtype=torch.float64)
        place = torch.arange(1, len(rows) + 1, dtype=torch.float64, device=rows.device)
        marks.append(f"{tuple(t.shape)} {float(rows @ place).hex()}")
    return tuple(marks)


def _parts(batch: Any) -> dict[Any, Any] | None:
    """Tell what a container holds, by key; None of anything else."""
    if isinstance(batch, Mapping):
        return dict(batch)
    if isinstance(batch, list | tuple):
        return dict(enumerate(batch))
    if dataclasses.is_dataclass(batch):
        return {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}
    return None


def _mapped(
    batch: Any, function: Callable[[Tensor], Tensor], device: torch.device | None = None
) -> Any:
    if isinstance(batch, Tensor):
        return function(batch)
    if device is not None and callable(getattr(batch, "to", None)):
        return copy.copy(batch).to(device)  # a copy, since some move themselves
    parts = _parts(batch)
    if parts is None:
        return batch
    mapped = {key: _mapped(part, function, device) for key, part in parts.items()}
    if isinstance(batch, list | tuple):
        values = list(mapped.values())
        return type(batch)(*values) if hasattr(batch, "_fields") else type(batch)(values)
    result = copy.copy(batch)
    for key, part in mapped.items():
        if isinstance(batch, Mapping):
            result[key] = part
        else:
            object.__setattr__(result, key, part)  # of a frozen dataclass, too
    return result


def _visit(batch: Any, lengths: set[int], opaque: set[str]) -> None:
    parts = _parts(batch)
    if isinstance(batch, Tensor):
        lengths.update({len(batch)} if batch.ndim else ())
    elif parts is not None:
        for part in parts.values():
            _visit(part, lengths, opaque)
    elif callable(getattr(batch, "to", None)):
        opaque.add(type(batch).__name__)
