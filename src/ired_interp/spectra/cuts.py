"""Batches cut by rows, so that the graph of each chunk fits a limit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch

from ired_interp.random import stream
from ired_interp.spectra.structure import row_count, take_rows

Cost = Callable[[Any], float]
_START = 8


def chunks(batch: Any, count: int) -> Iterator[Any]:
    """Cut a batch into chunks of consecutive rows.

    Parameters
    ----------
    batch : object
        The batch.
    count : int
        Chunks; 1 leaves it as it is.

    Yields
    ------
    object
        Of the batch's structure.
    """
    if count == 1:
        yield batch
        return
    rows = row_count(batch)
    size = -(-rows // count)
    for start in range(0, rows, size):
        yield take_rows(batch, slice(start, start + size))


def shuffled_chunks(batch: Any, count: int) -> Iterator[Any]:
    """Cut a batch in another way: rows in random order, the first chunk half as large.

    Parameters
    ----------
    batch : object
        The batch.
    count : int
        Of ``chunks``; here it is one more.

    Yields
    ------
    object
        Of the batch's structure.
    """
    rows = row_count(batch)
    size = -(-rows // count)
    order = torch.randperm(rows, generator=stream("cpu", 0, "cut"))
    start, stop = 0, max(1, size // 2)
    while start < rows:
        yield take_rows(batch, order[start:stop])
        start, stop = stop, stop + size


def fitting_rows(batch: Any, limit: int, cost: Cost) -> int:
    """Find how many rows of a batch fit, by measurement at growing sizes.

    Parameters
    ----------
    batch : object
        Whose rows can be counted.
    limit : int
        Bytes.
    cost : callable
        Some rows → bytes that their graph and a product take, infinite beyond the limit.

    Returns
    -------
    int
        Rows, all of them at most; 0 if not one fits.
    """
    rows = row_count(batch)

    def measured(size: int) -> float:
        return cost(batch if size == rows else take_rows(batch, slice(0, size)))

    fits = min(_START, rows)
    while fits and (taken := measured(fits)) > limit:
        fits //= 2
    smaller, less = 0, 0.0
    while 0 < fits < rows:
        per_row = (taken - less) / (fits - smaller)
        room = fits + int((limit - taken) / per_row) if per_row > 0 else rows
        wanted = min(2 * fits, room, rows)
        if wanted <= fits or not math.isfinite(more := measured(wanted)):
            break
        smaller, less, fits, taken = fits, taken, wanted, more
    return fits
