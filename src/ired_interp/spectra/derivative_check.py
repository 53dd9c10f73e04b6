"""Whether products are derivatives of a gradient: they are held against differences of it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor

from ired_interp.spectra.finite_difference import Differences
from ired_interp.spectra.sharding import whole
from ired_interp.spectra.vectors import inner, norm

_STEPS = (1.0, 1 / 8, 1 / 64)  # in units of ε^(1/3) times the size of each parameter
_TOLERANCE = 32.0  # in units of √ε
_SETTLED = 4.0  # how much better two differences must agree with each other than with the product
# A product along another direction than one of the parameters' sizes has less in it of what large
# parameters alone would show. It does as well where it is this much closer to a difference, in
# every parameter's rows or beside a share of all.
_STRICTER, _SHARE = 16.0, 1 / 16
_EVEN = 64.0  # how much larger or smaller than most a parameter may be for that


class Parts(Protocol):
    """Vectors that are the entries of parameters, one after the other."""

    parameters: list[Tensor]

    def flatten(self, parts: Iterable[Tensor]) -> Tensor:
        """Join tensors shaped like the parameters to one vector."""

    def unflatten(self, v: Tensor) -> dict[str, Tensor]:
        """Cut a vector into pieces shaped like the parameters."""


class Scale:
    """Vectors in units of each parameter's size, its root mean square.

    Where that is 0, it is the mean of the others, or 1.

    Parameters
    ----------
    operator : Parts
        Of the parameters.

    Attributes
    ----------
    sizes : list of float
        Of the parameters.
    typical : float
        Geometric mean of the sizes, each as often as its parameter has entries.
    """

    def __init__(self, operator: Parts) -> None:
        self.operator = operator
        squares = [whole(p.detach().double().square().mean()) for p in operator.parameters]
        sizes = torch.stack(squares).sqrt().tolist()
        others = [size for size in sizes if size > 0] or [1.0]
        self.sizes: list[float] = [
            size if size > 0 else sum(others) / len(others) for size in sizes
        ]
        entries = [p.numel() for p in operator.parameters]
        logarithms = (n * math.log(size) for n, size in zip(entries, self.sizes, strict=True))
        self.typical = math.exp(math.fsum(logarithms) / sum(entries))

    @property
    def even(self) -> bool:
        """Whether no size is 64 times as large or small as the typical one."""
        ratios = [size / self.typical for size in self.sizes]
        return max(ratios) < _EVEN and min(ratios) > 1 / _EVEN

    def parts(self, vector: Tensor) -> list[Tensor]:
        """Cut a vector into pieces shaped like the parameters, each times its size."""
        pieces = self.operator.unflatten(vector).values()
        return [part * size for part, size in zip(pieces, self.sizes, strict=True)]

    def joined(self, parts: Iterable[Tensor]) -> Tensor:
        """Join tensors shaped like the parameters to a vector, each times its size."""
        return self.operator.flatten(
            part * size for part, size in zip(parts, self.sizes, strict=True)
        )


class DerivativeTest:
    """One product held against central differences of gradients.

    The steps are 1, 1/8 and 1/64 of ε^(1/3) for parameters of size 1: 0.5 % in float32. The product
    passes if it is within 32 √ε (1.1 % in float32, 5e-7 in float64) of one difference. It is wrong
    if it is not and two differences agree four times better with each other than with it. Where
    curvature or rounding keeps differences from settling they prove nothing, and it passes.

    Parameters
    ----------
    differences : Differences
        Of a chunk's gradients.
    scale : Scale
        Units.
    direction : list of Tensor
        Shaped like the parameters, of the size of theirs.
    eps : float
        ε of the arithmetic.
    """

    def __init__(
        self, differences: Differences, scale: Scale, direction: list[Tensor], eps: float
    ) -> None:
        self._differences, self._scale, self._direction = differences, scale, direction
        self._eps = eps
        self._first = self._difference(_STEPS[0])

    def _difference(self, step: float) -> list[Tensor]:
        return self._differences.product(self._direction, step * self._eps ** (1 / 3))

    def agrees(self, product: list[Tensor]) -> bool:
        """Whether every parameter's rows agree with a difference, more closely than is asked.

        Parameters
        ----------
        product : list of Tensor
            Shaped like the parameters.

        Returns
        -------
        bool
            False proves nothing.
        """
        sizes, limit = torch.tensor(self._scale.sizes), _TOLERANCE / _STRICTER * self._eps**0.5
        for step in _STEPS[:2]:
            difference, squares = self._first if step == 1 else self._difference(step), []
            for found, expected in zip(product, difference, strict=True):
                a, b = found.reshape(-1), expected.reshape(-1)
                squares.append(torch.stack([inner(c, c) for c in (a - b, b)]))
            apart, rows = (torch.stack(squares).sqrt().cpu() * sizes[:, None]).unbind(1)
            near = apart <= limit * rows.clamp(min=_SHARE * float(rows.norm()))
            if bool(near.all()) and self._differences.on_piece:
                return True
        return False

    def fault(self, images: list[Tensor]) -> str | None:
        """Say what is wrong with a product.

        Parameters
        ----------
        images : list of Tensor
            The product, shaped like the parameters.

        Returns
        -------
        str or None
            How far it is from the differences, in half a sentence; None if it passes.
        """
        larger: Tensor | None = None
        product = self._scale.joined(images)
        for step in _STEPS:
            parts = self._first if larger is None else self._difference(step)
            difference = self._scale.joined(parts)
            length = max(norm(difference), norm(product), torch.finfo(product.dtype).tiny)
            distance = norm(difference - product) / length
            if distance <= _TOLERANCE * self._eps**0.5 or not self._differences.on_piece:
                return None
            if larger is not None and distance > _SETTLED * norm(difference - larger) / length:
                return (
                    f"a product differs from a difference of gradients by {distance:.1e} of its "
                    "length"
                )
            larger = difference
        return None
