"""Subspaces of R^N as stored: rounded, in memory or in a file, with their own rounding floor."""

import os
import zlib
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from ired_interp.errors import InputError
from ired_interp.files import atomic
from ired_interp.geometry.arrays import as_bases, row_slices, streamed_r
from ired_interp.geometry.resolution import check_rank, finite_scale

STORAGE = (torch.float16, torch.float32, torch.float64)


class Subspace:
    """A p-dimensional subspace of R^N, or B of them, as stored; read back in chunks of rows.

    Use ``Subspace.from_basis`` to make one and ``Subspace.open`` to read one that ``save`` wrote.

    Parameters
    ----------
    data : torch.Tensor or pathlib.Path
        (N, p) or (B, N, p) rounded orthonormal basis; or the .npy file that holds it.
    rounding : torch.Tensor
        (p,) or (B, p) principal angles, in radians, between what is stored and what it was made
        from.

    Raises
    ------
    InputError
        If the file cannot be read as bases.
    """

    def __init__(self, data: torch.Tensor | Path, rounding: torch.Tensor) -> None:
        self.rounding = rounding
        self._data = data
        if isinstance(data, Path):
            try:
                stored = np.load(data, mmap_mode="r", allow_pickle=False)
                self.dtype = torch.from_numpy(np.empty(0, stored.dtype)).dtype
            except (OSError, ValueError, TypeError) as error:
                raise InputError(
                    f"the subspace in {data} cannot be read ({error}); restore the file."
                ) from error
            self.shape: tuple[int, ...] = stored.shape
            order: Literal["C", "F"] = "C" if stored.flags.c_contiguous else "F"
            self._map = partial(  # parses no header again
                np.memmap, data, stored.dtype, "r", stored.offset, stored.shape, order
            )
        else:
            self.shape, self.dtype = tuple(data.shape), data.dtype
        if self.shape[:-2] + self.shape[-1:] != tuple(rounding.shape):
            raise InputError(
                f"the subspace in {data if isinstance(data, Path) else 'memory'} has shape "
                f"{self.shape}, but {tuple(rounding.shape)} rounding angles belong to it; "
                "restore the file."
            )

    def __repr__(self) -> str:
        place = self._data if isinstance(self._data, Path) else "memory"
        return f"Subspace({self.shape}, {self.dtype}, {place})"

    @classmethod
    def from_basis(
        cls, basis: torch.Tensor | np.ndarray, dtype: torch.dtype = torch.float16
    ) -> "Subspace":
        """Store the column span of ``basis``.

        Parameters
        ----------
        basis : torch.Tensor or numpy.ndarray
            (N, p) or (B, N, p), independent columns, orthonormal or not.
        dtype : torch.dtype
            float16 (floor about 2e-4 rad), float32 (3e-8) or float64; not bfloat16, whose floor is
            8 times higher.

        Returns
        -------
        Subspace
            In memory, an orthonormal basis rounded to ``dtype``.

        Raises
        ------
        InputError
            If ``basis`` is not one matrix, or a batch of them, of finite independent columns, or
            the dtype is not one of the three.

        Examples
        --------
        >>> import torch
        >>> stored = Subspace.from_basis(torch.eye(5)[:, :2])
        >>> stored.shape, stored.dtype, stored.rounding.tolist()
        ((5, 2), torch.float16, [0.0, 0.0])
        """
        (tensor,) = as_bases(basis)
        if tensor.ndim > 3:
            raise InputError(
                f"the basis has shape {tuple(tensor.shape)}; pass one subspace (N, p), or a batch "
                "of them (B, N, p)."
            )
        if dtype not in STORAGE:
            raise InputError(
                f"subspaces cannot be stored as {dtype}; choose float16, float32 or float64."
            )
        rows = tensor.shape[-2]

        largest = torch.cat([tensor[..., c, :].abs().amax(-2, True) for c in row_slices(rows)], -2)
        scale = finite_scale(largest.double(), (-2,), "the basis")

        def read(chunk: slice) -> torch.Tensor:
            return tensor[..., chunk, :].double() / scale

        norms = torch.zeros((), dtype=torch.float64, device=tensor.device)
        for chunk in row_slices(rows):
            norms = norms + read(chunk).square().sum(-2, keepdim=True)
        norms = torch.where(norms == 0, 1.0, norms.sqrt())
        factor = streamed_r(rows, lambda chunk: read(chunk) / norms)
        columns = tensor.shape[-1]
        what = f"a basis of {columns} columns"
        check_rank(torch.linalg.svdvals(factor), tensor.dtype, columns, what)
        stored = torch.empty(tensor.shape, dtype=dtype)
        error_gram, inside = torch.zeros_like(factor), torch.zeros_like(factor)
        for chunk in row_slices(rows):
            exact = torch.linalg.solve_triangular(
                factor, read(chunk) / norms, upper=True, left=False
            )
            rounded = exact.to(dtype)
            stored[..., chunk, :] = rounded.cpu()
            error = rounded.double() - exact
            error_gram += error.mT @ error
            inside += exact.mT @ error
        squared_sines = torch.linalg.eigvalsh(error_gram - inside.mT @ inside).clamp(min=0)
        return cls(stored, squared_sines.sqrt().clamp(max=1).asin().cpu())

    @classmethod
    def open(cls, path: str | os.PathLike[str], rounding: torch.Tensor) -> "Subspace":
        """Find the subspace in a file; its rows stay on disk until they are asked for.

        Parameters
        ----------
        path : str or os.PathLike
            The .npy file that ``save`` wrote.
        rounding : torch.Tensor
            (p,) or (B, p) the ``rounding`` of what was saved.

        Returns
        -------
        Subspace
            Backed by the file.
        """
        return cls(Path(path), rounding)

    def save(self, path: str | os.PathLike[str]) -> "Subspace":
        """Write the columns to a .npy file, wholly or not at all.

        Parameters
        ----------
        path : str or os.PathLike
            The file; its folder is made.

        Returns
        -------
        Subspace
            The same, backed by the file.
        """
        path = Path(path)
        with atomic(path) as temporary, temporary.open("wb") as file:
            np.save(file, self.stored().numpy(), allow_pickle=False)
        return type(self)(path, self.rounding)

    def checksum(self) -> str:
        """Return the CRC-32 of the stored numbers, eight hexadecimal digits."""
        found = 0
        for chunk in row_slices(self.shape[-2]):
            found = zlib.crc32(self.stored(chunk).contiguous().numpy().data, found)
        return f"{found:08x}"

    def verify(self, checksum: str) -> None:
        """Refuse a file whose numbers are not those that were saved.

        Parameters
        ----------
        checksum : str
            What ``checksum`` returned then.

        Raises
        ------
        InputError
            If they differ.
        """
        if (found := self.checksum()) != checksum:
            raise InputError(
                f"the subspace in {self._data} is damaged: its checksum is {found}, saved was "
                f"{checksum}; restore the file."
            )

    def stored(self, rows: slice = slice(None)) -> torch.Tensor:
        """Read rows as they are stored.

        Parameters
        ----------
        rows : slice
            Which of the N rows.

        Returns
        -------
        torch.Tensor
            (..., rows, p) in the storage precision, from the file if there is one.
        """
        if isinstance(self._data, Path):
            return torch.from_numpy(np.array(self._map()[..., rows, :]))
        return self._data[..., rows, :]

    def basis(self) -> torch.Tensor:
        """Read the whole basis in float64.

        Returns
        -------
        torch.Tensor
            (..., N, p), orthonormal to the storage precision.
        """
        return self.stored().double()
