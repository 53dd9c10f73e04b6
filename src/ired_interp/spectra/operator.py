"""Symmetric linear operators: the interface of all solvers, and two without derivatives."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from ired_interp.errors import InputError
from ired_interp.random import stream
from ired_interp.spectra.plan import available_memory

Value = TypeVar("Value")


class SymmetricOperator:
    """A symmetric N×N matrix A known by its products with vectors.

    Subclasses implement ``_product``. An operator whose products are summed over the ranks of a
    process group also overrides ``any_rank``, ``is_rank_zero``, ``broadcast`` and
    ``available_memory``, through which solvers keep the ranks together.

    Parameters
    ----------
    size : int
        N.
    dtype : torch.dtype
        Of the vectors.
    device : torch.device
        Of the vectors.

    Attributes
    ----------
    shape : tuple of int
        (N, N).
    matvecs : int
        Products so far; a solver that goes on from a checkpoint adds those of its former calls.
    precision : torch.dtype
        Of the arithmetic in a product, as far as it is known: of the vectors, or coarser.
    """

    def __init__(self, size: int, dtype: torch.dtype, device: torch.device) -> None:
        self.shape = (size, size)
        self.dtype = dtype
        self.device = device
        self.matvecs = 0
        self.precision = dtype

    def _product(self, v: Tensor) -> Tensor:
        raise NotImplementedError

    def __matmul__(self, v: Tensor) -> Tensor:
        """Product with a vector (N,) or with b of them (N, b); each column counts in ``matvecs``.

        Raises
        ------
        InputError
            If shape, dtype or device do not fit.
        """
        if v.ndim not in (1, 2) or v.shape[0] != self.shape[0]:
            raise InputError(
                f"vector of shape {tuple(v.shape)}; expected ({self.shape[0]},) or "
                f"({self.shape[0]}, b)"
            )
        if v.dtype != self.dtype or v.device != self.device:
            raise InputError(
                f"vector is {v.dtype} on {v.device}; expected {self.dtype} on {self.device}"
            )
        columns = [v] if v.ndim == 1 else list(v.unbind(1))
        products = [self.times(column) for column in columns]
        self.confirm()
        return products[0] if v.ndim == 1 else torch.stack(products, 1)

    def times(self, v: Tensor) -> Tensor:
        """Multiply as ``@`` does, without waiting for the device; ``confirm`` must follow.

        Parameters
        ----------
        v : Tensor
            (N,) as ``@`` takes it.

        Returns
        -------
        Tensor
            (N,).
        """
        self.matvecs += 1
        return self._product(v)

    def confirm(self) -> None:
        """Raise if the products so far may be of several matrices."""

    def check(self, start: Tensor | None = None) -> Tensor | None:
        """Raise if two products of one vector can differ; solvers call it before they start.

        Parameters
        ----------
        start : Tensor, optional
            (N,) a random vector whose product the solver needs first.

        Returns
        -------
        Tensor or None
            (N,) its product, if the check has taken it.
        """
        return None

    def expect_symmetric(self, difference: float, size: float) -> None:
        """Raise if the first two vectors of a run show that the matrix is not symmetric.

        Parameters
        ----------
        difference : float
            |uᵀ(A v) − vᵀ(A u)|.
        size : float
            What uᵀ(A v) would be were the signs of u random.
        """

    def source(self, seed: int, *names: int | str) -> torch.Generator:
        """Make a generator of random vectors that are the same on every rank.

        Parameters
        ----------
        seed, names
            As of ``random.stream``.

        Returns
        -------
        torch.Generator
            On the operator's device, where drawing is fastest.
        """
        return stream(self.device, seed, *names)

    def any_rank(self, flag: bool) -> bool:
        """Whether the flag is true on any rank; ranks must stop at the same product.

        Parameters
        ----------
        flag : bool
            Of this rank.

        Returns
        -------
        bool
            The same on every rank.
        """
        return flag

    def is_rank_zero(self) -> bool:
        """Whether this process is the one that reads, writes and prints."""
        return True

    def broadcast(self, value: Value) -> Value:
        """Rank zero's value, on every rank.

        Parameters
        ----------
        value : object
            What can be pickled; only rank zero's counts.

        Returns
        -------
        object
            The same on every rank.
        """
        return value

    def available_memory(self, device: torch.device) -> int:
        """Memory that every rank can take on a device.

        Parameters
        ----------
        device : torch.device
            Which one.

        Returns
        -------
        int
            Bytes.
        """
        return available_memory(device)

    def dense(self) -> Tensor:
        """Form the matrix itself, by N products.

        Returns
        -------
        Tensor
            (N, N), symmetrised.
        """
        matrix = self @ torch.eye(self.shape[0], dtype=self.dtype, device=self.device)
        return (matrix + matrix.T) / 2


class MatrixOperator(SymmetricOperator):
    """Operator of a symmetric matrix.

    Parameters
    ----------
    matrix : Tensor
        (N, N).

    Raises
    ------
    InputError
        If the matrix is not square.

    Examples
    --------
    >>> import torch
    >>> from ired_interp.spectra import MatrixOperator
    >>> A = MatrixOperator(torch.tensor([[2.0, 1.0], [1.0, 2.0]]))
    >>> A @ torch.tensor([1.0, 1.0])
    tensor([3., 3.])
    >>> A.matvecs
    1
    """

    def __init__(self, matrix: Tensor) -> None:
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise InputError(f"matrix of shape {tuple(matrix.shape)}; expected a square one")
        super().__init__(matrix.shape[0], matrix.dtype, matrix.device)
        self.matrix = matrix

    def _product(self, v: Tensor) -> Tensor:
        return self.matrix @ v


class FunctionOperator(SymmetricOperator):
    """Operator of a function that multiplies by a symmetric matrix.

    Parameters
    ----------
    product : callable
        v (N,) ↦ A v (N,).
    size : int
        N.
    dtype : torch.dtype
        Of v.
    device : torch.device or str
        Of v.

    Examples
    --------
    >>> import torch
    >>> from ired_interp.spectra import FunctionOperator
    >>> doubled = FunctionOperator(lambda v: 2 * v, size=3)
    >>> doubled @ torch.ones(3)
    tensor([2., 2., 2.])
    """

    def __init__(
        self,
        product: Callable[[Tensor], Tensor],
        size: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(size, dtype, torch.device(device))
        self._function = product

    def _product(self, v: Tensor) -> Tensor:
        return self._function(v)
