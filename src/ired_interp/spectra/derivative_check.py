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
    change_fault,
    symmetry_fault,
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


class CurvatureCheck:
    """A check of products over the first three chunks of data.

    On the first chunk, the gradient is held against that of an earlier call. Where that says
    nothing (draws, gradients that differ or are 0, operators without a gradient), one vector goes
    through two graphs, built one after the other and never alive at once. On each of the three, a
    product is held against differences of gradients, unless half precision blurs them. At last a
    product with another vector tells whether the first chunk's matrix is symmetric.

    Parameters
    ----------
    operator : Checked
        Of which no graph is kept yet.
    """

    def __init__(self, operator: Checked) -> None:
        self.operator, self.scale = operator, Scale(operator)
        v = gaussian(
            operator.shape[0],
            operator.dtype,
            operator.device,
            operator.source(0, "determinism"),
        )
        self._v, self._sized = v, self.scale.parts(v)
        self._image = v  # of the sized vector under the first chunk's matrix, once it is known
        self._limit, self._suspect = 0.0, ""

    def fault(self) -> str | None:
        """Find whether products are of one matrix, and the derivatives of gradients.

        Returns
        -------
        str or None
            A sentence: what is wrong, why, and what to do. None if all is well.
        """
        for index, chunk in enumerate(islice(self.operator.chunks(), _CHUNKS)):
            if fault := self._chunk_fault(index, chunk):
                return fault
        return None

    def asymmetry(self, u: Tensor, image: Tensor) -> str | None:
        """Find whether the first chunk's matrix is symmetric, once there is no other fault.

        Parameters
        ----------
        u, image : Tensor
            (N,) a random vector and its product over the first chunk.

        Returns
        -------
        str or None
            A sentence, as ``fault`` gives it.
        """
        v = self.operator.flatten(self._sized)
        return symmetry_fault(u, v, self._image, image, self._limit, self._suspect)

    def _chunk_fault(self, index: int, chunk: Any) -> str | None:
        operator, seen = self.operator, Observer()
        with seen:
            differences = operator.differences(chunk)
        functions = differences.functions if differences else []
        eps = torch.finfo(coarsest({operator.precision, *seen.dtypes})).eps
        test = None
        if differences and eps < _COARSE and not seen.draws:
            test = DerivativeTest(differences, self.scale, self._v, eps)
        if index == 0:
            try:
                images, again = self._two_products(chunk, seen, differences)
            except RunError:
                if not seen.draws:
                    raise
                return f"gradients differ by chance: {cause_of_change(seen.draws, operator.module)}"
            if fault := self._matrix_fault(images, again, seen, functions):
                return fault
        elif test:
            images = self._product(operator._graph(index, chunk))
        fault = test.fault(self.scale.joined(images)) if test else None
        if fault and functions:
            return f"{fault}: {cause_of_wrong_derivative(functions)}"
        if fault:
            _warn(
                f"{fault}: the objective holds something fixed in its derivatives that depends on "
                "the parameters (detach, no_grad), or an operation has a wrong second derivative"
            )
        return None

    def _two_products(
        self, chunk: Any, seen: Observer, differences: Differences | None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """H v, and H v again.

        The second is through another graph, built after the first has gone, unless the gradient has
        shown already that the objective is the same at every call.
        """
        operator = self.operator
        with seen:
            graph = operator._graph(0, chunk)
        images = again = self._product(graph)
        if not differences or seen.draws or not self._same(differences.start, graph[0]):
            del graph
            operator.release()
            again = self._product(operator._graph(0, chunk))
        return images, again

    def _same(self, once: list[Tensor], again: list[Tensor]) -> bool:
        """Whether two gradients agree, and say something: at a minimum they are 0 whatever else."""
        first, second = self.operator.flatten(once), self.operator.flatten(again)
        limit: float = torch.finfo(first.dtype).eps ** 0.5
        return norm(first - second) < limit * norm(first)

    def _product(self, graph: Any) -> list[Tensor]:
        self.operator.matvecs += 1
        return self.operator._apply(graph, self._sized)

    def _matrix_fault(
        self, images: list[Tensor], again: list[Tensor], seen: Observer, functions: list[str]
    ) -> str | None:
        """Whether there is one matrix."""
        precision = coarsest({self.operator.precision, *seen.dtypes})
        self.operator.precision, eps = precision, torch.finfo(precision).eps
        if eps >= _COARSE:
            _warn(
                f"products pass through {precision} (autocast, or parameters of that dtype) and "
                f"err by about {eps:.1g} of their length; where tol is smaller, evaluate the "
                "objective in float32"
            )
        self._limit = max(eps**0.5, 4 * self.operator.product_error)
        self._suspect = cause_of_wrong_derivative(functions)
        self._image = self.operator.flatten(images)
        cause = cause_of_change(seen.draws, self.operator.module)
        hv, hv_again = self.scale.joined(images), self.scale.joined(again)
        return change_fault(hv, hv_again, self._limit, cause)


def _warn(sentence: str) -> None:
    warnings.warn(sentence, SpectrumWarning, stacklevel=7)
