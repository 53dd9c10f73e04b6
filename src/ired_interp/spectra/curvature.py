"""The operator that Hessian and Gauss–Newton share: chunks of data, kept graphs, ranks, a check."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from itertools import chain, islice, repeat
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ired_interp.errors import InputError
from ired_interp.spectra.batches import Batches, Weights
from ired_interp.spectra.chunking import Chunking, plan_chunks, weights_fault
from ired_interp.spectra.curvature_check import CurvatureCheck
from ired_interp.spectra.cuts import chunks
from ired_interp.spectra.determinism import Observer
from ired_interp.spectra.fingerprint import Fingerprint
from ired_interp.spectra.finite_difference import Differences
from ired_interp.spectra.meter import resident
from ired_interp.spectra.parameter_operator import ParameterOperator
from ired_interp.spectra.parameters import Parameters, named_tensors
from ired_interp.spectra.replay import Replay
from ired_interp.spectra.spectrum import SpectrumWarning
from ired_interp.spectra.vectors import coarsest, gaussian, parse_bytes

Graph = tuple[list[Tensor], ...] | Differences
OfGraph = Callable[[Graph], list[Tensor]]


class CurvatureOperator(ParameterOperator):
    """Weighted mean over chunks of a matrix of second-order derivatives, through kept graphs.

    Subclasses say how a graph is built (``_build``) and how a product goes through it (``_apply``).

    Parameters
    ----------
    parameters, batch, batches, weights, memory, group, dtype
        As in ``HessianOperator``.

    Raises
    ------
    InputError
        As ``HessianOperator``.
    """

    by_differences = False  # whether products are differences of gradients

    def __init__(
        self,
        parameters: Parameters,
        batch: Any = None,
        batches: Iterable[Any] | None = None,
        weights: Weights = "rows",
        memory: int | str | None = None,
        group: dist.ProcessGroup | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(named_tensors(parameters, sharded=self.by_differences), group, dtype)
        self.module = parameters if isinstance(parameters, nn.Module) else None
        self.memory = None if memory is None else parse_bytes(memory)
        self.without_data = batch is None and batches is None
        self._kept: dict[int, Graph] = {}
        self._replay = Replay(self.device)
        self._fingerprint: Fingerprint | None = None
        self.product_error = 0.0
        self._checked = False
        self._unsettled: CurvatureCheck | None = None  # as to whether the matrix is symmetric
        self.data = {"batch": batch, "batches": batches, "weights": weights}
        self._plan, refusal = Chunking([1], [1.0]), None
        self._keep = 1
        try:
            self._batches = Batches(batch, batches, weights, self.device)
            if not self.without_data:
                self._plan = plan_chunks(
                    self._batches, self, self.memory, alone=batches is None and group is None
                )
                self._keep = self._plan.kept(self.memory, single=batches is None)
        except InputError as error:
            refusal = str(error)
        if refusal := self.first_of_ranks(refusal):
            raise InputError(refusal)
        if self._plan.note:
            warnings.warn(self._plan.note, SpectrumWarning, stacklevel=3)
        total = torch.tensor([sum(self._plan.weights)], device=self.device, dtype=torch.float64)
        whole = 1.0 if weights == "sum" else self._sum(total).item()
        if not whole or not (self._plan.weights or self.group):
            raise InputError("there are no batches, or they weigh nothing; expected at least one")
        self.weights = [weight / whole for weight in self._plan.weights]

    def _build(self, chunk: Any) -> Graph:
        raise NotImplementedError

    def _apply(self, graph: Graph, parts: list[Tensor]) -> list[Tensor]:
        raise NotImplementedError

    # ---- products

    def chunks(self) -> Iterator[Any]:
        """Iterate over the chunks of data; without data, over one None.

        Yields
        ------
        object
            A batch or a part of one.
        """
        if self.without_data:
            yield None
            return
        counts = iter(self._plan.counts)
        for batch in self._batches:
            yield from chunks(batch, next(counts))

    def differences(self, chunk: Any) -> Differences | None:
        """Gradients over a chunk whose differences should equal products, if there are any.

        Parameters
        ----------
        chunk : object
            A batch or a part of one.

        Returns
        -------
        Differences or None
            None where products are no derivatives of a gradient.
        """
        return None

    def _graph(self, index: int, chunk: Any) -> Graph:
        if index in self._kept:
            return self._kept[index]
        if index >= self._keep:
            return self._build(chunk)
        with nullcontext() if self.by_differences else self._replay.beside():
            self._kept[index] = self._build(chunk)
        return self._kept[index]

    def _weighted_sum(self, function: OfGraph) -> Tensor:
        """Sum over chunks and ranks of what a function gives for their graphs, one at a time."""
        self._expect_same_parameters()
        return self._sum(self._local_sum(function))

    def _local_sum(self, function: OfGraph, known: Sequence[Tensor] = ()) -> Tensor:
        total: Tensor | None = None
        data = repeat(None, len(self.weights)) if self._all_kept else self.chunks()
        deque(islice(data, len(known)), 0)
        others = range(len(known), len(self.weights))
        new = (self.flatten(function(self._graph(index, next(data)))) for index in others)
        for weight, part in zip(self.weights, chain(known, new), strict=True):
            part = part.mul_(weight) if weight != 1 else part
            total = part if total is None else total.add_(part)
        deque(data, 0)  # past the end, where another batch would be refused
        if total is None:
            total = torch.zeros(self.shape[0], dtype=self.dtype, device=self.device)
        return total

    @property
    def _all_kept(self) -> bool:
        return len(self._kept) == len(self.weights)

    def _expect_same_parameters(self, bits: bool = True) -> None:
        if self._fingerprint is None:
            self._fingerprint = Fingerprint(self.named)
        else:
            self._fingerprint.expect_same(bits)

    def _product(self, v: Tensor) -> Tensor:
        v = v.clone() if v.is_inference() else v
        self._expect_same_parameters(bits=False)
        replayable = self._all_kept and not self.by_differences
        (product,) = self._replay(self._local_product, (v.contiguous(),), replayable)
        return self._sum(product.clone() if self._replay.recorded else product)

    def _local_product(self, v: Tensor, known: Sequence[Tensor] = ()) -> tuple[Tensor]:
        parts = list(self.unflatten(v).values())
        return (self._local_sum(lambda graph: self._apply(graph, parts), known),)

    def confirm(self) -> None:
        """Raise if a parameter was written to since the first product.

        Raises
        ------
        InputError
            If one was, with its name.
        """
        self._expect_same_parameters()

    # ---- memory

    def measure(self, chunk: Any, limit: int | None = None) -> tuple[int, int]:
        """Measure what a chunk takes.

        Parameters
        ----------
        chunk : object
            A batch or a part of one.
        limit : int, optional
            Bytes, beyond which the measurement ends.

        Returns
        -------
        tuple of int
            Bytes that its graph holds, and the most that it and one product take.

        Raises
        ------
        OverLimitError
            At the limit.
        """
        return resident(
            lambda: self._build(chunk),
            lambda graph: self.flatten(
                self._apply(graph, [torch.ones_like(p) for p in self.parameters])
            ),
            self.parameters,
            limit,
        )

    def probe(self, chunk: Any) -> Tensor:
        """Multiply a fixed random vector by the matrix of a chunk.

        Parameters
        ----------
        chunk : object
            A batch or a part of one.

        Returns
        -------
        Tensor
            (N,).
        """
        v = gaussian(self.shape[0], self.dtype, self.device, self.source(0, "probe"))
        with Observer() as seen:
            product = self._apply(self._build(chunk), list(self.unflatten(v).values()))
        self.precision = coarsest({self.precision, *seen.dtypes})
        return self.flatten(product)

    def release(self) -> None:
        """Let the kept graphs go; the next product builds them anew."""
        self._kept.clear()
        self._replay = Replay(self.device)

    @property
    def plan(self) -> str:
        """How a product is computed and what it keeps in memory, in a sentence."""
        kept = (
            "one graph, kept" if self.without_data else self._plan.sentence(self.memory, self._keep)
        )
        return kept + self._replay.note

    # ---- check

    def check(self, start: Tensor | None = None) -> Tensor | None:
        """Check by the first three chunks that products are of one matrix, a gradient's derivative.

        Parameters
        ----------
        start : Tensor, optional
            (N,) a random vector, the first of a run that gives ``expect_symmetric`` its second: the
            check may take its product, over all chunks, for one of its own.

        Returns
        -------
        Tensor or None
            (N,) the product, if a start was given and there was anything left to check.

        Raises
        ------
        InputError
            If something in the objective has no second derivatives, with its name and the remedy.
        RunError
            If two products of one vector differ, with the cause (draws, training mode, kernels), if
            uᵀ(H v) ≠ vᵀ(H u), or if a custom function's derivative is no difference of gradients.
        """
        if self._checked:
            if start is None:
                self.expect_symmetric(float("inf"), 0.0)
            return None
        self._expect_same_parameters()
        self.release()
        check, product = CurvatureCheck(self, start), None
        self.expect_no_fault(check.fault)
        if start is not None:
            self.matvecs += 1
            product = self._sum(*self._local_product(start, check.images))
        if fault := weights_fault(self._batches, self._plan, self):
            warnings.warn(fault, SpectrumWarning, stacklevel=3)
        self._checked = True
        self._unsettled = check if self.any_rank(check.leaves_symmetry) else None
        return product

    def expect_symmetric(self, difference: float, size: float) -> None:
        """Raise if a run's first two vectors show what the check has left to them: asymmetry."""
        check, self._unsettled = self._unsettled, None
        if check is not None and self.any_rank(check.suspects(difference, size)):
            self.expect_no_fault(check.asymmetry)
