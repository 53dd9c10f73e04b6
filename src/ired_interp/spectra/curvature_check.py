"""Whether products are those of a Hessian: one symmetric matrix, the derivative of the gradient."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ired_interp.errors import RunError
from ired_interp.spectra.derivative_check import DerivativeTest, Parts, Scale
from ired_interp.spectra.determinism import (
    Observer,
    cause_of_change,
    cause_of_wrong_derivative,
    change_fault,
    symmetry_fault,
)
from ired_interp.spectra.finite_difference import Differences
from ired_interp.spectra.spectrum import SpectrumWarning
from ired_interp.spectra.vectors import coarsest, gaussian, norm

_CHUNKS = 3  # of data, from the first, on which derivatives are checked
_COARSE = 1e-4  # ε from which on differences are rounding and no more
_SUSPECT = 1 / 8  # of the limit, from which on a run's own vectors make its operator suspect


class Checked(Parts, Protocol):
    """What of an operator is checked."""

    shape: tuple[int, int]
    dtype: torch.dtype
    precision: torch.dtype
    device: torch.device
    module: nn.Module | None
    matvecs: int
    product_error: float

    def source(self, seed: int, *names: int | str) -> torch.Generator:
        """Make a generator of random vectors."""

    def chunks(self) -> Iterator[Any]:
        """Iterate over the chunks of data."""

    def differences(self, chunk: Any) -> Differences | None:
        """Differences of gradients to hold products against, if there are any."""

    def _graph(self, index: int, chunk: Any) -> Any: ...

    def release(self) -> None:
        """Let the kept graphs go."""

    def _apply(self, graph: Any, parts: list[Tensor]) -> list[Tensor]: ...

    def __matmul__(self, v: Tensor) -> Tensor: ...


class CurvatureCheck:
    """A check of products over the first three chunks of data.

    On the first chunk, the gradient is held against that of an earlier call. Where that says
    nothing (draws, gradients that differ or are 0, operators without a gradient), one vector goes
    through two graphs, built one after the other and never alive at once. On each of the three, a
    product is held against differences of gradients, unless half precision blurs them. A product
    with another vector tells whether the first chunk's matrix is symmetric.

    The vector for the differences has the size of each parameter. Where the sizes are alike, the
    start of a run may do as well: if its product agrees with a difference in every parameter's
    rows, and more closely than is asked of the other, no other is taken, and whether the matrix is
    symmetric is left to the run.

    Parameters
    ----------
    operator : Checked
        Of which no graph is kept yet.
    start : Tensor, optional
        (N,) a random vector whose product is needed in any case.

    Attributes
    ----------
    images : list of Tensor
        (N,) each: products of the start over the first chunks.
    leaves_symmetry : bool
        Whether the start's product was enough over the first chunk.
    """

    def __init__(self, operator: Checked, start: Tensor | None) -> None:
        self.operator, self.start = operator, start
        self.scale = Scale(operator)
        self.images: list[Tensor] = []
        self.leaves_symmetry = False
        self._start_serves = start is not None and self.scale.even
        self._image: Tensor | None = None  # of the sized vector under the first chunk's matrix
        self._suspect = ""

    @cached_property
    def _sized(self) -> list[Tensor]:
        return self.scale.parts(self._draw("determinism"))

    @cached_property
    def _other(self) -> Tensor:
        return self._draw("symmetry") if self.start is None else self.start

    def _draw(self, name: str) -> Tensor:
        o = self.operator
        return gaussian(o.shape[0], o.dtype, o.device, o.source(0, name))

    @property
    def _limit(self) -> float:
        eps = torch.finfo(self.operator.precision).eps
        return float(max(eps**0.5, 4 * self.operator.product_error))

    def fault(self) -> str | None:
        """Find whether products are of one symmetric matrix, and the derivatives of gradients.

        Returns
        -------
        str or None
            A sentence: what is wrong, why, and what to do. None if all is well.
        """
        for index, chunk in enumerate(islice(self.operator.chunks(), _CHUNKS)):
            if fault := self._chunk_fault(index, chunk):
                return fault
        if self._image is None:
            return None
        sized = self.operator.flatten(self._sized)
        return self._asymmetry(self._other, sized, self._image, self.images[0])

    def suspects(self, difference: float, size: float) -> bool:
        """Whether two vectors of a run make it likely that the matrix of all data is unsymmetric.

        Parameters
        ----------
        difference : float
            Of uᵀ(H v) and vᵀ(H u).
        size : float
            What they would be were the vectors' signs random.

        Returns
        -------
        bool
            True for values that are not finite, too.
        """
        return not difference <= _SUSPECT * self._limit * size

    def asymmetry(self) -> str | None:
        """Find whether the matrix of all data is symmetric, by two products of its own.

        Returns
        -------
        str or None
            A sentence, as ``fault`` gives it.
        """
        u, v = self._draw("symmetry"), self.operator.flatten(self._sized)
        return self._asymmetry(u, v, self.operator @ v, self.operator @ u)

    def _asymmetry(self, u: Tensor, v: Tensor, hv: Tensor, hu: Tensor) -> str | None:
        return symmetry_fault(u, v, hv, hu, self._limit, self._suspect)

    def _chunk_fault(self, index: int, chunk: Any) -> str | None:
        operator, seen = self.operator, Observer()
        with seen:
            differences = operator.differences(chunk)
        functions = differences.functions if differences else []
        if index == 0:
            self._suspect = cause_of_wrong_derivative(functions)
        eps = torch.finfo(coarsest({operator.precision, *seen.dtypes})).eps
        tested = differences if eps < _COARSE and not seen.draws else None
        if tested and self._start_agrees(index, chunk, tested, eps, seen):
            return None
        test = DerivativeTest(tested, self.scale, self._sized, eps) if tested else None
        if index == 0:
            try:
                images, again = self._two_products(chunk, seen, differences)
            except RunError:
                if not seen.draws:
                    raise
                return f"gradients differ by chance: {cause_of_change(seen.draws, operator.module)}"
            if fault := self._matrix_fault(images, again, seen):
                return fault
            self._image = operator.flatten(images)
            self._multiply_other(chunk)
        elif test:
            images = self._product(operator._graph(index, chunk))
        fault = test.fault(images) if test else None
        if fault and functions:
            return f"{fault}: {cause_of_wrong_derivative(functions)}"
        if fault:
            _warn(
                f"{fault}: the objective holds something fixed in its derivatives that depends on "
                "the parameters (detach, no_grad), or an operation has a wrong second derivative"
            )
        return None

    def _start_agrees(
        self, index: int, chunk: Any, differences: Differences, eps: float, seen: Observer
    ) -> bool:
        """Whether the start's product shows that the chunk's are derivatives of its gradient."""
        operator, start = self.operator, self.start
        if start is None or not self._start_serves:
            return False
        size = self.scale.typical * operator.shape[0] ** 0.5 / norm(start)
        size = 2.0 ** round(math.log2(size))  # so that the image is the start's to the bit
        parts = list(operator.unflatten(size * start).values())
        test = DerivativeTest(differences, self.scale, parts, eps)
        with seen:
            graph = operator._graph(index, chunk)
        images = operator._apply(graph, parts)
        if not (self._same(differences.start, graph[0]) and test.agrees(images)):
            del graph
            operator.release()
            self._start_serves = False
            return False
        operator.precision = coarsest({operator.precision, *seen.dtypes})
        self.images.append(operator.flatten(images).div_(size))
        self.leaves_symmetry = True
        return True

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

    def _multiply_other(self, chunk: Any) -> None:
        """Multiply the other vector by the first chunk's matrix; the start counts once, in all."""
        operator = self.operator
        operator.matvecs += self.start is None
        parts = list(operator.unflatten(self._other).values())
        self.images = [operator.flatten(operator._apply(operator._graph(0, chunk), parts))]

    def _matrix_fault(
        self, images: list[Tensor], again: list[Tensor], seen: Observer
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
        cause = cause_of_change(seen.draws, self.operator.module)
        hv, hv_again = self.scale.joined(images), self.scale.joined(again)
        return change_fault(hv, hv_again, self._limit, cause)


def _warn(sentence: str) -> None:
    warnings.warn(sentence, SpectrumWarning, stacklevel=7)
