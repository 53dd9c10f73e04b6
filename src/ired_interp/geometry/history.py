"""A growing sequence of subspaces: labelled snapshots, every pairwise measure, a state that survives a restart."""

import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ired_interp.errors import InputError
from ired_interp.geometry.angles import principal_angles
from ired_interp.geometry.arrays import Array, as_tensor
from ired_interp.geometry.distances import distance_from_angles
from ired_interp.geometry.noise import corrected_overlap
from ired_interp.geometry.reduction import (
    Progress,
    angles_from_gram,
    coordinates_from_gram,
    extend_gram,
    normalise_gram,
)
from ired_interp.geometry.subspace import Subspace

Label = int | float | str


class DriftHistory:
    """Snapshots of a p-dimensional subspace of R^N, measured against each other.

    Parameters
    ----------
    folder : str or os.PathLike, optional
        Where snapshots are kept as .npy files and read back in chunks; without it they stay in memory and in the state.
    dtype : torch.dtype
        Storage precision, see ``Subspace.from_basis``.
    device : torch.device or str
        Where the pairwise products are computed.
    progress : callable
        Wraps the list of row chunks while they are, such as ``rich.progress.track``: about two CPU minutes for 100
        snapshots of 20 directions in 10⁶ coordinates, less if measured as the history grows.

    Notes
    -----
    Pairs are compared through one float64 Gram matrix, streamed over rows and extended by what is new: memory is (mp)²
    numbers and one chunk of rows, whatever N. ``between`` compares a single pair, right for angles below 1e-7 too.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        dtype: torch.dtype = torch.float16,
        device: torch.device | str = "cpu",
        progress: Progress = iter,
    ) -> None:
        self.folder = None if folder is None else Path(folder)
        self.dtype = dtype
        self.device = device
        self.progress = progress
        self.labels: list[Label] = []
        self.snapshots: list[Subspace] = []
        self.repeat_angles: list[torch.Tensor] = []
        self._files: list[str] = []
        self._gram: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        shape = "N={}, p={}".format(*self.shape) if self.snapshots else "empty"
        return f"DriftHistory({len(self)} snapshots, {shape}, {self.folder or 'memory'})"

    def append(
        self,
        label: Label,
        basis: Array,
        repeat: Array | None = None,
    ) -> None:
        """Add a snapshot.

        Parameters
        ----------
        label : int, float or str
            Training step, landscape, checkpoint name, …; each once.
        basis : torch.Tensor or numpy.ndarray
            (N, p), independent columns.
        repeat : torch.Tensor or numpy.ndarray, optional
            (N, p) the same subspace estimated from an independent batch of the same size. Only its principal angles to
            ``basis`` are kept, in ``repeat_angles``.

        Raises
        ------
        InputError
            If the label exists or is neither number nor string, the shape differs from earlier snapshots, or columns
            are dependent.
        """
        label = label.item() if isinstance(label, np.generic) else label
        if not isinstance(label, int | float | str):
            raise InputError(
                f"a snapshot labelled by a {type(label).__name__}; labels are numbers or strings."
            )
        if label in self.labels:
            raise InputError(
                f"a snapshot labelled {label!r} exists already; every snapshot needs a label of its own."
            )
        shape = self.shape if self.snapshots else tuple(basis.shape)
        for given in (basis,) if repeat is None else (basis, repeat):
            if tuple(given.shape) != shape:
                raise InputError(
                    f"a basis of shape {tuple(given.shape)} in a history of {shape}: keep to one (N, p)."
                )
        snapshot = Subspace.from_basis(basis, self.dtype)
        angles = torch.full(shape[-1:], torch.nan, dtype=torch.float64)
        if repeat is not None:
            angles = as_tensor(principal_angles(basis, repeat), "angles", ndim=1).cpu()
        if self.folder is not None:
            checksum = zlib.crc32(snapshot.stored().numpy().data)
            name = f"{len(self):05d}-{checksum:08x}.npy"  # by content: a resumed run never overwrites what differs
            snapshot = snapshot.save(self.folder / name)
            self._files.append(name)
        self.labels.append(label)
        self.snapshots.append(snapshot)
        self.repeat_angles.append(angles)

    def between(self, first: int, second: int) -> torch.Tensor:
        """Principal angles (p,) of two snapshots by position, as in ``between(-2, -1)``; exact for what is stored."""
        return principal_angles(self.snapshots[first].stored(), self.snapshots[second].stored())

    def angles(self) -> torch.Tensor:
        """Principal angles of all pairs, (m, m, p) radians, ascending; errs by up to 1e-7 for angles near 0."""
        return angles_from_gram(self._blocks())

    def overlap(self) -> torch.Tensor:
        """Overlap ‖UᵀV‖²_F/p of all pairs, (m, m)."""
        return self._blocks().square().sum((-2, -1)) / self.shape[1]

    def distance(self, metric: str = "geodesic") -> torch.Tensor:
        """Grassmannian distance of all pairs, (m, m); see ``grassmann_distance``."""
        return distance_from_angles(self.angles(), metric)

    def floor(self, metric: str = "geodesic") -> torch.Tensor:
        """Distance of all pairs from rounding in storage alone, (m, m), 0 on the diagonal; subtract in quadrature."""
        rounding = torch.stack([snapshot.rounding for snapshot in self.snapshots]).square()
        floor = distance_from_angles((rounding[:, None] + rounding).sqrt(), metric)
        return floor.fill_diagonal_(0)

    def split_half(self, metric: str = "geodesic") -> torch.Tensor:
        """Distance of each snapshot from its repeat, (m,): estimation noise alone; NaN without ``repeat``."""
        return distance_from_angles(torch.stack(self.repeat_angles), metric)

    def reliability(self) -> torch.Tensor:
        """Overlap of each snapshot with its repeat, (m,); NaN without ``repeat``."""
        return torch.stack(self.repeat_angles).cos().square().mean(-1)

    def corrected_overlap(self, ambient: int | None = None) -> torch.Tensor:
        """Overlap of all pairs freed of estimation noise, (m, m), 1 on the diagonal; NaN without ``repeat``.

        ``ambient`` is the dimension behind the chance level p/N, N by default.
        """
        reliability = self.reliability()
        chance = self.shape[1] / (ambient or self.shape[0])
        corrected = corrected_overlap(self.overlap(), reliability[:, None], reliability, chance)
        return corrected.fill_diagonal_(1)

    def coordinates(self) -> torch.Tensor:
        """Orthonormal coordinates of all snapshots in their joint span, (m, r, p): for means, geodesics, transport."""
        return coordinates_from_gram(self._blocks())

    def state_dict(self) -> dict[str, Any]:
        """Plain state: labels, angles to repeats, rounding, Gram matrix, bases or (with a folder) file names."""
        state: dict[str, Any] = {
            "labels": list(self.labels),
            "repeat_angles": list(self.repeat_angles),
            "rounding": [snapshot.rounding for snapshot in self.snapshots],
            "gram": self._gram,
        }
        if self.folder is None:
            state["bases"] = [snapshot.stored() for snapshot in self.snapshots]
        else:
            state["files"] = list(self._files)
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``; a history with a folder finds its files there, wherever the folder now lies.

        Raises
        ------
        InputError
            If the state was saved with a folder and this history has none, or vice versa, or a file is missing.
        """
        if ("files" in state) != (self.folder is not None):
            kept = "in files" if "files" in state else "in memory"
            raise InputError(
                f"the saved drift history keeps its snapshots {kept}; create this one {kept} too (folder=…)."
            )
        if self.folder is None:
            snapshots = [
                Subspace(b, r) for b, r in zip(state["bases"], state["rounding"], strict=True)
            ]
        else:
            pairs = zip(state["files"], state["rounding"], strict=True)
            snapshots = [Subspace.open(self.folder / name, rounding) for name, rounding in pairs]
        self.labels = list(state["labels"])
        self.repeat_angles = list(state["repeat_angles"])
        self.snapshots = snapshots
        self._files = list(state.get("files", []))
        self._gram = state["gram"]

    @property
    def shape(self) -> tuple[int, int]:
        """(N, p) of the snapshots.

        Raises
        ------
        InputError
            If there are none.
        """
        if not self.snapshots:
            raise InputError(
                "the drift history is empty: append a snapshot before asking for measures."
            )
        return self.snapshots[0].shape

    def _blocks(self) -> torch.Tensor:
        p = self.shape[1]
        if self._gram is None or len(self._gram) < len(self) * p:
            self._gram = extend_gram(self.snapshots, self._gram, self.device, self.progress)
        return normalise_gram(self._gram, p)
