"""A snapshot of one subspace of R^N: half or single precision, in memory or in a file, with its own rounding floor."""

import os
from pathlib import Path

import numpy as np
import torch

from ired_interp.errors import InputError
from ired_interp.files import atomic
from ired_interp.geometry.angles import check_rank
from ired_interp.geometry.arrays import as_bases, row_slices, streamed_r

STORAGE = (torch.float16, torch.float32, torch.float64)


class Subspace:
    """A p-dimensional subspace of R^N as stored, read back in chunks of rows.

    Use ``Subspace.from_basis`` to make one and ``Subspace.open`` to read one that ``save`` wrote.

    Parameters
    ----------
    data : torch.Tensor or pathlib.Path
        (N, p) rounded orthonormal basis; or the .npy file that holds it.
    rounding : torch.Tensor
        (p,) principal angles, in radians, between the stored subspace and the one it was made from.
    """

    def __init__(self, data: torch.Tensor | Path, rounding: torch.Tensor) -> None:
        self.rounding = rounding
        self._data = data
        if isinstance(data, Path):
            try:
                stored = np.load(data, mmap_mode="r", allow_pickle=False)
                rows, columns = stored.shape
                self.dtype = torch.from_numpy(np.empty(0, stored.dtype)).dtype
            except (OSError, ValueError, TypeError) as error:
                raise InputError(
                    f"the snapshot {data} cannot be read ({error}); restore the file."
                ) from error
            self.shape: tuple[int, int] = (rows, columns)
        else:
            self.shape = (data.shape[0], data.shape[1])
            self.dtype = data.dtype

    def __repr__(self) -> str:
        place = self._data if isinstance(self._data, Path) else "memory"
        return f"Subspace(N={self.shape[0]}, p={self.shape[1]}, {self.dtype}, {place})"

    @classmethod
    def from_basis(
        cls, basis: torch.Tensor | np.ndarray, dtype: torch.dtype = torch.float16
    ) -> "Subspace":
        """Store the column span of ``basis``.

        Parameters
        ----------
        basis : torch.Tensor or numpy.ndarray
            (N, p), independent columns, orthonormal or not.
        dtype : torch.dtype
            float16 (floor about 2e-4 rad), float32 (3e-8) or float64; not bfloat16, whose floor is 8 times higher.

        Returns
        -------
        Subspace
            In memory, an orthonormal basis rounded to ``dtype``.

        Raises
        ------
        InputError
            If ``basis`` is not a matrix of finite independent columns, or the dtype is not one of the three.
        """
        (tensor,) = as_bases(basis)
        if tensor.ndim != 2:
            raise InputError(
                f"the basis has shape {tuple(tensor.shape)}; a snapshot is one subspace: pass (N, p)."
            )
        if dtype not in STORAGE:
            raise InputError(
                f"snapshots cannot be stored as {dtype}; choose float16, float32 or float64."
            )
        rows, p = tensor.shape
        norms = sum(
            (tensor[chunk].double().square().sum(0) for chunk in row_slices(rows)), torch.zeros(())
        ).sqrt()
        if not torch.isfinite(norms).all():
            raise InputError(
                "the basis holds NaN or infinite entries; a snapshot needs finite ones: look upstream."
            )
        norms = torch.where(norms == 0, 1.0, norms)
        factor = streamed_r(rows, lambda chunk: tensor[chunk].double() / norms)
        check_rank(factor, tensor.dtype)

        def orthonormal(chunk: slice) -> torch.Tensor:
            return torch.linalg.solve_triangular(
                factor, tensor[chunk].double() / norms, upper=True, left=False
            )

        stored = torch.empty(rows, p, dtype=dtype)
        error_gram = torch.zeros_like(factor)
        inside = torch.zeros_like(error_gram)
        for chunk in row_slices(rows):
            exact = orthonormal(chunk)
            rounded = exact.to(dtype)
            stored[chunk] = rounded.cpu()
            error = rounded.double() - exact
            error_gram += error.mT @ error
            inside += exact.mT @ error
        squared_sines = torch.linalg.eigvalsh(error_gram - inside.mT @ inside).clamp(min=0)
        return cls(stored, squared_sines.sqrt().clamp(max=1).asin().cpu())

    @classmethod
    def open(cls, path: str | os.PathLike[str], rounding: torch.Tensor) -> "Subspace":
        """The snapshot in the .npy file ``path``; its rows stay on disk until they are asked for."""
        return cls(Path(path), rounding)

    def save(self, path: str | os.PathLike[str]) -> "Subspace":
        """Write the columns to the .npy file ``path``, wholly or not at all; return the snapshot that lies there."""
        path = Path(path)
        with atomic(path) as temporary, temporary.open("wb") as file:
            np.save(file, self.stored().numpy(), allow_pickle=False)
        return type(self)(path, self.rounding)

    def stored(self, rows: slice = slice(None)) -> torch.Tensor:
        """Stored columns in the storage precision, (rows, p), read from the file if there is one."""
        if isinstance(self._data, Path):
            return torch.from_numpy(
                np.array(np.load(self._data, mmap_mode="r", allow_pickle=False)[rows])
            )
        return self._data[rows]

    def rows(self, rows: slice) -> torch.Tensor:
        """Rows of the stored columns in float64, (rows, p)."""
        return self.stored(rows).double()

    def basis(self) -> torch.Tensor:
        """The whole stored basis in float64, (N, p); orthonormal to the storage precision."""
        return self.rows(slice(None))
