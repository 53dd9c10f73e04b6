"""Whether products are those of a Hessian: one symmetric matrix, the derivative of the gradient."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ired_interp.errors import RunError
from ired_interp.spectra.determinism import (
    Observer,
    cause_of_change,
    cause_of_wrong_derivative,
    product_fault,
)
from ired_interp.spectra.finite_difference import Differences
from ired_interp.spectra.sharding import whole
from ired_interp.spectra.spectrum import SpectrumWarning
from ired_interp.spectra.vectors import coarsest, gaussian, norm

_CHUNKS = 3  # of data, from the first, on which derivatives are checked
_STEPS = (1.0, 1 / 8, 1 / 64)  # in units of ε^(1/3) times the size of each parameter
_TOLERANCE = 32.0  # in units of √ε
_SETTLED = 4.0  # how much better two differences must agree with each other than with the product
_COARSE = 1e-4  # ε from which on differences are rounding and no more


class Checked(Protocol):
    """What of an operator is checked."""

    shape: tuple[int, int]
    dtype: torch.dtype
    precision: torch.dtype
    device: torch.device
    parameters: list[Tensor]
    module: nn.Module | None
    matvecs: int
    product_error: float

    def source(self, seed: int, *names: int | str) -> torch.Generator:
        """Make a generator of random vectors."""

    def chunks(self) -> Iterator[Any]:
        """Iterate over the chunks of data."""

    def flatten(self, parts: Iterable[Tensor]) -> Tensor:
        """Join tensors shaped like the parameters to one vector."""

    def unflatten(self, v: Tensor) -> dict[str, Tensor]:
        """Cut a vector into pieces shaped like the parameters."""

    def differences(self, chunk: Any) -> Differences | None:
        """Differences of gradients to hold products against, if there are any."""

    def _graph(self, index: int, chunk: Any) -> Any: ...

    def release(self) -> None:
        """Let the kept graphs go."""

    def _apply(self, graph: Any, parts: list[Tensor]) -> list[Tensor]: ...


class Scale:
    """Vectors in units of each parameter's size, its root mean square.

    Where that is 0, it is the mean of the others, or 1.

    Parameters
    ----------
    operator : Checked
        Of the parameters.
    """

    def __init__(self, operator: Checked) -> None:
        self.operator = operator
        squares = [whole(p.detach().double().square().mean()) for p in operator.parameters]
        sizes = torch.stack(squares).sqrt().tolist()
        others = [size for size in sizes if size > 0] or [1.0]
        self._sizes = [size if size > 0 else sum(others) / len(others) for size in sizes]

    def parts(self, vector: Tensor) -> list[Tensor]:
        """Cut a vector into pieces shaped like the parameters, each times its size."""
        pieces = self.operator.unflatten(vector).values()
        return [part * size for part, size in zip(pieces, self._sizes, strict=True)]

    def joined(self, parts: Iterable[Tensor]) -> Tensor:
        """Join tensors shaped like the parameters to a vector, each times its size."""
        return self.operator.flatten(
            part * size for part, size in zip(parts, self._sizes, strict=True)
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
    direction : Tensor
        (N,) standard normal.
    eps : float
        ε of the arithmetic.
    """

    def __init__(
        self, differences: Differences, scale: Scale, direction: Tensor, eps: float
    ) -> None:
        self._differences, self._scale, self._direction = differences, scale, direction
        self._eps = eps
        self._first = self._difference(_STEPS[0])

    def _difference(self, step: float) -> Tensor:
        unit: float = self._eps ** (1 / 3)
        return self._scale.joined(
            self._differences.product(self._scale.parts(self._direction), step * unit)
        )

    def fault(self, product: Tensor) -> str | None:
        """Say what is wrong with a product.

        Parameters
        ----------
        product : Tensor
            (N,) in the same units.

        Returns
        -------
        str or None
            How far it is from the differences, in half a sentence; None if it passes.
        """
        larger: Tensor | None = None
        for step in _STEPS:
            difference = self._first if larger is None else self._difference(step)
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


def curvature_fault(operator: Checked) -> str | None:
    """Check products over the first three chunks of data.

    On the first chunk, two vectors go through one graph, whose gradient is held against that of an
    earlier call. Where that says nothing (draws, gradients that differ or are 0, operators without
    a gradient), one vector goes through two graphs, built one after the other and never alive at
    once. On each of the three, a product is held against differences of gradients, unless half
    precision blurs them.

    Parameters
    ----------
    operator : Checked
        Of which no graph is kept yet.

    Returns
    -------
    str or None
        A sentence: what is wrong, why, and what to do. None if all is well.
    """
    check = _Check(operator)
    for index, chunk in enumerate(islice(operator.chunks(), _CHUNKS)):
        if fault := check.fault(index, chunk):
            return fault
    return None


class _Check:
    def __init__(self, operator: Checked) -> None:
        self.operator, self.scale = operator, Scale(operator)
        source = operator.source(0, "determinism")
        self.u, self.v = (
            gaussian(operator.shape[0], operator.dtype, operator.device, source) for _ in range(2)
        )

    def fault(self, index: int, chunk: Any) -> str | None:
        operator, seen = self.operator, Observer()
        with seen:
            differences = operator.differences(chunk)
        functions = differences.functions if differences else []
        eps = torch.finfo(coarsest({operator.precision, *seen.dtypes})).eps
        test = None
        if differences and eps < _COARSE and not seen.draws:
            test = DerivativeTest(differences, self.scale, self.v, eps)
        if index == 0:
            try:
                hv, again, hu = self._three_products(chunk, seen, differences)
            except RunError:
                if not seen.draws:
                    raise
                return f"gradients differ by chance: {cause_of_change(seen.draws, operator.module)}"
            if fault := self._matrix_fault(hv, again, hu, seen, functions):
                return fault
        elif test:
            hv = self._product(operator._graph(index, chunk), self.v)
        fault = test.fault(hv) if test else None
        if fault and functions:
            return f"{fault}: {cause_of_wrong_derivative(functions)}"
        if fault:
            _warn(
                f"{fault}: the objective holds something fixed in its derivatives that depends on "
                "the parameters (detach, no_grad), or an operation has a wrong second derivative"
            )
        return None

    def _three_products(
        self, chunk: Any, seen: Observer, differences: Differences | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """H v, H v again, and H u.

        The second is through another graph, built after the first has gone, unless the gradient has
        shown already that the objective is the same at every call.
        """
        operator = self.operator
        with seen:
            graph = operator._graph(0, chunk)
        hv = again = self._product(graph, self.v)
        if not differences or seen.draws or not self._same(differences.start, graph[0]):
            del graph
            operator.release()
            graph = operator._graph(0, chunk)
            again = self._product(graph, self.v)
        return hv, again, self._product(graph, self.u)

    def _same(self, once: list[Tensor], again: list[Tensor]) -> bool:
        """Whether two gradients agree, and say something: at a minimum they are 0 whatever else."""
        first, second = self.operator.flatten(once), self.operator.flatten(again)
        limit: float = torch.finfo(first.dtype).eps ** 0.5
        return norm(first - second) < limit * norm(first)

    def _product(self, graph: Any, vector: Tensor) -> Tensor:
        self.operator.matvecs += 1
        return self.scale.joined(self.operator._apply(graph, self.scale.parts(vector)))

    def _matrix_fault(
        self, hv: Tensor, again: Tensor, hu: Tensor, seen: Observer, functions: list[str]
    ) -> str | None:
        """Whether there is one symmetric matrix."""
        precision = coarsest({self.operator.precision, *seen.dtypes})
        self.operator.precision, eps = precision, torch.finfo(precision).eps
        if eps >= _COARSE:
            _warn(
                f"products pass through {precision} (autocast, or parameters of that dtype) and "
                f"err by about {eps:.1g} of their length; where tol is smaller, evaluate the "
                "objective in float32"
            )
        limit = max(eps**0.5, 4 * self.operator.product_error)
        cause = cause_of_change(seen.draws, self.operator.module)
        suspect = cause_of_wrong_derivative(functions)
        return product_fault(self.u, self.v, hv, again, hu, limit, cause, suspect)


def _warn(sentence: str) -> None:
    warnings.warn(sentence, SpectrumWarning, stacklevel=7)
