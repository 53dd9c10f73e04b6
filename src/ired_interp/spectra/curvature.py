"""What the derivative operators share: parameters, chunks of data, kept graphs, ranks, and the determinism check."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from ired_interp.errors import InputError, RunError
from ired_interp.random import stream
from ired_interp.spectra.meter import MemoryMeter
from ired_interp.spectra.operator import SymmetricOperator, Value
from ired_interp.spectra.plan import available
from ired_interp.spectra.vectors import dot, format_bytes, gaussian, norm, parse_bytes

Parameters = nn.Module | Tensor | Mapping[str, Tensor] | Iterable[Tensor]
Graph = tuple[list[Tensor], ...]

_ALLOCATOR = (
    1.4  # resident memory over the live storages: 355 MiB measured where the meter said 256
)


def named_tensors(parameters: Parameters) -> dict[str, Tensor]:
    """Name → tensor of what to differentiate in; a module gives its trainable parameters."""
    named: dict[str, Tensor]
    if isinstance(parameters, nn.Module):
        named = {name: p for name, p in parameters.named_parameters() if p.requires_grad}
    elif isinstance(parameters, Tensor):
        named = {"0": parameters}
    elif isinstance(parameters, Mapping):
        named = dict(parameters)
    else:
        named = {str(i): p for i, p in enumerate(parameters)}
    if not named:
        raise InputError(
            "no parameter to differentiate in; give a module with trainable parameters or some tensors"
        )
    for name, p in named.items():
        if not isinstance(p, Tensor):
            raise InputError(f"parameter {name} is a {type(p).__name__}; expected a tensor")
        if not p.requires_grad:
            raise InputError(
                f"parameter {name} does not require gradients; call .requires_grad_() on it or leave it out"
            )
        if type(p).__name__ == "DTensor":
            raise InputError(
                f"parameter {name} is sharded (DTensor); gather the weights on every rank first"
            )
    kinds = {(p.dtype, p.device) for p in named.values()}
    if len(kinds) > 1:
        raise InputError(
            f"parameters of several kinds {sorted(map(str, kinds))}; expected one dtype on one device"
        )
    return named


def rows(chunk: Any) -> int:
    """Number of rows (length of the first dimension) of a tensor, tuple, list or dict of tensors."""
    parts = (
        chunk.values()
        if isinstance(chunk, Mapping)
        else chunk
        if isinstance(chunk, list | tuple)
        else [chunk]
    )
    lengths = {len(part) for part in parts if isinstance(part, Tensor) and part.ndim}
    if len(lengths) != 1:
        raise InputError(
            f"a chunk of data has tensors of {sorted(lengths)} rows; expected one common number of rows"
        )
    return lengths.pop()


def take(chunk: Any, start: int, stop: int) -> Any:
    """Rows start … stop of a chunk; what is no tensor with rows stays as it is."""
    if isinstance(chunk, Mapping):
        return {key: take(value, start, stop) for key, value in chunk.items()}
    if isinstance(chunk, tuple | list):
        parts = [take(value, start, stop) for value in chunk]
        return type(chunk)(*parts) if hasattr(chunk, "_fields") else type(chunk)(parts)
    return chunk[start:stop] if isinstance(chunk, Tensor) and chunk.ndim else chunk


@contextmanager
def differentiable() -> Iterator[None]:
    """Gradients on, inside Lightning's inference mode too, and attention by the kernel that has a second derivative."""
    with torch.inference_mode(False), torch.enable_grad(), sdpa_kernel([SDPBackend.MATH]):
        yield


class _Draws(TorchDispatchMode):
    """Collects the names of the operations that draw random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.names.add(str(func).removeprefix("aten.").split(".")[0])
        return func(*args, **(kwargs or {}))


class CurvatureOperator(SymmetricOperator):
    """Weighted mean over chunks of a matrix of second-order derivatives; products through graphs that are kept.

    Subclasses say how a graph is built (``_build``) and how a product goes through it (``_apply``).
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
        self.chunks, refusal = batches, ""
        if self.memory is not None:
            try:
                self.chunks = self._split(batches, self.memory)
            except InputError as error:
                refusal = str(error)
        if refusal := self._anyones(refusal):
            raise InputError(refusal)
        counts = [1] if self.without_data else [rows(chunk) for chunk in self.chunks]
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
                "the parameters changed after the first product; make a new operator for the new values"
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
        sizes = [p.numel() for p in self.parameters]
        parts = [
            part.view_as(p)
            for part, p in zip(v.contiguous().split(sizes), self.parameters, strict=True)
        ]
        total: Tensor | None = None
        for index, weight in enumerate(self.weights):
            product = self.flatten(self._apply(self._graph(index), parts))
            product = product.mul_(weight) if weight != 1 else product
            total = product if total is None else total.add_(product)
        return self._sum(torch.zeros_like(v) if total is None else total)

    def flatten(self, parts: Iterable[Tensor]) -> Tensor:
        """One vector (N,) of tensors shaped like the parameters (their gradients, say)."""
        return torch.cat([part.detach().reshape(-1) for part in parts])

    def unflatten(self, v: Tensor) -> dict[str, Tensor]:
        """Parameter name → the piece of the vector (N,) that belongs to it."""
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

    def agree(self, flag: bool) -> bool:
        if self.group is None:
            return flag
        return bool(self._sum(torch.tensor([float(flag)], device=self.device)).item() > 0)

    def _anyones(self, fault: str) -> str:
        """The fault of the first rank that has one, on every rank; "" if none has."""
        if self.group is None:
            return fault
        faults = [""] * dist.get_world_size(self.group)
        dist.all_gather_object(faults, fault, self.group)
        return next(filter(None, faults), "")

    def main(self) -> bool:
        return self.group is None or dist.get_rank(self.group) == 0

    def from_main(self, value: Value) -> Value:
        if self.group is None:
            return value
        box = [value]
        dist.broadcast_object_list(box, group=self.group, device=self.device, group_src=0)
        return box[0]

    def free(self, device: torch.device) -> int:
        found = available(device)
        if self.group is None:
            return found
        if device.type == "cpu":  # which the ranks may have in common
            found //= dist.get_world_size(self.group)
        least = torch.tensor([found], device=self.device)
        dist.all_reduce(least, dist.ReduceOp.MIN, self.group)
        return int(least.item())

    # ---- memory

    def _cost(self, chunk: Any) -> tuple[int, int]:
        """Bytes that a chunk's graph holds, and the most that building it and one product through it take."""
        with differentiable(), MemoryMeter(self.parameters) as meter:
            graph = self._build(chunk)
            held = meter.held
            self._apply(graph, [torch.zeros_like(p) for p in self.parameters])
        return held, int(_ALLOCATOR * meter.peak)

    def _split(self, batches: list[Any], memory: int) -> list[Any]:
        """The batches cut into chunks of rows whose products fit in the memory, by their cost at two sizes."""
        chunks = []
        for batch in batches:
            count = rows(batch)
            few = max(1, min(8, count // 2))
            several = min(2 * few, count)
            small, large = (
                self._cost(take(batch, 0, few))[1],
                self._cost(take(batch, 0, several))[1],
            )
            per_row = max(1.0, (large - small) / (several - few)) if several > few else float(small)
            fixed = max(0.0, small - per_row * few)
            size = int((memory - fixed) / per_row)
            if size < 1:
                raise InputError(
                    f"a product over a single row needs about {format_bytes(fixed + per_row)}, more than the "
                    f"{format_bytes(memory)} allowed; raise memory, use a smaller model or a block of its parameters"
                )
            size = -(-count // -(-count // size))
            chunks += [
                take(batch, start, min(start + size, count)) for start in range(0, count, size)
            ]
        return chunks

    def _affordable(self) -> int:
        """How many chunks' graphs are kept between products: all that fit beside the one being built."""
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
        """Three products over the first chunk: one vector on two freshly built graphs, another one for the symmetry.

        Raises
        ------
        RunError
            If the first two differ, with the cause (random draws, layers in training mode, kernels),
            or if uᵀ(H v) ≠ vᵀ(H u): then some operation in the objective has a wrong higher derivative.
        """
        if self._checked:
            return
        if fault := self._anyones(self._fault() if self.weights else ""):
            raise RunError(fault)
        self._checked = True

    def _fault(self) -> str:
        source = stream("cpu", 0, "determinism")
        u, v = (gaussian(self.shape[0], self.dtype, self.device, source) for _ in range(2))
        with differentiable(), _Draws() as draws:
            fresh = self._build(None if self.without_data else self.chunks[0])
        hv, again, hu = (
            self.flatten(self._apply(graph, list(self.unflatten(w).values())))
            for graph, w in ((self._graph(0), v), (fresh, v), (fresh, u))
        )
        self.matvecs += 3
        if not bool(torch.isfinite(hv).all()):
            return "a product with the curvature is not finite; check the objective for NaN or exploding values"
        scale = max(norm(hv), norm(hu), torch.finfo(self.dtype).tiny)
        limit = torch.finfo(self.dtype).eps ** 0.5
        difference, skewness = norm(hv - again) / scale, abs(dot(u, again) - dot(v, hu)) / scale
        if difference > limit:
            return (
                f"two products of one vector differ by {difference:.1e} of their length, so there is no one matrix to "
                f"decompose; {self._cause(draws.names)}"
            )
        if skewness > limit:
            return (
                f"the curvature is not symmetric (to {skewness:.1e}): some operation has a wrong higher derivative, "
                "as LayerNorm and BatchNorm do in an objective that contains a gradient (pytorch issue 175754); "
                "write that layer in elementary operations"
            )
        return ""

    def _cause(self, draws: set[str]) -> str:
        layers = [
            f"{name} ({type(layer).__name__})"
            for name, layer in (self.module.named_modules() if self.module else ())
            if layer.training
            and not list(layer.children())
            and ("Drop" in type(layer).__name__ or "Norm" in type(layer).__name__)
        ]
        if draws and layers:
            return f"the objective draws random numbers ({', '.join(sorted(draws))}): call .eval() on {', '.join(layers)}"
        if draws:
            return (
                f"the objective draws random numbers ({', '.join(sorted(draws))}): draw the noise once, outside it, or "
                "call .eval() on the model"
            )
        if layers:
            return (
                f"layers in training mode change between calls: call .eval() on {', '.join(layers)}"
            )
        return (
            "it draws no random numbers itself: look for data that change between calls, or set "
            "torch.use_deterministic_algorithms(True)"
        )
