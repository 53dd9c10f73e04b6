"""Band Lanczos: a Krylov basis that grows product by product and takes in fresh directions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ired_interp.errors import InputError
from ired_interp.spectra.basis import Basis
from ired_interp.spectra.images import FEW, Images
from ired_interp.spectra.operator import SymmetricOperator
from ired_interp.spectra.projected import Pending, eigenpairs
from ired_interp.spectra.vectors import gaussian, inner, norm, subtract


class Krylov:
    """Orthonormal rows Q, their projection H = Q A Qᵀ, and pending vectors P.

    A Qᵀ = QᵀH + Pᵀ(coupling). With one pending vector this is the Lanczos process. A fresh random
    direction can be added at any time (``inject``), so that a further copy of a multiple
    eigenvalue, which no single start vector sees, comes in. With ``restart`` it is the
    thick-restart process of Wu and Simon (2000).

    Orthogonality is lost slowly at first (Simon 1984), so it is measured at every step, by one
    scalar product with a random-signed sum of all rows; only when the measured loss exceeds
    ``tolerance`` are the last two vectors swept against the whole basis.

    Parameters
    ----------
    operator : SymmetricOperator
        A.
    storage : torch.device
        Where the basis lives.
    capacity : int
        Rows of the basis at most, but for those that it is loaded with.
    seed : int
        Of the random directions and signs.

    Attributes
    ----------
    basis : Basis
        Q, m rows.
    projection : numpy.ndarray
        (m, m) H, float64.
    drift : numpy.ndarray
        (m,) of each row, the length of what the relation above neglects of its image.
    pending : list of Pending
        P.
    tolerance : float
        Loss of orthogonality that is let be; its user may raise it.
    scale : float
        Largest entry of the projection in magnitude: an estimate of ‖A‖ from below.
    sketch : Tensor
        (N,) the random-signed sum of all rows.
    images : Images
        A times the vectors.
    generation, saved_rows : int
        Restarts so far, and rows of this generation that lie in a file (``krylov_file``).
    """

    def __init__(
        self, operator: SymmetricOperator, storage: torch.device, capacity: int, seed: int
    ) -> None:
        self.operator = operator
        self.size = operator.shape[0]
        self.tolerance = 16 * torch.finfo(operator.dtype).eps
        self.basis = Basis(self.size, operator.dtype, operator.device, storage, capacity)
        self._projection = np.zeros((0, 0))  # with room to grow
        self.drift = np.zeros(0)
        self.pending: list[Pending] = []
        self.scale = 0.0
        self.sweeps = 0
        self.sketch = torch.zeros(self.size, dtype=operator.dtype, device=operator.device)
        self.signs = np.random.default_rng([seed, 1])
        self.source = operator.source(seed, "lanczos")
        self.images = Images(operator)
        self.generation = 0
        self.saved_rows = 0

    def __len__(self) -> int:
        return len(self.basis)

    @property
    def projection(self) -> np.ndarray:
        """(m, m) H, float64."""
        return self._projection[: len(self.drift), : len(self.drift)]

    @projection.setter
    def projection(self, value: np.ndarray) -> None:
        self._projection = value

    def _grow(self, known: np.ndarray, diagonal: float) -> None:
        """Give the projection the row of a vector that has been added to the basis."""
        row = len(known)
        if row == len(self._projection):
            wider = np.zeros((2 * row + 16,) * 2)
            wider[:row, :row] = self._projection
            self._projection = wider
        self._projection[row, :row] = self._projection[:row, row] = known
        self._projection[row, row] = diagonal

    def inject(self, start: Tensor | None = None) -> bool:
        """Add a fresh direction.

        Parameters
        ----------
        start : Tensor, optional
            (N,) the direction; random where not given.

        Returns
        -------
        bool
            False if the basis spans the whole space already.

        Raises
        ------
        InputError
            If no direction outside the basis is found.
        """
        if len(self.basis) + len(self.pending) >= self.size:
            return False
        operator = self.operator
        for _ in range(5):
            v = (
                gaussian(self.size, operator.dtype, operator.device, self.source)
                if start is None
                else start.clone()
            )
            start, length = None, norm(v)
            if not 0 < length < float("inf"):
                continue
            left, *_ = self._clean(v)
            if left > 1e-3 * length / self.size**0.5:
                self.pending.append(Pending(v.div_(left), np.zeros(len(self.basis)), clean=True))
                return True
        raise InputError("found no start vector outside the basis; is the operator's size right?")

    def _clean(
        self, v: Tensor, *others: Tensor, along: Sequence[Tensor] = ()
    ) -> tuple[float, list[float], list[float]]:
        """Orthogonalise v against all rows, pending and other vectors.

        Again if that shortens it much. Those ``along`` lose their components along the rows, too.

        Returns the length of v, those of what was taken along the rows, of v the largest, and the
        lengths of those along.
        """
        lost: list[float] = []
        lengths: list[float] = []
        for _ in range(3):
            squares = [inner(v, v)]
            taken = self.basis.project_out(v, *(() if lost else along))
            for other in [*(p.vector for p in self.pending), *others]:
                subtract(v, [(other, inner(other, v))])
            squares += [inner(a, a) for a in (v, *(() if lost else along))]
            # Read at once, as each reading waits for the device.
            numbers = torch.cat([torch.stack(squares), taken]).sqrt().tolist()
            before, length, *rest = numbers[: len(squares)]
            taken_now = numbers[len(squares) :]
            lost = [max(taken_now[0], lost[0]), *lost[1:]] if lost else taken_now
            lengths = lengths or rest
            if length > 0.5 * before:
                break
        return length, lost, lengths

    def step(self, which: int = -1) -> float:
        """Apply the operator to a pending vector; what is new in its image becomes pending.

        Parameters
        ----------
        which : int
            Place of the vector in ``pending``; the newest where not given.

        Returns
        -------
        float
            Length of what is new, the coupling of this row with the newest pending vector; 0 where
            that is rounding alone.

        Raises
        ------
        InputError
            If the product is not finite.
        """
        chosen = self.pending.pop(which)
        q, known, rows = chosen.vector, chosen.coupling, len(self.basis)
        nonzero = np.flatnonzero(known)
        others = [p.vector for p in self.pending]
        w, numbers = self.images.remainder(q, known, self.basis, self.sketch, others)
        square, sketched, diagonal, *couplings, correction = numbers
        length = np.sqrt(square)
        image = np.sqrt(known @ known + diagonal**2 + sum(c**2 for c in couplings) + square)
        if not np.isfinite(image):
            raise InputError(
                "a product is not finite; check the objective for NaN or exploding values"
            )
        for p, c in zip(self.pending, couplings, strict=True):
            p.coupling = np.append(p.coupling, c)
        if rows == 1:
            self.operator.expect_symmetric(abs(sketched), image / self.size**0.5)
        loss = abs(sketched) / length if length else 0.0
        clean = rows > 0 and (loss > self.tolerance or len(nonzero) > FEW or length < 1e-3 * image)
        drift, length = self._sweep(chosen, w) if clean else (loss * length, float(length))
        self.scale = max(self.scale, abs(diagonal + correction), length)
        room = rows + 1 + len(self.pending) < self.size
        goes_on = room and self.operator.any_rank(
            length > torch.finfo(w.dtype).eps * max(self.scale, image)
        )
        if goes_on:
            w.div_(length)
            self.images.begin(w)
        self.drift = np.append(self.drift, drift)
        self.basis.append(q)
        self.sketch.add_(q, alpha=self._sign())
        self._grow(known, diagonal + correction)
        if goes_on:
            coupling = np.zeros(rows + 1)
            coupling[rows] = length
            self.pending.append(Pending(w, coupling, clean))
            return length
        self.drift[rows] = float(np.hypot(self.drift[rows], length))
        return 0.0

    def _sweep(self, chosen: Pending, w: Tensor) -> tuple[float, float]:
        """Orthogonalise w, and q unless an earlier sweep has, against all rows.

        Returns the length of what was taken from w, which the projection leaves out, so that it
        adds to this row's residual, and the length of what is left.
        """
        self.sweeps += 1
        unclean = [p for p in [chosen, *self.pending] if not p.clean]
        for p in unclean:
            self.images.forget(p.vector)
        length, (drift, *lost), lengths = self._clean(
            w, chosen.vector, along=[p.vector for p in unclean]
        )
        for p, taken, left in zip(unclean, lost, lengths, strict=True):
            self.drift = np.hypot(self.drift, taken * p.coupling[: len(self.drift)])
            p.vector.div_(left)
            p.clean = True
        return drift, length

    def _sign(self) -> float:
        return 1.0 if self.signs.random() < 0.5 else -1.0

    def ritz(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Solve the projected eigenproblem.

        Returns
        -------
        tuple of numpy.ndarray
            Ritz values (m,) ascending, their coordinates (m, m) in columns, and residual norms
            (m,), all float64.
        """
        values, coordinates = eigenpairs(self.projection)
        squares = sum(
            ((p.coupling @ coordinates) ** 2 for p in self.pending), np.zeros(len(values))
        )
        return values, coordinates, np.sqrt(squares)

    def drifts(self, coordinates: np.ndarray) -> np.ndarray:
        """Add up what the measured loss of orthogonality contributes to residuals.

        Parameters
        ----------
        coordinates : numpy.ndarray
            (m, r) of the Ritz vectors, in columns.

        Returns
        -------
        numpy.ndarray
            (r,).
        """
        added: np.ndarray = np.sqrt((self.drift**2) @ coordinates**2)
        return added

    def restart(self, values: np.ndarray, coordinates: np.ndarray) -> None:
        """Keep only the given Ritz pairs and the pending vectors.

        Parameters
        ----------
        values : numpy.ndarray
            (r,) Ritz values.
        coordinates : numpy.ndarray
            (m, r) their coordinates, in columns.
        """
        self.basis.rotate(torch.from_numpy(np.ascontiguousarray(coordinates)))
        self.projection = np.diag(values)
        self.drift = self.drifts(coordinates)
        for p in self.pending:
            p.coupling = p.coupling @ coordinates
        signs = torch.tensor([self._sign() for _ in values], dtype=torch.float64)
        self.sketch = self.basis.combine(signs)
        self.generation += 1
        self.saved_rows = 0
