"""Storage of a Krylov basis: rows in blocks, on the operator's device or in host memory."""

from math import ceil

import torch
from torch import Tensor

# A block has at most so many rows and bytes: memory grows with the basis, and nothing is ever
# copied to make room. On a GPU every block costs the launch of a kernel or two; on a CPU those of
# more than 32 MiB lie apart from what products free and take again, which shorter ones break up.
# All have one length, chosen so that together they hold little more than the capacity.
_ROWS, _BYTES, _BYTES_ON_GPU = 64, 1 << 26, 1 << 28
_COLUMNS = 1 << 16  # handled at once by a rotation, so that its workspace stays small
_WORKSPACE = 2  # vectors that it may take on a GPU


class Basis:
    """Vectors of length N, kept as rows; products with them run where they are stored.

    Parameters
    ----------
    size : int
        Length N of a vector.
    dtype : torch.dtype
        Of the vectors.
    device : torch.device
        Where the solver's vectors live.
    storage : torch.device
        Where the basis lives; "cpu" beside a GPU trades transfers of one vector for the GPU's
        memory.
    capacity : int
        Rows at most, as a rule: more have room, too, such as those of a file that an earlier run
        with more memory wrote.
    """

    def __init__(
        self,
        size: int,
        dtype: torch.dtype,
        device: torch.device,
        storage: torch.device,
        capacity: int,
    ) -> None:
        self.size, self.dtype, self.device, self.storage = size, dtype, device, storage
        self._blocks: list[Tensor] = []
        space = _BYTES if storage.type == "cpu" else _BYTES_ON_GPU
        most = max(1, min(_ROWS, space // max(1, size * dtype.itemsize)))
        self._block = ceil(capacity / ceil(capacity / most))
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, row: int) -> Tensor:
        """One row (N,), on the solver's device; a view where that is the storage."""
        return self._blocks[row // self._block][row % self._block].to(self.device)

    def append(self, vector: Tensor) -> None:
        """Add a row.

        Parameters
        ----------
        vector : Tensor
            (N,).
        """
        if self._rows == len(self._blocks) * self._block:
            self._blocks.append(
                torch.empty(self._block, self.size, dtype=self.dtype, device=self.storage)
            )
        self._blocks[self._rows // self._block][self._rows % self._block] = vector
        self._rows += 1

    def _filled(self) -> list[Tensor]:
        return [
            block[: self._rows - i * self._block]
            for i, block in enumerate(self._blocks)
            if self._rows > i * self._block
        ]

    def combine(self, coefficients: Tensor) -> Tensor:
        """Sum the rows, Σ_i c_i q_i.

        Parameters
        ----------
        coefficients : Tensor
            (m,) c.

        Returns
        -------
        Tensor
            (N,) on the solver's device.
        """
        total = torch.zeros(self.size, dtype=self.dtype, device=self.storage)
        local = coefficients.to(self.storage, self.dtype)
        for i, block in enumerate(self._filled()):
            total.addmv_(block.T, local[i * self._block : i * self._block + len(block)])
        return total.to(self.device)

    def project_out(self, *vectors: Tensor) -> Tensor:
        """Subtract the components of vectors along all rows, in place.

        Each of the two passes over the rows serves all vectors.

        Parameters
        ----------
        *vectors : Tensor
            (N,) each, on the solver's device.

        Returns
        -------
        Tensor
            (number of vectors,) squares of the components, summed over the rows, float64 on the
            solver's device.
        """
        local = (vectors[0][None] if len(vectors) == 1 else torch.stack(vectors)).to(self.storage)
        blocks = self._filled()
        parts = [local.new_zeros(0, len(vectors)), *(block @ local.T for block in blocks)]
        components = torch.cat(parts).T
        for i, block in enumerate(blocks):
            local.addmm_(components[:, i * self._block :][:, : len(block)], block, alpha=-1)
        if len(vectors) > 1 or local.device != self.device:
            for vector, rest in zip(vectors, local, strict=True):
                vector.copy_(rest)
        return components.to(self.device, torch.float64).square().sum(1)

    def rotate(self, weights: Tensor) -> None:
        """Replace the m rows Q by the r rows WᵀQ, in place.

        Parameters
        ----------
        weights : Tensor
            (m, r) W, r ≤ m.
        """
        blocks = self._filled()
        local = weights.to(self.storage, self.dtype)
        kept = weights.shape[1]
        width = _COLUMNS
        if self.storage.type != "cpu":
            width = max(width, _WORKSPACE * self.size // kept)
        for start in range(0, self.size, width):
            columns = slice(start, start + width)
            rotated = torch.zeros(
                kept, min(width, self.size - start), dtype=self.dtype, device=self.storage
            )
            for i, block in enumerate(blocks):
                rotated.addmm_(
                    local[i * self._block : i * self._block + len(block)].T, block[:, columns]
                )
            for i in range(0, kept, self._block):
                rows = rotated[i : i + self._block]
                self._blocks[i // self._block][: len(rows), columns] = rows
        self._rows = kept

    def combine_in_place(self, weights: Tensor) -> Tensor:
        """Sum the rows to r vectors, QᵀW, in the basis' own memory; it is empty afterwards.

        Parameters
        ----------
        weights : Tensor
            (m, r) W, r ≤ m.

        Returns
        -------
        Tensor
            (N, r) in the storage.
        """
        self.rotate(weights)
        blocks, self._blocks, self._rows = self._filled(), [], 0
        return torch.cat(blocks).T
