"""The operator that Hessian and Gauss–Newton share: chunks of data, kept graphs, ranks, a check."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ired_interp.errors import InputError, RunError
from ired_interp.random import stream
from ired_interp.spectra.chunks import row_count, slice_rows
from ired_interp.spectra.determinism import RandomDraws, cause_of_change, product_fault
from ired_interp.spectra.meter import MemoryMeter
from ired_interp.spectra.operator import SymmetricOperator, Value
from ired_interp.spectra.parameters import Parameters, named_tensors
from ired_interp.spectra.plan import available_memory
from ired_interp.spectra.vectors import format_bytes, gaussian, parse_bytes

Graph = tuple[list[Tensor], ...]

# Resident memory over the live storages: 355 MiB measured where the meter said 256.
_ALLOCATOR = 1.4


@contextmanager
def differentiable() -> Iterator[None]:
    """Second derivatives on.

    Inside Lightning's inference mode too, and attention by the kernel that has them.

    Yields
    ------
    None
        While they are on.
    """
    with torch.inference_mode(False), torch.enable_grad(), sdpa_kernel([SDPBackend.MATH]):
        yield


class CurvatureOperator(SymmetricOperator):
    """Weighted mean over chunks of a matrix of second-order derivatives, through kept graphs.

    Subclasses say how a graph is built (``_build``) and how a product goes through it (``_apply``).

    Parameters
    ----------
    parameters, data, memory, reduction, group
        As in ``HessianOperator``.

    Raises
    ------
    InputError
        If parameters, data or reduction are unusable, or a single row does not fit in the memory.
    """

    def __init__(
        self,
        parameters: Parameters,
        data: Any = None,
        memory: int | str | None = None,
        reduction: str = "mean",
        group: dist.ProcessGroup | None = None,
    ) -> None:
        if reduction not in ("mean", "sum"):
            raise InputError(f"reduction is {reduction!r}; expected 'mean' or 'sum'")
        self.named = named_tensors(parameters)
        self.parameters = list(self.named.values())
        self.module = parameters if isinstance(parameters, nn.Module) else None
        first = self.parameters[0]
        super().__init__(sum(p.numel() for p in self.parameters), first.dtype, first.device)
        self.group, self.reduction = group, reduction
        self.without_data = data is None
        batches = [] if data is None else data if isinstance(data, list) else [data]
        if data is not None and not batches and group is None:
            raise InputError("data is an empty list; expected at least one chunk")
        self.memory = None if memory is None else parse_bytes(memory)
        self.chunks, refusal = batches, None
        if self.memory is not None:
            try:
                self.chunks = self._split(batches, self.memory)
            except InputError as error:
                refusal = str(error)
        if refusal := self._first_of_ranks(refusal):
            raise InputError(refusal)
        counts = [1] if self.without_data else [row_count(chunk) for chunk in self.chunks]
        total = self._sum(
            torch.tensor([float(sum(counts))], device=self.device, dtype=torch.float64)
        ).item()
        self.weights = [count / total if reduction == "mean" else 1.0 for count in counts]
        self._kept: dict[int, Graph] = {}
        self._versions: list[int] = []
        self._keep = self._affordable()
        self._checked = False

    def _build(self, chunk: Any) -> Graph:
        raise NotImplementedError

    def _apply(self, graph: Graph, parts: list[Tensor]) -> list[Tensor]:
        raise NotImplementedError

    # ---- products

    def _graph(self, index: int) -> Graph:
        versions = [p._version for p in self.parameters]
        if self._kept and versions != self._versions:
            raise InputError(
                "the parameters changed after the first product; make a new operator for the new "
                "values"
            )
        self._versions = versions
        if index in self._kept:
            return self._kept[index]
        with differentiable():
            graph = self._build(None if self.without_data else self.chunks[index])
        if index < self._keep:
            self._kept[index] = graph
        return graph

    def _product(self, v: Tensor) -> Tensor:
        v = v.clone() if v.is_inference() else v
        parts = list(self.unflatten(v.contiguous()).values())
        total: Tensor | None = None
        for index, weight in enumerate(self.weights):
            product = self.flatten(self._apply(self._graph(index), parts))
            product = product.mul_(weight) if weight != 1 else product
            total = product if total is None else total.add_(product)
        return self._sum(torch.zeros_like(v) if total is None else total)

    def flatten(self, parts: Iterable[Tensor]) -> Tensor:
        """Join tensors shaped like the parameters (their gradients, say) to one vector.

        Parameters
        ----------
        parts : iterable of Tensor
            One for each parameter.

        Returns
        -------
        Tensor
            (N,).
        """
        return torch.cat([part.detach().reshape(-1) for part in parts])

    def unflatten(self, v: Tensor) -> dict[str, Tensor]:
        """Cut a vector into pieces shaped like the parameters.

        Parameters
        ----------
        v : Tensor
            (N,).

        Returns
        -------
        dict
            Parameter name → its piece, a view.
        """
        sizes = [p.numel() for p in self.parameters]
        return {
            n: part.view_as(p)
            for (n, p), part in zip(self.named.items(), v.split(sizes), strict=True)
        }

    # ---- ranks

    def _sum(self, tensor: Tensor) -> Tensor:
        if self.group is not None:
            dist.all_reduce(tensor, group=self.group)
        return tensor

    def any_rank(self, flag: bool) -> bool:
        """Whether the flag is true on any rank of the group."""
        if self.group is None:
            return flag
        return bool(self._sum(torch.tensor([float(flag)], device=self.device)).item() > 0)

    def _first_of_ranks(self, fault: str | None) -> str | None:
        """Tell every rank the fault of the first one that has any."""
        if self.group is None:
            return fault
        faults: list[str | None] = [None] * dist.get_world_size(self.group)
        dist.all_gather_object(faults, fault, self.group)
        return next(filter(None, faults), None)

    def is_rank_zero(self) -> bool:
        """Whether this is the first rank of the group."""
        return self.group is None or dist.get_rank(self.group) == 0

    def broadcast(self, value: Value) -> Value:
        """Send the first rank's value to all of the group."""
        if self.group is None:
            return value
        box = [value]
        dist.broadcast_object_list(box, group=self.group, device=self.device, group_src=0)
        return box[0]

    def available_memory(self, device: torch.device) -> int:
        """Bytes that every rank of the group can take on a device."""
        found = available_memory(device)
        if self.group is None:
            return found
        if device.type == "cpu":  # which the ranks may have in common
            found //= dist.get_world_size(self.group)
        least = torch.tensor([found], device=self.device)
        dist.all_reduce(least, dist.ReduceOp.MIN, self.group)
        return int(least.item())

    # ---- memory

    def _cost(self, chunk: Any) -> tuple[int, int]:
        """Bytes that a chunk's graph holds, and the most that it and one product take."""
        with differentiable(), MemoryMeter(self.parameters) as meter:
            graph = self._build(chunk)
            held = meter.held
            self._apply(graph, [torch.zeros_like(p) for p in self.parameters])
        return held, int(_ALLOCATOR * meter.peak)

    def _split(self, batches: list[Any], memory: int) -> list[Any]:
        """Cut the batches into chunks of rows that fit, by their cost at two sizes.

        Raises
        ------
        InputError
            If a single row does not fit.
        """
        chunks = []
        for batch in batches:
            count = row_count(batch)
            few = max(1, min(8, count // 2))
            several = min(2 * few, count)
            small, large = (self._cost(slice_rows(batch, 0, n))[1] for n in (few, several))
            per_row = max(1.0, (large - small) / (several - few)) if several > few else float(small)
            fixed = max(0.0, small - per_row * few)
            size = int((memory - fixed) / per_row)
            if size < 1:
                raise InputError(
                    f"a product over a single row needs about {format_bytes(fixed + per_row)}, "
                    f"more than the {format_bytes(memory)} allowed; raise memory, use a smaller "
                    "model or a block of its parameters"
                )
            size = -(-count // -(-count // size))
            chunks += [
                slice_rows(batch, start, min(start + size, count))
                for start in range(0, count, size)
            ]
        return chunks

    def _affordable(self) -> int:
        """How many chunks' graphs are kept: all that fit beside the one being built."""
        if self.memory is None or self.without_data or not self.chunks:
            return len(self.weights)
        held, peak = self._cost(self.chunks[0])
        return min(
            len(self.chunks), int((self.memory - peak) / max(1, held)) + (len(self.chunks) == 1)
        )

    @property
    def plan(self) -> str:
        """One sentence: how a product is computed and what it keeps in memory."""
        kept = min(self._keep, len(self.weights))
        limit = "no memory limit" if self.memory is None else f"at most {format_bytes(self.memory)}"
        return f"{len(self.weights)} chunks per product, {kept} of their graphs kept ({limit})"

    # ---- determinism

    def check(self) -> None:
        """Check by three products that the objective has one symmetric matrix.

        They go over the first chunk: one vector on two freshly built graphs, another one for the
        symmetry.

        Raises
        ------
        RunError
            If the first two differ, with the cause (random draws, layers in training mode,
            kernels), or if uᵀ(H v) ≠ vᵀ(H u): then some operation in the objective has a wrong
            higher derivative.
        """
        if self._checked:
            return
        if fault := self._first_of_ranks(self._fault() if self.weights else None):
            raise RunError(fault)
        self._checked = True

    def _fault(self) -> str | None:
        source = stream("cpu", 0, "determinism")
        u, v = (gaussian(self.shape[0], self.dtype, self.device, source) for _ in range(2))
        with differentiable(), RandomDraws() as draws:
            fresh = self._build(None if self.without_data else self.chunks[0])
        hv, again, hu = (
            self.flatten(self._apply(graph, list(self.unflatten(w).values())))
            for graph, w in ((self._graph(0), v), (fresh, v), (fresh, u))
        )
        self.matvecs += 3
        cause = cause_of_change(draws.names, self.module)
        return product_fault(u, v, hv, again, hu, cause)
