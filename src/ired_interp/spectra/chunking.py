"""How many chunks each batch is cut into, what they weigh, and whose graphs are kept."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import reduce
from itertools import islice
from typing import Any, Protocol

import torch
from torch import Tensor

from ired_interp.errors import InputError
from ired_interp.spectra.batches import Batches
from ired_interp.spectra.cuts import chunks, fitting_rows, shuffled_chunks
from ired_interp.spectra.meter import OverLimitError
from ired_interp.spectra.plan import available_memory
from ired_interp.spectra.structure import join_rows, row_count, take_rows, tensors
from ired_interp.spectra.vectors import format_bytes, norm

# What a loss may raise that expects the whole of a batch.
_OF_A_PART = RuntimeError, ValueError, IndexError, TypeError


class Curvature(Protocol):
    """What is known of an operator before its chunks are."""

    precision: torch.dtype

    def measure(self, chunk: Any, limit: int | None = None) -> tuple[int, int]:
        """Bytes that a chunk's graph holds, and that it and a product take at most.

        Raises
        ------
        OverLimitError
            If they are more than the limit.
        """

    def probe(self, chunk: Any) -> Tensor:
        """Product of a chunk's matrix and a fixed random vector."""


@dataclass
class Chunking:
    """Chunks of all batches.

    Attributes
    ----------
    counts : list of int
        Chunks of each batch.
    weights : list of float
        Of each chunk, before the sum over all is divided by.
    held, peaks : list of int
        Bytes of each chunk's graph, and of it and a product; where memory is limited.
    note : str
        Why a batch is kept whole although it does not fit; else empty.
    """

    counts: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)
    note: str = ""

    def kept(self, memory: int | None, *, single: bool) -> int:
        """How many graphs are kept, from the first: all that fit beside one that is built.

        Parameters
        ----------
        memory : int, optional
            Bytes; without it, the graph of a single batch is kept and of several none.
        single : bool
            Whether there is one batch.

        Returns
        -------
        int
            Graphs.
        """
        if memory is None:
            return int(single)
        if len(self.held) < 2:
            return len(self.held)
        work = max(p - h for p, h in zip(self.peaks, self.held, strict=True))
        if sum(self.held) + work <= memory:
            return len(self.held)
        room, count = memory - max(self.peaks), 0
        while room >= self.held[count]:
            room -= self.held[count]
            count += 1
        return count

    def sentence(self, memory: int | None, kept: int) -> str:
        """How a product is computed and what it keeps in memory.

        Parameters
        ----------
        memory : int, optional
            Bytes.
        kept : int
            Graphs.

        Returns
        -------
        str
            One sentence.
        """
        limit = "no memory limit" if memory is None else f"at most {format_bytes(memory)}"
        return (
            f"{len(self.counts)} batches in {len(self.weights)} chunks per product, {kept} of "
            f"their graphs kept ({limit}){self.note and '; ' + self.note}"
        )


def plan_chunks(
    batches: Batches, curvature: Curvature, memory: int | None, *, alone: bool
) -> Chunking:
    """Go once through the batches and decide how each is cut.

    Parameters
    ----------
    batches : Batches
        All of them.
    curvature : Curvature
        By which costs are measured.
    memory : int, optional
        Bytes that a chunk's graph and a product may take; without it, no batch is cut.
    alone : bool
        Whether these are one batch, which need not be weighed if it is left whole.

    Returns
    -------
    Chunking
        Of all batches.

    Raises
    ------
    InputError
        If a batch does not fit, neither cut nor whole.
    """
    plan = Chunking()
    counts: dict[tuple[Any, ...], tuple[int, str]] = {}
    costs: dict[tuple[Any, ...], tuple[int, int]] = {}
    for batch in batches:
        count = 1
        if memory is not None:
            shapes = tuple((t.shape, t.dtype) for t in tensors(batch))
            if shapes not in counts or not shapes:
                counts[shapes] = _count(batch, curvature, memory)
            count, fault = counts[shapes]
            if count > 1:
                cuts = chunks(batch, count), shuffled_chunks(batch, count)
                fault = _disagreement(cuts, batch, batches, curvature)
            count = 1 if fault else count
            if (shapes, count) not in costs or not shapes:
                costs[shapes, count] = _cost(batch, count, curvature, fault, memory)
            held, peak = costs[shapes, count]
            if fault and not plan.note:
                plan.note = (
                    f"{fault}, so that it is not cut to fit memory={format_bytes(memory)}: a "
                    f"product over it takes {format_bytes(peak)}"
                )
            plan.held += [held] * count
            plan.peaks += [peak] * count
        plan.counts.append(count)
        weighed = [1.0] if alone and count == 1 else None
        plan.weights += weighed or [batches.weight(c, batch) for c in chunks(batch, count)]
    return plan


def weights_fault(batches: Batches, plan: Chunking, curvature: Curvature) -> str:
    """Find why weights by rows do not make the loss of all data, by half of two batches.

    Parameters
    ----------
    batches : Batches
        All of them.
    plan : Chunking
        Of them.
    curvature : Curvature
        Of the loss.

    Returns
    -------
    str
        A sentence; empty if they do, or if there is one batch or weights are others.
    """
    if len(plan.counts) < 2 or batches.weights != "rows":
        return ""
    first, second = islice(batches, 2)
    parts = [take_rows(batch, slice(0, -(-row_count(batch) // 2))) for batch in (first, second)]
    joined = join_rows(*parts)
    if joined is None:
        fault = _disagreement(([first], shuffled_chunks(first, 2)), first, batches, curvature)
    else:
        fault = _disagreement(([joined], parts), joined, batches, curvature)
    return fault and (
        f"{fault}; the batches are weighted by their rows, which does not make the loss of all "
        "data at once: give as weights a function that counts what a batch's loss averages over "
        "(tokens, say), or 'equal' for the mean of the batches' losses"
    )


def _count(batch: Any, curvature: Curvature, memory: int) -> tuple[int, str]:
    """Count the chunks into which a batch must be cut to fit, or say why it cannot be.

    Raises
    ------
    InputError
        If not even two rows fit.
    OutOfMemoryError
        Of a device.
    """

    def cost(rows: Any) -> float:
        try:
            return curvature.measure(rows, memory)[1]
        except OverLimitError:
            return math.inf

    try:
        rows = row_count(batch)
        fits = fitting_rows(batch, memory, cost)
    except torch.OutOfMemoryError:
        raise
    except _OF_A_PART as error:
        return 1, "" if cost(batch) <= memory else _impossible(error)
    least = min(2, rows)  # chunks of one row each are the same ones however they are cut
    if fits < least:
        raise InputError(
            f"a product over {least} row{'s' * (least > 1)} needs more than the "
            f"{format_bytes(memory)} allowed; raise memory, use a smaller model or a block of its "
            "parameters"
        )
    return -(-rows // fits), ""


def _impossible(error: Exception) -> str:
    if isinstance(error, InputError):
        return "the rows of a batch cannot be counted"
    return f"the loss of a part of a batch cannot be computed ({type(error).__name__}: {error})"


def _cost(batch: Any, count: int, curvature: Curvature, fault: str, memory: int) -> tuple[int, int]:
    limit = available_memory(next(tensors(batch)).device) if fault else None
    try:
        return curvature.measure(next(chunks(batch, count)), limit)
    except OverLimitError:
        raise InputError(
            f"{fault}, so that it cannot be cut to fit memory={format_bytes(memory)}, and whole it "
            f"takes more than the {format_bytes(limit or 0)} that are free; give smaller batches"
        ) from None


def _disagreement(
    cuts: Iterable[Iterable[Any]], batch: Any, batches: Batches, curvature: Curvature
) -> str:
    """Say how products over a batch cut in two ways differ, in a sentence or not at all.

    Raises
    ------
    OutOfMemoryError
        Of a device.
    """
    sums: list[Tensor] = []
    try:
        for cut in cuts:
            parts = (curvature.probe(c).mul_(batches.weight(c, batch)) for c in cut)
            sums.append(reduce(torch.add, parts))
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        return (
            f"this loss cannot be computed on a part of a batch ({type(error).__name__}: {error})"
        )
    first, second = sums
    difference = norm(first - second) / max(norm(first), torch.finfo(first.dtype).tiny)
    if difference <= torch.finfo(curvature.precision).eps ** 0.5:
        return ""
    return (
        "this loss is no mean over the rows of a batch, as masked means, sums, BatchNorm in "
        "training mode and losses that compare rows are none (products over some rows, cut in two "
        f"ways, differ by {difference:.1e} of their length)"
    )
