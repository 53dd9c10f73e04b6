"""Generalised Gauss–Newton and Fisher matrices as operators."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ired_interp.errors import InputError
from ired_interp.spectra.batches import Weights
from ired_interp.spectra.curvature import CurvatureOperator, Graph
from ired_interp.spectra.finite_difference import Differences
from ired_interp.spectra.parameters import Parameters
from ired_interp.spectra.pullback import pulled_back
from ired_interp.spectra.remedies import differentiable, in_present_autocast


class GaussNewtonOperator(CurvatureOperator):
    """Generalised Gauss–Newton matrix G = Jᵀ (∂²ℓ/∂z²) J, J = ∂z/∂θ (Schraudolph 2002).

    It is the Hessian without the curvature of z, and positive semidefinite where ℓ is convex. For
    the cross-entropy, and for the squared error up to a factor, it is the Fisher matrix. z may
    itself be a gradient.

    Parameters
    ----------
    outputs : callable
        ``outputs() -> z`` or ``outputs(batch) -> z``, a tensor of any shape that depends on the
        parameters.
    loss : callable
        ``loss(z) -> scalar`` or ``loss(z, batch) -> scalar``.
    parameters, batch, batches, weights, memory, group, dtype
        As in ``HessianOperator``.

    Raises
    ------
    InputError
        At the first product, if the outputs do not depend on the parameters or the loss is no
        scalar; and as ``HessianOperator``.

    References
    ----------
    Schraudolph, "Fast curvature matrix-vector products for second-order gradient descent", Neural
    Computation 14, 2002.

    Examples
    --------
    >>> import torch
    >>> from ired_interp.spectra import GaussNewtonOperator
    >>> w = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> G = GaussNewtonOperator(lambda: w**2, lambda z: z.square().sum() / 2, w)
    >>> G.dense()  # J = diag(2, 4)
    tensor([[ 4.,  0.],
            [ 0., 16.]])
    """

    def __init__(
        self,
        outputs: Callable[..., Tensor],
        loss: Callable[..., Tensor],
        parameters: Parameters,
        *,
        batch: Any = None,
        batches: Iterable[Any] | None = None,
        weights: Weights = "rows",
        memory: int | str | None = None,
        group: dist.ProcessGroup | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.outputs, self.loss = in_present_autocast(outputs), in_present_autocast(loss)
        super().__init__(parameters, batch, batches, weights, memory, group, dtype)

    @differentiable()
    def _build(self, chunk: Any) -> Graph:
        z = self.outputs() if self.without_data else self.outputs(chunk)
        if not isinstance(z, Tensor) or not z.requires_grad:
            raise InputError(
                "the outputs do not depend on the parameters; are they computed under no_grad or "
                "detached?"
            )
        point = z.detach().requires_grad_()
        value = self.loss(point) if self.without_data else self.loss(point, chunk)
        if value.numel() != 1:
            raise InputError(f"the loss returned shape {tuple(value.shape)}; expected a scalar")
        (slope,) = torch.autograd.grad(value.sum(), point, create_graph=True)
        # J v by differentiating the vector-Jacobian product, which is linear in u (Townsend's
        # double-backward trick).
        u = torch.zeros_like(z).requires_grad_()
        pulled = pulled_back([z], [u], self.parameters, create_graph=True)
        return pulled, [u], [point], [slope], [z]

    @differentiable()
    def _apply(self, graph: Graph, parts: list[Tensor]) -> list[Tensor]:
        assert not isinstance(graph, Differences)
        pulled, (u,), (point,), (slope,), (z,) = graph
        linear = [(w, part) for w, part in zip(pulled, parts, strict=True) if w.requires_grad]
        weights, directions = zip(*linear, strict=True)
        (jv,) = pulled_back(weights, directions, [u])
        if not slope.requires_grad:
            return [torch.zeros_like(p) for p in self.parameters]
        (hjv,) = pulled_back([slope], [jv], [point])
        return pulled_back([z], [hjv], self.parameters)


def empirical_fisher(
    losses: Callable[..., Tensor],
    parameters: Parameters,
    *,
    batch: Any = None,
    batches: Iterable[Any] | None = None,
    weights: Weights = "rows",
    memory: int | str | None = None,
    group: dist.ProcessGroup | None = None,
) -> GaussNewtonOperator:
    """Empirical Fisher matrix, the mean over rows of g_i g_iᵀ, g_i = ∂ℓ_i/∂θ.

    Parameters
    ----------
    losses : callable
        ``losses() -> (B,)`` or ``losses(batch) -> (B,)``, one loss a row.
    parameters, batch, batches, weights, memory, group
        As in ``HessianOperator``.

    Returns
    -------
    GaussNewtonOperator
        N×N.

    Examples
    --------
    >>> import torch
    >>> from ired_interp.spectra import empirical_fisher
    >>> w = torch.zeros(2, requires_grad=True)
    >>> x = torch.tensor([[2.0, 0.0], [0.0, 4.0]])
    >>> empirical_fisher(lambda: x @ w, w).dense()  # gradients (2, 0) and (0, 4)
    tensor([[2., 0.],
            [0., 8.]])
    """

    def half_square(values: Tensor, *_: Any) -> Tensor:
        return values.square().sum() / (2 * len(values))

    return GaussNewtonOperator(
        losses,
        half_square,
        parameters,
        batch=batch,
        batches=batches,
        weights=weights,
        memory=memory,
        group=group,
    )
