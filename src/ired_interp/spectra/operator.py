"""Symmetric linear operators: the interface that every solver here works with, and two that need no derivative."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from ired_interp.errors import InputError
from ired_interp.spectra.plan import available

Value = TypeVar("Value")


class SymmetricOperator:
    """A symmetric N×N matrix known by its products with vectors.

    Subclasses implement ``_product``; ``op @ v`` takes v of shape (N,) or (N, b) and counts each column in ``matvecs``.
    """

    def __init__(self, size: int, dtype: torch.dtype, device: torch.device) -> None:
        self.shape = (size, size)
        self.dtype = dtype
        self.device = device
        self.matvecs = 0

    def _product(self, v: Tensor) -> Tensor:
        raise NotImplementedError

    def __matmul__(self, v: Tensor) -> Tensor:
        if v.ndim not in (1, 2) or v.shape[0] != self.shape[0]:
            raise InputError(
                f"vector of shape {tuple(v.shape)}; expected ({self.shape[0]},) or ({self.shape[0]}, b)"
            )
        if v.dtype != self.dtype or v.device != self.device:
            raise InputError(
                f"vector is {v.dtype} on {v.device}; expected {self.dtype} on {self.device}"
            )
        columns = [v] if v.ndim == 1 else list(v.unbind(1))
        self.matvecs += len(columns)
        products = [self._product(column) for column in columns]
        return products[0] if v.ndim == 1 else torch.stack(products, 1)

    def check(self) -> None:
        """Raise if two products of the same vector can differ; solvers call it before they start."""

    def agree(self, flag: bool) -> bool:
        """True on every rank if the flag is true on any (ranks must stop at the same product)."""
        return flag

    def main(self) -> bool:
        """Whether this process is the one that reads, writes and prints."""
        return True

    def from_main(self, value: Value) -> Value:
        """The main process's value, on every rank."""
        return value

    def free(self, device: torch.device) -> int:
        """Bytes that every rank can take on a device."""
        return available(device)

    def dense(self) -> Tensor:
        """The matrix itself (N, N), by N products; symmetrised."""
        matrix = self @ torch.eye(self.shape[0], dtype=self.dtype, device=self.device)
        return (matrix + matrix.T) / 2


class MatrixOperator(SymmetricOperator):
    """Operator of a symmetric matrix (N, N)."""

    def __init__(self, matrix: Tensor) -> None:
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise InputError(f"matrix of shape {tuple(matrix.shape)}; expected a square one")
        super().__init__(matrix.shape[0], matrix.dtype, matrix.device)
        self.matrix = matrix

    def _product(self, v: Tensor) -> Tensor:
        return self.matrix @ v


class FunctionOperator(SymmetricOperator):
    """Operator of a function that maps v (N,) to A v (N,)."""

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
