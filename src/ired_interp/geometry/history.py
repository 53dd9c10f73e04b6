"""A growing sequence of subspaces: labelled frames, every pair compared, a state that survives."""

import os
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ired_interp.errors import InputError
from ired_interp.geometry.angles import principal_angles
from ired_interp.geometry.arrays import Array
from ired_interp.geometry.distances import distance_from_angles
from ired_interp.geometry.eigengap import Eigengap
from ired_interp.geometry.gram import (
    MISSING,
    coordinates_from_gram,
    extend_gram,
    normalise_gram,
    pair_angles,
)
from ired_interp.geometry.labels import Label, checked_label
from ired_interp.geometry.subspace import Subspace


class DriftHistory:
    """Frames of a subspace of R^N, or of B subspaces side by side, measured against each other.

    A frame is the subspace at one training step, landscape or position. It may bring a repeat, the
    same subspace estimated from an independent batch. Frames that were estimated from one batch
    share its noise, which makes them look alike; ``independent_angles`` compares the first estimate
    of one frame with the repeat of the other, which share none.

    Parameters
    ----------
    folder : str or os.PathLike, optional
        Where frames are kept as .npy files and read back in chunks; without it they stay in memory
        and in the state.
    dtype : torch.dtype
        Storage precision, see ``Subspace.from_basis``.

    Attributes
    ----------
    labels : list
        Of the m frames, in the order in which they came.
    gaps : list
        Eigengap of each, None where it brought none.

    Notes
    -----
    Pairs are compared through one float64 Gram matrix, streamed over rows and extended by what is
    new: memory is (2mp)² numbers and one chunk of rows, whatever N. ``between`` compares a single
    pair, right for angles below 1e-7 too.

    Examples
    --------
    >>> import torch
    >>> history = DriftHistory(dtype=torch.float64)
    >>> for step, angle in ((0, 0.0), (100, 0.1), (300, 0.3)):
    ...     turned = torch.tensor([[angle], [0.0]]).double()
    ...     history.append(step, torch.cat([turned.cos()[:1], turned.sin()[:1], turned[1:]]))
    >>> history
    DriftHistory(3 frames of shape (3, 1), in memory)
    >>> [[round(angle, 6) for angle in row] for row in history.angles()[..., 0].tolist()]
    [[0.0, 0.1, 0.3], [0.1, 0.0, 0.2], [0.3, 0.2, 0.0]]
    """

    def __init__(
        self, folder: str | os.PathLike[str] | None = None, dtype: torch.dtype = torch.float16
    ) -> None:
        self.folder = None if folder is None else Path(folder)
        self.dtype = dtype
        self.labels: list[Label] = []
        self.gaps: list[Eigengap | None] = []
        self._estimates: list[Subspace] = []
        self._places: list[tuple[int, int]] = []  # of a frame's first estimate and its repeat
        self._files: list[str] = []
        self._gram: torch.Tensor | None = None
        self._angles: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        shape = f" of shape {self.shape}" if self.labels else ""
        return f"DriftHistory({len(self)} frames{shape}, in {self.folder or 'memory'})"

    def append(
        self, label: Label, basis: Array, repeat: Array | None = None, gap: Eigengap | None = None
    ) -> None:
        """Add a frame; where it is refused, the history stays as it was.

        Parameters
        ----------
        label : int, float or str
            Training step, landscape, checkpoint name, …; each once.
        basis : torch.Tensor or numpy.ndarray
            (N, p), or (B, N, p) for several subspaces, independent columns.
        repeat : torch.Tensor or numpy.ndarray, optional
            Of the same shape: the same estimated from an independent batch of the same size.
        gap : Eigengap, optional
            Whether the subspace is there at all; without it that is taken for granted.

        Raises
        ------
        InputError
            If the label exists or is neither number nor string, the shape differs from earlier
            frames, or columns are dependent.
        """
        label = checked_label(label, self.labels)
        given = (basis,) if repeat is None else (basis, repeat)
        shape = self.shape if self.labels else tuple(basis.shape)
        for estimate in given:
            if tuple(estimate.shape) != shape:
                raise InputError(
                    f"a basis of shape {tuple(estimate.shape)} in a history of {shape}: keep to "
                    "one shape."
                )
        stored = [Subspace.from_basis(estimate, self.dtype) for estimate in given]
        first, files = len(self._estimates), []
        if self.folder is not None:
            for i, subspace in enumerate(stored):
                # By content: a run that goes on never overwrites what differs.
                files.append(f"{first + i:05d}-{subspace.checksum()}.npy")
                stored[i] = subspace.save(self.folder / files[i])
        self.labels.append(label)
        self.gaps.append(gap)
        self._places.append((first, MISSING if repeat is None else first + 1))
        self._estimates += stored
        self._files += files

    @property
    def frames(self) -> list[Subspace]:
        """First estimates of all frames, as stored.

        Raises
        ------
        InputError
            If there are none.
        """
        if not self.labels:
            raise InputError("the drift history is empty: append a frame before measuring.")
        return [self._estimates[first] for first, _ in self._places]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the frames, (N, p) or (B, N, p)."""
        return self.frames[0].shape

    def angles(self) -> torch.Tensor:
        """Principal angles of all pairs, both frames by their first estimates.

        Returns
        -------
        torch.Tensor
            (m, m, p) or (m, m, B, p) radians, ascending; an angle near 0 errs by up to 1e-7.
        """
        return self._compared()[0]

    def independent_angles(self) -> torch.Tensor:
        """Principal angles of all pairs, the row's first estimate against the column's repeat.

        Returns
        -------
        torch.Tensor
            (m, m, p) or (m, m, B, p) radians; on the diagonal stands each frame against its own
            repeat, estimation noise alone. NaN where the column has no repeat.
        """
        return self._compared()[1]

    def between(self, first: int, second: int) -> torch.Tensor:
        """Principal angles of two frames' first estimates, exact for what is stored.

        Parameters
        ----------
        first, second : int
            Positions, as in ``between(-2, -1)``.

        Returns
        -------
        torch.Tensor
            (p,) or (B, p) radians.
        """
        frames = self.frames
        return principal_angles(frames[first].stored(), frames[second].stored())

    def floor(self, metric: str = "geodesic") -> torch.Tensor:
        """Distance of all pairs from rounding in storage alone, to be subtracted in quadrature.

        Parameters
        ----------
        metric : str
            A key of ``METRICS``.

        Returns
        -------
        torch.Tensor
            (m, m) or (m, m, B), 0 on the diagonal.
        """
        rounding = torch.stack([frame.rounding for frame in self.frames]).square()
        floor = distance_from_angles((rounding[:, None] + rounding).sqrt(), metric)
        floor.diagonal(dim1=0, dim2=1).zero_()
        return floor

    def coordinates(self) -> torch.Tensor:
        """Coordinates of the first estimates in their joint span: for means and geodesics.

        Returns
        -------
        torch.Tensor
            (m, r, p) orthonormal; all distances are those in R^N.

        Raises
        ------
        InputError
            If frames hold several subspaces.
        """
        if len(self.shape) > 2:
            raise InputError(
                f"frames of shape {self.shape} hold several subspaces; keep a history for each."
            )
        first = [place for place, _ in self._places]
        return coordinates_from_gram(self._blocks()[first][:, first])

    def _blocks(self) -> torch.Tensor:
        if self._gram is None or len(self._gram) < len(self._estimates):
            self._gram = extend_gram(self._estimates, self._gram)
        return normalise_gram(self._gram)

    def _compared(self) -> torch.Tensor:
        """Angles of all pairs, first with first and first with repeat: (2, m, m, …, p)."""
        m = len(self.frames)
        if self._angles is None or self._angles.shape[1] < m:
            # All anew: rounding must not tell a history that was resumed from one that was not.
            self._angles = pair_angles(self._blocks(), self._places)
        return self._angles

    def state_dict(self) -> dict[str, Any]:
        """Plain state, which fits any checkpoint.

        Returns
        -------
        dict
            All but the Gram matrix, where that takes more room than the bases.
        """
        room = sum(np.prod(e.shape) * e.dtype.itemsize for e in self._estimates)
        gram = self._gram
        state: dict[str, Any] = {
            "labels": list(self.labels),
            "gaps": [gap and astuple(gap) for gap in self.gaps],
            "places": list(self._places),
            "rounding": [estimate.rounding for estimate in self._estimates],
            "gram": gram if gram is not None and gram.nbytes < room else None,
        }
        if self.folder is None:
            state["bases"] = [estimate.stored() for estimate in self._estimates]
        else:
            state["files"] = list(self._files)
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state, in its storage precision.

        A history with a folder finds its files there, wherever that now lies, and checks them.

        Parameters
        ----------
        state : dict
            As ``state_dict`` returned it.

        Raises
        ------
        InputError
            If the state was saved with a folder and this history has none, or vice versa, or a file
            is missing or damaged.
        """
        if ("files" in state) != (self.folder is not None):
            kept = "in files" if "files" in state else "in memory"
            raise InputError(
                f"the saved drift history keeps its frames {kept}; create this one {kept} too "
                "(folder=…)."
            )
        if self.folder is None:
            pairs = zip(state["bases"], state["rounding"], strict=True)
            estimates = [Subspace(basis, rounding) for basis, rounding in pairs]
        else:
            pairs = zip(state["files"], state["rounding"], strict=True)
            estimates = [Subspace.open(self.folder / name, rounding) for name, rounding in pairs]
            for name, estimate in zip(state["files"], estimates, strict=True):
                estimate.verify(Path(name).stem.rpartition("-")[2])
        self.labels = list(state["labels"])
        gaps = state.get("gaps", [None] * len(self.labels))  # older checkpoints have none
        self.gaps = [gap and Eigengap(*gap) for gap in gaps]
        self._places = [(first, second) for first, second in state["places"]]
        self._estimates = estimates
        self.dtype = estimates[0].dtype if estimates else self.dtype
        self._files = list(state.get("files", []))
        self._gram = state["gram"]
        self._angles = None
