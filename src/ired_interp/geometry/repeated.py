"""Histories of subspaces that were all estimated twice, so that noise which snapshots share can be told from what persists."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ired_interp.errors import InputError
from ired_interp.files import atomic
from ired_interp.geometry.angles import orthonormal_basis, principal_angles
from ired_interp.geometry.history import DriftHistory, Label

Angles = tuple[
    Tensor, Tensor
]  # (m, m, B, p) between first estimates; from first (row) to second (column) estimates


class RepeatedHistory:
    """Snapshots of one long subspace, each with its repeat; see `DriftHistory`, which keeps both.

    Parameters
    ----------
    folder : where snapshots are kept; in memory without it.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.labels: list[Label] = []
        self._both = DriftHistory(
            folder
        )  # first estimates at even positions, second ones at odd positions

    def append(self, label: Label, basis: Tensor, repeat: Tensor | None) -> None:
        """Add a snapshot: (N, p), and the same subspace from an independent batch of the same size."""
        if repeat is None:
            raise InputError(
                "a snapshot without a repeat; estimate it again from an independent batch."
            )
        for estimate in (basis, repeat):
            self._both.append(len(self._both), estimate)
        self.labels.append(label)

    @property
    def shape(self) -> tuple[int, int]:
        """(N, p)."""
        return self._both.shape

    def angles(self) -> Angles:
        every = self._both.angles()[:, :, None]
        return every[0::2, 0::2], every[0::2, 1::2]

    def coordinates(self) -> Tensor:
        """First estimates in coordinates that keep all distances, (m, r, p)."""
        return self._both.coordinates()[0::2]

    def rounding_floor(self) -> Tensor:
        """Geodesic distance of all pairs from rounding in storage alone, (m, m)."""
        return self._both.floor()[0::2, 0::2]

    def state_dict(self) -> dict[str, Any]:
        return {"labels": list(self.labels), "both": self._both.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._both.load_state_dict(state["both"])
        self.labels = list(state["labels"])


class ProblemHistory:
    """Snapshots of B subspaces of R^N, one per problem, each compared with the same problem's other snapshots, directly and in full precision.

    Parameters
    ----------
    folder : where snapshots are kept, in float32; in memory without it.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.labels: list[Label] = []
        self.bases: list[Tensor] = []  # (2, B, N, p) each
        self._files: list[str] = []
        self._same: list[
            Tensor
        ] = []  # of the first estimate with those of all snapshots up to its own, (i + 1, B, p)
        self._row: list[
            Tensor
        ] = []  # of the first estimate with all second ones up to its own snapshot
        self._column: list[
            Tensor
        ] = []  # of the second estimate with all first ones up to its own snapshot

    def append(self, label: Label, bases: Tensor, repeat: Tensor | None = None) -> None:
        """Add a snapshot: (B, N, p), and the same estimated again from independent noise, where there is any."""
        first = orthonormal_basis(bases)
        second = torch.full_like(first, torch.nan) if repeat is None else orthonormal_basis(repeat)
        stored = torch.stack([first, second]).float().cpu()
        if self.bases and stored.shape != self.bases[0].shape:
            raise InputError(
                f"bases of shape {tuple(bases.shape)} in a history of {tuple(self.bases[0].shape[1:])}: keep to one."
            )
        if self.folder is not None:
            self._files.append(_save(self.folder, len(self.labels), stored))
        self.labels.append(label)
        self._compare(stored)

    def _compare(self, stored: Tensor) -> None:
        self.bases.append(stored)
        first, second = torch.stack(self.bases).unbind(1)
        self._same.append(_angles(first, stored[0]))
        self._row.append(_angles(second, stored[0]))
        self._column.append(_angles(first, stored[1]))

    @property
    def shape(self) -> tuple[int, int]:
        """(N, p)."""
        return self.bases[0].shape[-2], self.bases[0].shape[-1]

    def angles(self) -> Angles:
        m = len(self.labels)
        same, cross = torch.empty(2, m, m, *self._same[0].shape[1:], dtype=torch.float64)
        for i in range(m):
            same[i, : i + 1] = same[: i + 1, i] = self._same[i]
            cross[i, : i + 1], cross[: i + 1, i] = self._row[i], self._column[i]
        return same, cross

    def rounding_floor(self) -> Tensor:
        """Zero: float32 rounds by 3e-8 rad, far below what is followed here."""
        return torch.zeros(len(self.labels), len(self.labels), dtype=torch.float64)

    def state_dict(self) -> dict[str, Any]:
        kept = {"bases": list(self.bases)} if self.folder is None else {"files": list(self._files)}
        return {"labels": list(self.labels), **kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if ("files" in state) != (self.folder is not None):
            raise InputError(
                "the saved history keeps its snapshots elsewhere; create this one as that one was (folder=…)."
            )
        self.labels, self._files = list(state["labels"]), list(state.get("files", []))
        bases = (
            state["bases"]
            if self.folder is None
            else [_load(self.folder / name) for name in self._files]
        )
        self.bases, self._same, self._row, self._column = [], [], [], []
        for stored in bases:
            self._compare(stored)


def _angles(first: Tensor, second: Tensor) -> Tensor:
    if first.isnan().any() or second.isnan().any():  # no repeat
        return torch.full((*first.shape[:-2], first.shape[-1]), torch.nan, dtype=torch.float64)
    return principal_angles(first, second)


def _save(folder: Path, index: int, stored: Tensor) -> str:
    name = f"{index:05d}-{zlib.crc32(stored.numpy().data):08x}.npy"  # by content: a resumed run never overwrites what differs
    with atomic(folder / name) as temporary, temporary.open("wb") as file:
        np.save(file, stored.numpy(), allow_pickle=False)
    return name


def _load(file: Path) -> Tensor:
    try:
        return torch.from_numpy(np.load(file, allow_pickle=False))
    except (OSError, ValueError) as error:
        raise InputError(
            f"the snapshot {file} cannot be read ({error}); restore the file."
        ) from None
