"""Hessian of any scalar objective in parameters or inputs, as an operator."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from ired_interp.errors import InputError
from ired_interp.spectra.batches import Weights
from ired_interp.spectra.curvature import CurvatureOperator, Graph
from ired_interp.spectra.finite_difference import Differences, length, settled_step
from ired_interp.spectra.layers import layers_of
from ired_interp.spectra.parameters import Parameters
from ired_interp.spectra.pullback import pulled_back
from ired_interp.spectra.remedies import differentiable, first_derivatives, in_present_autocast
from ired_interp.spectra.twins import short_derivatives
from ired_interp.spectra.vectors import gaussian

Product = Literal["autograd", "finite_difference"]


class HessianOperator(CurvatureOperator):
    """Hessian H = ∂²f/∂θ² of a scalar objective f.

    The gradient's graph is built once and kept; a product is one backward pass through it, which
    costs about two thirds of one that builds the graph anew (1.9 gradients in place of 3 where
    second derivatives are as fast as first ones).

    Parameters
    ----------
    objective : callable
        ``objective() -> scalar``, or ``objective(batch) -> scalar`` when data are given. It must
        not draw random numbers.
    parameters : Module, Tensor, mapping of names to tensors, or iterable of tensors
        What to differentiate in, N numbers in all; of a module, its trainable parameters. Inputs
        work as well.
    batch : object, optional
        One batch of any structure: tensors in tuples, lists, mappings and dataclasses, or an object
        with ``to(device)``. It is moved to the parameters' device.
    batches : iterable, optional
        Of batches, in place of one: a list, a DataLoader, whatever can be gone through again and
        again. The operator is Σ_b w_b H_b. Batches come one at a time and are not held. Every pass
        sees the same global random states, so that a shuffling DataLoader gives one order; batches
        that differ all the same are refused.
    weights : {"rows", "equal", "sum"} or callable
        What w_b is. "rows": the batch's share of all rows, for a mean over rows. A callable: the
        share of ``weights(batch)``, a number, for a mean over something else (tokens, pixels,
        nodes), which makes the operator that of all data at once. "equal": one over the number of
        batches, the mean of their losses. "sum": 1, for a loss that is a sum.
    memory : int or str, optional
        Limit for graphs and the temporaries of a product, in bytes or as "2GiB". Batches that do
        not fit are cut into chunks of rows that do, by measurement, and as many graphs are kept as
        fit; the others are rebuilt for every product. A batch is cut only if two ways to cut it
        agree on a random vector; else, or if rows cannot be counted, it is kept whole with a
        warning, if that fits in what is free. Without a limit no batch is cut, and the graph of a
        single one is kept; of several, one graph is alive at a time.
    group : torch.distributed.ProcessGroup, optional
        Each rank gives its own share of the data; products are summed over the group, so that
        every rank holds the same result as one process with all data. Start vectors come from a
        seed and are equal on all ranks.
    dtype : torch.dtype, optional
        Of vectors, float32 or float64; float64 where a parameter has that, else float32, also for
        parameters in half precision.
    product : {"autograd", "finite_difference"}
        "finite_difference" asks for first derivatives only: a product is a central difference of
        two gradients, on the piece of piecewise smooth functions at hand. The step is the one,
        among steps 8 apart around ε^(1/3) ‖θ‖, whose products of a random vector and of its image
        change least; ``product_error`` then holds by how much, relative to their length. Parameters
        sharded by FSDP (``fully_shard``) are taken so, without a group: the gradient is the mean
        over ranks that FSDP forms, and every rank has whole vectors.

    Raises
    ------
    InputError
        If parameters, batches or weights are unusable, or two rows do not fit in the memory; at a
        product, if the objective is no scalar or does not depend on the parameters, if they or the
        batches have changed since the first, or if an operation has no second derivative.
    RunError
        At a product by finite differences, if no two steps agree to 5 %.

    References
    ----------
    Pearlmutter, "Fast exact multiplication by the Hessian", Neural Computation 6, 1994.

    Examples
    --------
    >>> import torch
    >>> from ired_interp.spectra import HessianOperator
    >>> w = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> H = HessianOperator(lambda: w[0] ** 2 * w[1], w)
    >>> H @ torch.tensor([1.0, 0.0])
    tensor([4., 2.])
    >>> H.gradient()
    tensor([4., 1.])
    """

    def __init__(
        self,
        objective: Callable[..., Tensor],
        parameters: Parameters,
        *,
        batch: Any = None,
        batches: Iterable[Any] | None = None,
        weights: Weights = "rows",
        memory: int | str | None = None,
        group: dist.ProcessGroup | None = None,
        dtype: torch.dtype | None = None,
        product: Product = "autograd",
    ) -> None:
        if product not in ("autograd", "finite_difference"):
            raise InputError(f"product is {product!r}; expected 'autograd' or 'finite_difference'")
        self.objective, self.product = in_present_autocast(objective), product
        self.by_differences = product == "finite_difference"
        self._step: float | None = None
        super().__init__(parameters, batch, batches, weights, memory, group, dtype)

    def _value(self, chunk: Any) -> Tensor:
        value = self.objective() if self.without_data else self.objective(chunk)
        if not isinstance(value, Tensor) or value.numel() != 1:
            found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise InputError(
                f"the objective returned {found}; expected a scalar: take the mean or the sum over "
                "rows"
            )
        if not value.requires_grad:
            raise InputError(
                "the objective does not depend on the parameters; is it computed under no_grad or "
                "detached?"
            )
        return value.sum()

    def differences(self, chunk: Any) -> Differences | None:
        """Gradients over a chunk, to hold products of second derivatives against.

        Parameters
        ----------
        chunk : object
            A batch or a part of one.

        Returns
        -------
        Differences or None
            None where products are such differences themselves.
        """
        if self.by_differences:
            return None
        return Differences(lambda: self._value(chunk), self.parameters, differentiable)

    def _build(self, chunk: Any) -> Graph:
        if self.by_differences:
            return Differences(lambda: self._value(chunk), self.parameters, first_derivatives)
        return self._gradient_graph(chunk)

    @differentiable()
    @short_derivatives()
    def _gradient_graph(self, chunk: Any) -> Graph:
        value = self._value(chunk)
        gradients = torch.autograd.grad(
            value, self.parameters, create_graph=True, materialize_grads=True
        )
        return (list(gradients),)

    def _apply(self, graph: Graph, parts: list[Tensor]) -> list[Tensor]:
        if isinstance(graph, Differences):
            return self._difference(graph, parts)
        return self._second_derivatives(graph[0], parts)

    def _difference(self, graph: Differences, parts: list[Tensor]) -> list[Tensor]:
        size = length(parts)
        if not size:
            return [torch.zeros_like(p) for p in parts]
        if self._step is None:
            random = gaussian(self.shape[0], self.dtype, self.device, self.source(0, "step"))
            direction = list(self.unflatten(random).values())
            self._step, self.product_error = settled_step(graph, self.parameters, direction)
        return graph.product(parts, self._step / size)

    @differentiable()
    @short_derivatives()
    def _second_derivatives(self, slopes: list[Tensor], parts: list[Tensor]) -> list[Tensor]:
        curved = [(g, part) for g, part in zip(slopes, parts, strict=True) if g.requires_grad]
        if not curved:
            return [torch.zeros_like(p) for p in self.parameters]
        outputs, vectors = zip(*curved, strict=True)
        return pulled_back(outputs, vectors, self.parameters)

    def gradient(self) -> Tensor:
        """Gradient of the objective, weighted over data and ranks as the operator is.

        Returns
        -------
        Tensor
            (N,).
        """
        return self._weighted_sum(
            lambda graph: graph.gradient() if isinstance(graph, Differences) else graph[0]
        )

    def reached(self) -> list[Tensor]:
        """Find the parameters on which the objective depends.

        Returns
        -------
        list of Tensor
            Some of the parameters, in their order.
        """
        with differentiable():
            value = self._value(next(self.chunks()))
            gradients = torch.autograd.grad(value, self.parameters, allow_unused=True)
        return [p for p, g in zip(self.parameters, gradients, strict=True) if g is not None]

    def block(self, *prefixes: str) -> HessianOperator:
        """Diagonal block of the parameters whose names begin with one of the prefixes.

        Parameters
        ----------
        *prefixes : str
            "fc2.", say.

        Returns
        -------
        HessianOperator
            Of the block.

        Raises
        ------
        InputError
            If no parameter's name begins so.
        """
        chosen = [name for name in self.named if name.startswith(prefixes)]
        if not chosen:
            raise InputError(
                f"no parameter begins with {prefixes}; there are {', '.join(self.named)}"
            )
        return self._of(chosen)

    def layers(self) -> dict[str, HessianOperator]:
        """Diagonal blocks of all layers.

        Returns
        -------
        dict
            Layer name → operator; parameters fc2.weight and fc2.bias make the layer fc2.
        """
        return {layer: self._of(names) for layer, names in layers_of(self.named).items()}

    def _of(self, names: list[str]) -> HessianOperator:
        chosen = {name: self.named[name] for name in names}
        return HessianOperator(
            self.objective,
            chosen,
            **self.data,
            memory=self.memory,
            group=self.group,
            dtype=self.dtype,
            product=self.product,
        )
