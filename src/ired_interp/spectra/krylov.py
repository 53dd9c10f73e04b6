"""Band Lanczos: a Krylov basis that grows product by product, can take in fresh directions, shrink, and be saved."""

from __future__ import annotations

import json
import os
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ired_interp.errors import InputError
from ired_interp.files import atomic
from ired_interp.random import stream
from ired_interp.spectra.basis import Basis
from ired_interp.spectra.operator import SymmetricOperator
from ired_interp.spectra.vectors import dot, gaussian, norm

_FEW = 3  # up to this many known coefficients are subtracted one by one; more of them by one pass over the basis


@dataclass
class Pending:
    """A unit vector p to which the operator has not been applied yet, and its coupling ⟨p, A q_i⟩ to each row q_i."""

    vector: Tensor
    coupling: np.ndarray
    clean: bool  # swept against every row that was there when it came


class Krylov:
    """Orthonormal rows Q, their projection H = Q A Qᵀ in float64, and pending vectors P: A Qᵀ = QᵀH + Pᵀ(coupling).

    With one pending vector this is the Lanczos process. A fresh random direction can be added at any time
    (``inject``), so that a further copy of a multiple eigenvalue, which no single start vector sees, comes in. With
    ``restart`` it is the thick-restart process of Wu and Simon (2000).

    Orthogonality is lost slowly at first (Simon 1984), so it is measured at every step, by one scalar product with a
    random-signed sum of all rows; only when the measured loss exceeds ``tolerance`` are the last two vectors swept
    against the whole basis.
    """

    def __init__(self, operator: SymmetricOperator, storage: torch.device, seed: int) -> None:
        self.operator = operator
        self.size = operator.shape[0]
        self.tolerance = (
            16 * torch.finfo(operator.dtype).eps
        )  # loss of orthogonality that is let be; its user may raise it
        self.basis = Basis(self.size, operator.dtype, operator.device, storage)
        self.projection = np.zeros((0, 0))
        self.drift = np.zeros(
            0
        )  # of each row, the length of what A Qᵀ = QᵀH + … neglects of its image
        self.pending: list[Pending] = []
        self.scale = 0.0  # largest |entry| of the projection seen: an estimate of ‖A‖ from below
        self.sweeps = 0
        self._sketch = torch.zeros(self.size, dtype=operator.dtype, device=operator.device)
        self._signs = np.random.default_rng([seed, 1])
        self._source = stream("cpu", seed, "lanczos")
        self._generation = 0
        self._saved_rows = 0

    def __len__(self) -> int:
        return len(self.basis)

    def inject(self, start: Tensor | None = None) -> bool:
        """Add a fresh direction (random, or the one given); False if the basis spans the whole space already."""
        if len(self.basis) + len(self.pending) >= self.size:
            return False
        operator = self.operator
        for _ in range(5):
            v = (
                gaussian(self.size, operator.dtype, operator.device, self._source)
                if start is None
                else start.clone()
            )
            start, length = None, norm(v)
            if not 0 < length < float("inf"):
                continue
            for _ in range(3):
                self._clean(v)
            if norm(v) > 1e-3 * length / self.size**0.5:
                self.pending.append(Pending(v.div_(norm(v)), np.zeros(len(self.basis)), clean=True))
                return True
        raise InputError("found no start vector outside the basis; is the operator's size right?")

    def _clean(self, v: Tensor, *others: Tensor) -> Tensor:
        lost = self.basis.project_out(v)
        for other in [*(p.vector for p in self.pending), *others]:
            v.sub_(other, alpha=dot(other, v))
        return lost

    def step(self, newest: bool = False) -> None:
        """Apply the operator to the oldest (or newest) pending vector; what is new in its image becomes pending."""
        chosen = self.pending.pop(-1 if newest else 0)
        q, known, rows = chosen.vector, chosen.coupling, len(self.basis)
        w = self.operator @ q
        image = norm(w)
        if not np.isfinite(image):
            raise InputError(
                "a product is not finite; check the objective for NaN or exploding values"
            )
        nonzero = np.flatnonzero(known)
        if len(nonzero) <= _FEW:
            for i in nonzero:
                w.sub_(self.basis[i], alpha=float(known[i]))
        else:
            w.sub_(self.basis.combine(torch.from_numpy(known)))
        diagonal = dot(q, w)
        w.sub_(q, alpha=diagonal)
        for p in self.pending:
            c = dot(p.vector, w)
            w.sub_(p.vector, alpha=c)
            p.coupling = np.append(p.coupling, c)
        correction = dot(q, w)
        w.sub_(q, alpha=correction)
        length = norm(w)
        loss = abs(dot(self._sketch, w)) / length if length else 0.0
        clean = rows > 0 and (loss > self.tolerance or len(nonzero) > _FEW or length < 1e-3 * image)
        drift = self._sweep(chosen, w) if clean else loss * length
        length = norm(w)
        self.drift = np.append(self.drift, drift)
        self.basis.append(q)
        self._sketch.add_(q, alpha=self._sign())

        grown = np.zeros((rows + 1, rows + 1))
        grown[:rows, :rows] = self.projection
        grown[rows, :rows] = grown[:rows, rows] = known
        grown[rows, rows] = diagonal + correction
        self.projection = grown
        self.scale = max(self.scale, abs(grown[rows, rows]), length)
        room = rows + 1 + len(self.pending) < self.size
        if room and self.operator.agree(
            length > 50 * torch.finfo(w.dtype).eps * max(self.scale, image)
        ):
            coupling = np.zeros(rows + 1)
            coupling[rows] = length
            self.pending.append(Pending(w.div_(length), coupling, clean))

    def _sweep(self, chosen: Pending, w: Tensor) -> float:
        """Orthogonalise w, and q unless an earlier sweep has, against all rows; again if that shortens w much.

        Returns the length of what was taken from w: the projection leaves it out, so it adds to this row's residual.
        """
        self.sweeps += 1
        for p in [chosen, *self.pending]:
            if not p.clean:
                lost = float(self.basis.project_out(p.vector).norm())
                self.drift = np.hypot(self.drift, lost * p.coupling[: len(self.drift)])
                p.vector.div_(norm(p.vector))
                p.clean = True
        drift = 0.0
        for _ in range(3):
            before = norm(w)
            drift = max(drift, float(self._clean(w, chosen.vector).norm()))
            if norm(w) > 0.5 * before:
                break
        return drift

    def _sign(self) -> float:
        return 1.0 if self._signs.random() < 0.5 else -1.0

    def ritz(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ritz values (m,) ascending, their coordinates (m, m) in columns, and residual norms (m,), all float64."""
        values, coordinates = np.linalg.eigh(self.projection)
        squares = sum(
            ((p.coupling @ coordinates) ** 2 for p in self.pending), np.zeros(len(values))
        )
        return values, coordinates, np.sqrt(squares)

    def drifts(self, coordinates: np.ndarray) -> np.ndarray:
        """What the measured loss of orthogonality adds to residuals (r,) of Ritz vectors, coordinates (m, r)."""
        return np.sqrt((self.drift**2) @ coordinates**2)

    def restart(self, values: np.ndarray, coordinates: np.ndarray) -> None:
        """Keep only the given Ritz pairs (values (r,), coordinates (m, r)) and the pending vectors."""
        self.basis.rotate(torch.from_numpy(np.ascontiguousarray(coordinates)))
        self.projection = np.diag(values)
        self.drift = self.drifts(coordinates)
        for p in self.pending:
            p.coupling = p.coupling @ coordinates
        signs = torch.tensor([self._sign() for _ in values], dtype=torch.float64)
        self._sketch = self.basis.combine(signs)
        self._generation += 1
        self._saved_rows = 0

    # ---- files: rows of the basis are appended to a file, all else replaces a small file; the small file is the truth

    def save(self, folder: Path, extra: dict) -> None:
        """Write what is new since the last save; a kill at any moment leaves the state before or after it."""
        folder.mkdir(parents=True, exist_ok=True)
        rows_file = folder / f"basis-{self._generation}.bin"
        with open(rows_file, "r+b" if self._saved_rows else "wb") as file:
            file.truncate(self._saved_rows * self.size * self._sketch.element_size())
            file.seek(0, os.SEEK_END)
            for i in range(self._saved_rows, len(self.basis)):
                self.basis[i].cpu().numpy().tofile(file)
            file.flush()
            os.fsync(file.fileno())
        self._saved_rows = len(self.basis)
        meta = dict(
            extra,
            size=self.size,
            dtype=str(self._sketch.dtype),
            generation=self._generation,
            scale=self.scale,
            sweeps=self.sweeps,
            signs=self._signs.bit_generator.state,
        )
        arrays = {
            "projection": self.projection,
            "drift": self.drift,
            "sketch": self._sketch.cpu().numpy(),
            "source": self._source.get_state().numpy(),
            "pending": np.stack([p.vector.cpu().numpy() for p in self.pending])
            if self.pending
            else np.zeros((0, self.size), self._sketch.cpu().numpy().dtype),
            "coupling": np.array([p.coupling for p in self.pending]),
            "meta": np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8),
        }
        with atomic(folder / "state.npz") as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        for old in folder.glob("basis-*.bin"):
            if old != rows_file:
                old.unlink()

    def load(self, folder: Path) -> dict:
        """Read a saved state into this object; returns the ``extra`` that was saved with it.

        The main rank reads and tells the others, which may not see its folder, or not yet its newest state.

        Raises
        ------
        InputError
            If the state is of another size or dtype, or does not belong to this operator (found by one product).
        """
        main = self.operator.main()
        stored = self.operator.from_main(_arrays(folder / "state.npz") if main else {})
        meta = json.loads(stored["meta"].tobytes())
        if (meta["size"], meta["dtype"]) != (self.size, str(self._sketch.dtype)):
            raise InputError(
                f"the saved run in {folder} has size {meta['size']} and {meta['dtype']}, the operator {self.size} and "
                f"{self._sketch.dtype}; give another folder or delete this one"
            )
        self.projection, self.drift = stored["projection"], stored["drift"]
        device = self.operator.device
        self._generation, self.scale, self.sweeps = (
            meta["generation"],
            meta["scale"],
            meta["sweeps"],
        )
        self._signs.bit_generator.state = meta["signs"]
        self._source.set_state(torch.from_numpy(stored["source"]))
        self._sketch = torch.from_numpy(stored["sketch"]).to(device)
        self.pending = [
            Pending(torch.from_numpy(v).to(device), np.array(c), clean=False)
            for v, c in zip(stored["pending"], stored["coupling"], strict=True)
        ]
        kind = stored["sketch"].dtype
        with (
            open(folder / f"basis-{self._generation}.bin", "rb") if main else nullcontext() as file
        ):
            for _ in range(len(self.projection)):
                row = (
                    np.empty(0) if file is None else np.fromfile(file, dtype=kind, count=self.size)
                )
                self.basis.append(torch.from_numpy(self.operator.from_main(row)))
        self._saved_rows = len(self.basis)
        self._belongs(folder)
        return meta

    def _belongs(self, folder: Path) -> None:
        """Hold A Qᵀ = QᵀH + Pᵀ(coupling) against one product, with a random-signed sum of all rows."""
        if not len(self.basis):
            return
        mix = np.random.default_rng(0).choice([-1.0, 1.0], len(self.basis))
        image = self.operator @ self.basis.combine(torch.from_numpy(mix))
        expected = self.basis.combine(torch.from_numpy(self.projection @ mix))
        for p in self.pending:
            expected.add_(p.vector, alpha=float(p.coupling @ mix))
        if norm(image - expected) > 1e-2 * norm(image):
            raise InputError(
                f"the saved run in {folder} belongs to another objective, other data or other parameters; give another "
                "folder or delete this one"
            )


def _arrays(file: Path) -> dict[str, np.ndarray]:
    with np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
