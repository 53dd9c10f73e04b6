"""CountSketch: long trajectories of subspaces in a few thousand coordinates, at the price of a few per cent."""

from dataclasses import dataclass

import numpy as np
import torch

from ired_interp.errors import InputError
from ired_interp.geometry.arrays import as_bases, row_slices


@dataclass(frozen=True)
class CountSketch:
    """Random linear map R^N → R^size with one ±1 a column, the same on every machine for the same seed.

    Angles and distances of sketched subspaces err by about 1/√size relative, and their chance level rises: pass
    ``ambient`` to ``chance_band`` and to ``drift_variables``.

    Parameters
    ----------
    size : int
        Number of coordinates kept, well above p².
    seed : int
        Chooses the map; sketches can be compared only under the same seed and size.

    Notes
    -----
    Clarkson and Woodruff, "Low-rank approximation and regression in input sparsity time", J. ACM 63, 2017. Coordinates
    are hashed by the SplitMix64 finaliser (Steele, Lea and Flood, OOPSLA 2014), so no table is stored.
    """

    size: int
    seed: int = 0

    def ambient(self, rows: int) -> int:
        """Dimension behind the chance level of sketched subspaces of R^rows: participation ratio of bucket sizes."""
        return round(1 / (1 / self.size + 1 / rows))

    def __call__(self, basis: torch.Tensor | np.ndarray) -> torch.Tensor:
        """Sketch the columns of ``basis``.

        Parameters
        ----------
        basis : torch.Tensor or numpy.ndarray
            (N, p).

        Returns
        -------
        torch.Tensor
            (size, p) float64, independent but no longer orthonormal columns.

        Raises
        ------
        InputError
            If ``basis`` is not a matrix or has fewer rows than ``size``.
        """
        (tensor,) = as_bases(basis)
        rows, p = tensor.shape[-2:]
        if tensor.ndim != 2 or rows < self.size:
            raise InputError(
                f"a basis of shape {tuple(tensor.shape)} cannot be sketched to {self.size} rows: pass (N, p), N larger."
            )
        sketch = torch.zeros(self.size, p, dtype=torch.float64, device=tensor.device)
        for chunk in row_slices(rows):
            hashed = _hash(np.arange(chunk.start, chunk.stop, dtype=np.uint64), self.seed)
            bucket = torch.from_numpy(
                ((hashed >> np.uint64(1)) % np.uint64(self.size)).astype(np.int64)
            )
            sign = torch.from_numpy(1.0 - 2.0 * (hashed & np.uint64(1)).astype(np.float64))
            sketch.index_add_(
                0,
                bucket.to(tensor.device),
                tensor[chunk].double() * sign.to(tensor.device)[:, None],
            )
        return sketch


def _hash(index: np.ndarray, seed: int) -> np.ndarray:
    start = np.uint64(seed * 0xD1342543DE82EF95 % 2**64)
    z = (index + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + start
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
