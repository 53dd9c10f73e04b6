"""A Krylov basis in a folder, from which a run that was killed goes on.

Rows of the basis are appended to one file, all else replaces a small file; the small file is the
truth, so that a kill at any moment leaves the state before or after a save.
"""

from __future__ import annotations

import json
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ired_interp.errors import InputError
from ired_interp.files import atomic, full_disk_named
from ired_interp.spectra.krylov import Krylov
from ired_interp.spectra.projected import Pending
from ired_interp.spectra.vectors import norm


def save_krylov(krylov: Krylov, folder: Path, extra: dict[str, Any]) -> None:
    """Write what is new since the last save.

    Parameters
    ----------
    krylov : Krylov
        What is saved.
    folder : Path
        Where; it is made.
    extra : dict
        JSON values that ``load_krylov`` returns.

    Raises
    ------
    RunError
        If the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows_file = folder / f"basis-{krylov.generation}.bin"
    with (
        full_disk_named(rows_file),
        open(rows_file, "r+b" if krylov.saved_rows else "wb") as file,
    ):
        file.truncate(krylov.saved_rows * krylov.size * krylov.sketch.element_size())
        file.seek(0, os.SEEK_END)
        for i in range(krylov.saved_rows, len(krylov.basis)):
            file.write(krylov.basis[i].cpu().numpy().tobytes())
        file.flush()
        os.fsync(file.fileno())
    krylov.saved_rows = len(krylov.basis)
    meta = dict(
        extra,
        size=krylov.size,
        dtype=str(krylov.sketch.dtype),
        generation=krylov.generation,
        scale=krylov.scale,
        sweeps=krylov.sweeps,
        signs=krylov.signs.bit_generator.state,
    )
    sketch = krylov.sketch.cpu().numpy()
    vectors = [p.vector.cpu().numpy() for p in krylov.pending]
    arrays: dict[str, Any] = {
        "projection": krylov.projection,
        "drift": krylov.drift,
        "sketch": sketch,
        "source": krylov.source.get_state().numpy(),
        "pending": np.stack(vectors) if vectors else np.zeros((0, krylov.size), sketch.dtype),
        "coupling": np.array([p.coupling for p in krylov.pending]),
        "clean": np.array([p.clean for p in krylov.pending], dtype=bool),
        "meta": np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8),
    }
    with atomic(folder / "state.npz") as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    for old in folder.glob("basis-*.bin"):
        if old != rows_file:
            old.unlink()


def load_krylov(krylov: Krylov, folder: Path) -> dict[str, Any]:
    """Read a saved state.

    Rank zero reads and tells the others, which may not see its folder, or not yet its newest state.

    Parameters
    ----------
    krylov : Krylov
        A new one, which takes the state up.
    folder : Path
        Where it was saved.

    Returns
    -------
    dict
        The ``extra`` that was saved with it, among other values.

    Raises
    ------
    InputError
        If the state is of another size or dtype, or does not belong to this operator (found by one
        product).
    """
    operator = krylov.operator
    reads = operator.is_rank_zero()
    stored = operator.broadcast(_arrays(folder / "state.npz") if reads else {})
    meta: dict[str, Any] = json.loads(stored["meta"].tobytes())
    if (meta["size"], meta["dtype"]) != (krylov.size, str(krylov.sketch.dtype)):
        raise InputError(
            f"the saved run in {folder} has size {meta['size']} and {meta['dtype']}, the operator "
            f"{krylov.size} and {krylov.sketch.dtype}; give another folder or delete this one"
        )
    krylov.projection, krylov.drift = stored["projection"], stored["drift"]
    krylov.generation, krylov.scale = meta["generation"], meta["scale"]
    krylov.sweeps = meta["sweeps"]
    krylov.signs.bit_generator.state = meta["signs"]
    drawn = torch.from_numpy(stored["source"])
    if drawn.shape == krylov.source.get_state().shape:  # else saved on another kind of device
        krylov.source.set_state(drawn)
    krylov.sketch = torch.from_numpy(stored["sketch"]).to(operator.device)
    swept = stored.get("clean", np.zeros(len(stored["pending"]), dtype=bool))
    krylov.pending = [
        Pending(torch.from_numpy(v).to(operator.device), np.array(c), bool(clean))
        for v, c, clean in zip(stored["pending"], stored["coupling"], swept, strict=True)
    ]
    kind, rows = stored["sketch"].dtype, folder / f"basis-{krylov.generation}.bin"
    with open(rows, "rb") if reads else nullcontext() as file:
        for _ in range(len(krylov.projection)):
            row = np.empty(0) if file is None else np.fromfile(file, kind, count=krylov.size)
            krylov.basis.append(torch.from_numpy(operator.broadcast(row)))
    krylov.saved_rows = len(krylov.basis)
    _check_belongs(krylov, folder)
    return meta


def _check_belongs(krylov: Krylov, folder: Path) -> None:
    """Hold A Qᵀ = QᵀH + Pᵀ(coupling) against one product, with a random-signed sum of all rows.

    Raises
    ------
    InputError
        If they differ.
    """
    operator = krylov.operator
    operator.check()
    if not len(krylov.basis):
        return
    mix = np.random.default_rng(0).choice([-1.0, 1.0], len(krylov.basis))
    vector = krylov.basis.combine(torch.from_numpy(mix))
    image = operator @ vector
    expected = krylov.basis.combine(torch.from_numpy(krylov.projection @ mix))
    for p in krylov.pending:
        expected.add_(p.vector, alpha=float(p.coupling @ mix))
    if norm(image - expected) > 1e-2 * norm(image):
        raise InputError(
            f"the saved run in {folder} belongs to another objective, other data or other "
            "parameters; give another folder or delete this one"
        )


def _arrays(file: Path) -> dict[str, np.ndarray]:
    with np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
