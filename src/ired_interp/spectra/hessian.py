"""Hessian of any scalar objective in parameters or inputs, as an operator."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ired_interp.errors import InputError
from ired_interp.spectra.batches import Weights
from ired_interp.spectra.curvature import CurvatureOperator, Graph, differentiable
from ired_interp.spectra.parameters import Parameters


class HessianOperator(CurvatureOperator):
    """Hessian H = ∂²f/∂θ² of a scalar objective f.

    The gradient's graph is built once and kept; a product is one backward pass through it, which
    costs 1.9 gradients where building the graph anew costs 3.

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

    Raises
    ------
    InputError
        If parameters, batches or weights are unusable, or two rows do not fit in the memory; at a
        product, if the objective is no scalar or does not depend on the parameters, or if they or
        the batches have changed since the first.

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
    ) -> None:
        self.objective = objective
        super().__init__(parameters, batch, batches, weights, memory, group)

    def _value(self, chunk: Any) -> Tensor:
        return self.objective() if self.without_data else self.objective(chunk)

    def _build(self, chunk: Any) -> Graph:
        value = self._value(chunk)
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
        gradients = torch.autograd.grad(
            value.sum(), self.parameters, create_graph=True, materialize_grads=True
        )
        return (list(gradients),)

    def _apply(self, graph: Graph, parts: list[Tensor]) -> list[Tensor]:
        curved = [(g, part) for g, part in zip(graph[0], parts, strict=True) if g.requires_grad]
        if not curved:
            return [torch.zeros_like(p) for p in self.parameters]
        gradients, directions = zip(*curved, strict=True)
        return list(
            torch.autograd.grad(
                gradients,
                self.parameters,
                grad_outputs=directions,
                retain_graph=True,
                materialize_grads=True,
            )
        )

    def gradient(self) -> Tensor:
        """Gradient of the objective, weighted over data and ranks as the operator is.

        Returns
        -------
        Tensor
            (N,).
        """
        return self._weighted_sum(lambda graph: graph[0])

    def reached(self) -> list[Tensor]:
        """Find the parameters on which the objective depends.

        Returns
        -------
        list of Tensor
            Some of the parameters, in their order.
        """
        with differentiable():
            value = self._value(self._first_chunk())
            gradients = torch.autograd.grad(value.sum(), self.parameters, allow_unused=True)
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
        layers: dict[str, list[str]] = {}
        for name in self.named:
            layers.setdefault(name.rpartition(".")[0] or name, []).append(name)
        return {layer: self._of(names) for layer, names in layers.items()}

    def _of(self, names: list[str]) -> HessianOperator:
        chosen = {name: self.named[name] for name in names}
        return HessianOperator(
            self.objective,
            chosen,
            **self.data,
            memory=self.memory,
            group=self.group,
        )
