"""Central differences of gradients: products where second derivatives do not exist, and a check."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from ired_interp.errors import RunError
from ired_interp.spectra.causes import custom_functions
from ired_interp.spectra.pieces import Pieces
from ired_interp.spectra.sharding import is_sharded, placed_as, whole

_STEPS = tuple(8.0**i for i in (1, 0, -1, -2, -3))  # tried, in units of ε^(1/3) ‖θ‖ / ‖v‖
_LIMIT = 0.05  # of a product's length, by which two steps may differ at best


class Differences:
    """Products Hv ≈ (g(θ + hv) − g(θ − hv)) / 2h with the gradient g of a scalar.

    The scalar is held on the piece on which it is at θ (``Pieces``), so that kinks of ReLUs and
    maxima, which have no share in H, have none in the differences.

    Parameters
    ----------
    value : callable
        The scalar at what the parameters hold.
    parameters : list of Tensor
        θ.
    context : callable
        Makes the context in which gradients are taken.

    Attributes
    ----------
    functions : list of str
        Custom autograd functions behind the scalar.
    start : list of Tensor
        The gradient at θ.
    """

    def __init__(
        self,
        value: Callable[[], Tensor],
        parameters: list[Tensor],
        context: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._value, self._parameters, self._context = value, parameters, context
        self._pieces = Pieces()
        with context(), self._pieces:
            found = value()
            self.functions = custom_functions(found)
            self.start = self._slopes(found)

    def _slopes(self, value: Tensor) -> list[Tensor]:
        if any(map(is_sharded, self._parameters)):
            return _gathered_slopes(value, self._parameters)
        return list(torch.autograd.grad(value, self._parameters, materialize_grads=True))

    def gradient(self) -> list[Tensor]:
        """Take the gradient at what the parameters hold.

        Returns
        -------
        list of Tensor
            Shaped like the parameters.
        """
        with self._context(), self._pieces.again():
            return self._slopes(self._value())

    def product(self, direction: list[Tensor], step: float) -> list[Tensor]:
        """Take the difference of two gradients.

        The parameters are written to, past autograd, and hold their very bits again afterwards.

        Parameters
        ----------
        direction : list of Tensor
            v, shaped like the parameters.
        step : float
            h.

        Returns
        -------
        list of Tensor
            Hv, up to h²/6 times the third derivative along v, and the gradient's rounding over h.
        """
        kept = [p.detach().clone() for p in self._parameters]
        direction = [placed_as(p, v) for p, v in zip(self._parameters, direction, strict=True)]
        try:
            ends = []
            for h in (step, -step):
                for p, start, part in zip(self._parameters, kept, direction, strict=True):
                    p.data.copy_(torch.add(start, part, alpha=h))
                ends.append(self.gradient())
        finally:
            for p, start in zip(self._parameters, kept, strict=True):
                p.data.copy_(start)
        return [(plus - minus).div_(2 * step) for plus, minus in zip(*ends, strict=True)]

    @property
    def on_piece(self) -> bool:
        """Whether all runs were on the piece of the first."""
        return self._pieces.kept


def _gathered_slopes(value: Tensor, parameters: list[Tensor]) -> list[Tensor]:
    """Take gradients that sharding forms in ``.grad`` alone, whole; what was there is put back."""
    before = [p.grad for p in parameters]
    for p in parameters:
        p.grad = None
    try:
        value.backward()
        return [
            torch.zeros(p.shape, dtype=p.dtype, device=p.device)
            if p.grad is None
            else whole(p.grad)
            for p in parameters
        ]
    finally:
        for p, gradient in zip(parameters, before, strict=True):
            p.grad = gradient


def length(parts: list[Tensor]) -> float:
    """Euclidean norm of all parts together.

    Parameters
    ----------
    parts : list of Tensor
        Of any shapes.

    Returns
    -------
    float
        At least 0.
    """
    squares = (whole(p.detach().double().square().sum()) for p in parts)
    return math.sqrt(sum(float(square) for square in squares))


def settled_step(
    differences: Differences, parameters: list[Tensor], direction: list[Tensor]
) -> tuple[float, float]:
    """Find the step at which products of unit vectors depend on it least.

    It is tried on a random direction and on its image, which leans to the largest eigenvalues.

    Parameters
    ----------
    differences : Differences
        Of some data.
    parameters : list of Tensor
        θ.
    direction : list of Tensor
        Random.

    Returns
    -------
    tuple of float
        The step for a vector of length 1, and by how much, relative to their length, products with
        a step 2.8 times larger and smaller differ.

    Raises
    ------
    RunError
        If no two steps agree to 5 %.
    """
    eps = max(torch.finfo(p.dtype).eps for p in parameters)
    unit = eps ** (1 / 3) * (length(parameters) or 1.0)
    disagreement = [0.0] * (len(_STEPS) - 1)
    for _ in range(2):
        size = length(direction) or 1.0
        direction = [part / size for part in direction]
        larger: list[Tensor] = []
        for i, step in enumerate(_STEPS):
            product = differences.product(direction, unit * step)
            if larger:
                apart = length([a - b for a, b in zip(larger, product, strict=True)])
                scale = max(length(larger), length(product)) or 1.0
                disagreement[i - 1] = max(disagreement[i - 1], apart / scale)
            larger = product
            if step == 1:
                image = product
        direction = image
    best = min(range(len(disagreement)), key=disagreement.__getitem__)
    if not disagreement[best] <= _LIMIT:
        raise RunError(
            f"products by finite differences differ by {disagreement[best]:.0%} between two steps "
            "at best, so that none can be trusted; evaluate the objective in float32 or float64 "
            "without autocast"
        )
    return unit * (_STEPS[best] * _STEPS[best + 1]) ** 0.5, disagreement[best]
