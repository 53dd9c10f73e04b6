"""A growing collection of long vectors on disk, in half precision, readable while it is written."""

import json
import os
from pathlib import Path
from typing import Literal

import numpy as np

from ired_interp.errors import InputError
from ired_interp.files import atomic, full_disk_named

_EMPTY = -1


class Collection:
    """Up to `capacity` vectors of N numbers, each with the step it belongs to, in a folder.

    The files are vectors.npy, scales.npy, steps.npy and layout.json.

    The files are preallocated; a vector is written before its step, and counts once its step is
    there, so a reader in another process, or one that comes after a kill, sees whole vectors only.
    A vector is stored as its maximum norm and float16 shares of that, so none under- or overflows.

    Parameters
    ----------
    folder : Path
        Where the files are, or will be.
    layout : dict[str, int] | None
        {name: length} of the vectors' parts, in order, when a new collection is made; an existing
        one is then gone on with.
    capacity : int
        Vectors to make room for.

    Raises
    ------
    InputError
        If there is no collection to open, or the existing one has another layout or capacity.
    """

    def __init__(
        self, folder: Path, layout: dict[str, int] | None = None, capacity: int = 0
    ) -> None:
        self.folder, description = folder, folder / "layout.json"
        mode: Literal["r", "r+"] = "r"
        if layout is not None:
            mode = "r+"
            if not description.exists():
                self._create(layout, capacity)
        if not description.exists():
            raise InputError(
                f"{folder} holds no collection of vectors (no layout.json); check the path."
            )
        self.layout: dict[str, int] = json.loads(description.read_text())
        self._vectors = np.load(folder / "vectors.npy", mmap_mode=mode, allow_pickle=False)
        self._scales = np.load(folder / "scales.npy", mmap_mode=mode, allow_pickle=False)
        self._steps = np.load(folder / "steps.npy", mmap_mode=mode, allow_pickle=False)
        if layout is not None and (layout != self.layout or capacity != self.capacity):
            raise InputError(
                f"the collection in {folder} was made for other vectors; choose another folder or "
                "remove it."
            )

    def _create(self, layout: dict[str, int], capacity: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        shapes = {
            "vectors": ((capacity, sum(layout.values())), np.float16),
            "scales": ((capacity,), np.float32),
        }
        for name, (shape, dtype) in shapes.items():
            path = self.folder / f"{name}.npy"
            with full_disk_named(path):
                np.lib.format.open_memmap(path, "w+", dtype, shape).flush()  # type: ignore[no-untyped-call]
                _reserve(path)
        np.save(self.folder / "steps.npy", np.full(capacity, _EMPTY, np.int64))
        with atomic(self.folder / "layout.json") as temporary:
            temporary.write_text(json.dumps(layout))

    @property
    def capacity(self) -> int:
        """How many vectors there is room for."""
        return len(self._steps)

    @property
    def steps(self) -> np.ndarray:
        """(m,) steps of the vectors there are."""
        return np.array(self._steps[self._steps != _EMPTY])

    def __len__(self) -> int:
        return int((self._steps != _EMPTY).sum())

    def append(self, step: int, vector: np.ndarray) -> bool:
        """Write a vector (N,); False where there is no room left."""
        row = len(self)
        if row == self.capacity:
            return False
        scale = float(np.abs(vector).max()) or 1.0
        self._vectors[row] = vector / scale
        self._scales[row] = scale
        self._vectors.flush()
        self._scales.flush()
        self._steps[row] = step
        self._steps.flush()
        return True

    def keep_until(self, step: int) -> None:
        """Drop the vectors after a step, to which a run has gone back."""
        self._steps[self._steps > step] = _EMPTY
        self._steps.flush()

    def __getitem__(self, rows: int | slice) -> np.ndarray:
        """Vectors (N,) or (rows, N) in float32."""
        scales: np.ndarray = self._scales[: len(self)][rows]
        vectors: np.ndarray = self._vectors[: len(self)][rows].astype(np.float32)
        vectors *= scales[..., None]
        return vectors

    def part(self, name: str) -> slice:
        """Where a part of the layout lies in a vector.

        Raises
        ------
        InputError
            If there is no such part.
        """
        names = list(self.layout)
        if name not in names:
            raise InputError(f"the vectors have no part {name!r}; there are {', '.join(names)}.")
        start = sum(self.layout[n] for n in names[: names.index(name)])
        return slice(start, start + self.layout[name])


def _reserve(path: Path) -> None:
    """Take the space on disk now: a mapped page that finds none later ends the process."""
    if hasattr(os, "posix_fallocate"):  # not on macOS
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
