"""Which Ritz pairs of a Lanczos run are wanted, and which of them have converged."""

from __future__ import annotations

import numpy as np
import torch

from ired_interp.spectra.krylov import Krylov

_CLOSE = 4.0  # neighbours within this many tolerances are asked for residuals smaller by as much
_LOSS = 0.3  # loss of orthogonality that is let be, as a share of the residual asked for


def ranked(values: np.ndarray, which: str) -> np.ndarray:
    """Order ascending values by how much they are wanted.

    Parameters
    ----------
    values : numpy.ndarray
        (m,) ascending.
    which : str
        "LA", "SA", "BE" or "LM", as in ``lanczos``.

    Returns
    -------
    numpy.ndarray
        (m,) indices, the most wanted first.
    """
    descending = np.arange(len(values))[::-1]
    if which == "LA":
        return descending
    if which == "SA":
        return descending[::-1]
    if which == "LM":
        return np.argsort(-np.abs(values), kind="stable")
    ends = np.empty(len(values), dtype=int)
    ends[0::2], ends[1::2] = descending[: len(ends[0::2])], descending[::-1][: len(ends[1::2])]
    return ends


class Trend:
    """Share of the products that are done, from how the largest residual falls to its tolerance."""

    def __init__(self) -> None:
        self._history: list[tuple[int, float]] = []

    def share(self, products: int, excess: float) -> float | None:
        """Take in where the run stands, and extrapolate.

        Parameters
        ----------
        products : int
            So far.
        excess : float
            Largest residual over its tolerance.

        Returns
        -------
        float or None
            Between 0 and 1; None while the residuals do not fall.
        """
        self._history.append((products, float(np.log(max(excess, 1e-30)))))
        recent = self._history[len(self._history) // 2 :]
        steps, fall = recent[-1][0] - recent[0][0], recent[0][1] - recent[-1][1]
        if steps <= 0 or fall <= 0:
            return None
        return products / (products + max(0.0, self._history[-1][1]) * steps / fall)


class LanczosRun:
    """One Lanczos run: what is wanted, what has been found, whether it holds.

    Parameters
    ----------
    krylov : Krylov
        The basis that grows.
    k, which, tol
        As in ``lanczos``.

    Attributes
    ----------
    values, coordinates, residuals, limits : numpy.ndarray
        Ritz values (m,), coordinates (m, m) in columns, residual norms (m,) and what is asked of
        them (m,), the most wanted first, as ``rayleigh_ritz`` last found them.
    converged : numpy.ndarray
        (k,) bool, of the wanted pairs.
    baseline : list of float, optional
        Eigenvalues under verification.
    until : int
        Product at which the verification ends.
    used : int
        Products so far, earlier calls included.
    """

    def __init__(self, krylov: Krylov, k: int, which: str, tol: float) -> None:
        self.krylov, self.k, self.which, self.tol = krylov, k, which, tol
        self.eps = torch.finfo(krylov.operator.dtype).eps
        self.baseline: list[float] | None = None
        self.until = 0
        self.used = 0
        self.restarts = 0

    def rayleigh_ritz(self) -> None:
        """Find the Ritz pairs of the present basis, and which of them have converged."""
        values, coordinates, residuals = self.krylov.ritz()
        order = ranked(values, self.which)
        self.values, self.coordinates, self.residuals = (
            values[order],
            coordinates[:, order],
            residuals[order],
        )
        sizes, scale = np.abs(self.values), np.abs(self.values).max()
        self.rounding = 20 * self.eps * scale
        self.limits = np.maximum(
            self.tol * np.maximum(sizes, self.eps ** (2 / 3) * scale), self.rounding
        )
        # A Ritz pair amid close neighbours may stand for two eigenvalues; a smaller residual tells
        # them apart.
        order = np.argsort(self.values)
        gaps = np.diff(self.values[order], prepend=-np.inf, append=np.inf)
        nearest = np.empty_like(gaps[1:])
        nearest[order] = np.minimum(gaps[1:], gaps[:-1])
        demanded = np.where(
            nearest < _CLOSE * self.limits,
            np.maximum(self.limits / _CLOSE, self.rounding),
            self.limits,
        )
        self.converged = (self.residuals <= demanded)[: self.k]
        loss = _LOSS * float(self.limits[: self.k].min()) / scale if scale else 0.0
        self.krylov.tolerance = float(np.clip(loss, 16 * self.eps, self.eps**0.5))

    @property
    def excess(self) -> float:
        """Largest residual of a wanted pair over what is asked of it."""
        limits = np.maximum(self.limits, np.finfo(float).tiny)
        return float((self.residuals / limits)[: self.k].max())

    def settled(self) -> bool:
        """Whether all wanted pairs converged, and a fresh direction changed none of them.

        Ranks decide together: the next vector, and how many more there are, must be the same on
        all of them.

        Returns
        -------
        bool
            The same on every rank.
        """
        any_rank = self.krylov.operator.any_rank
        if any_rank(len(self.values) < self.k or not self.converged.all()):
            if self.baseline is not None and self.used >= self.until:
                self.baseline = None
            return False
        if self.baseline is None:
            if not self.krylov.inject():
                return True
            self.baseline = self.values[: self.k].tolist()
            self.until = self.used + max(4, self.used // 20)
            return False
        if self.used < self.until:
            return False
        changed = np.abs(self.values[: self.k] - np.array(self.baseline)) > self.limits[: self.k]
        self.baseline = None
        return self.settled() if any_rank(bool(changed.any())) else True

    def restart(self, capacity: int) -> None:
        """Shrink the basis to its most wanted Ritz vectors (thick restart).

        Parameters
        ----------
        capacity : int
            Basis vectors at most.
        """
        self.rayleigh_ritz()
        keep = min(len(self.values) - 1, self.k + max(2, (capacity - self.k) // 3))
        self.krylov.restart(self.values[:keep], self.coordinates[:, :keep])
        self.restarts += 1

    def notes(self) -> list[str]:
        """Say what the residuals of the wanted pairs leave open.

        Returns
        -------
        list of str
            Sentences.
        """
        k, found = self.k, []
        unfinished = k - int(self.converged.sum())
        if unfinished:
            found.append(
                f"{unfinished} of {k} eigenpairs did not converge to {self.tol:g}; see converged "
                "and residuals"
            )
        values, residuals = self.values[: k + 1], self.residuals[: k + 1]
        order = np.argsort(values)
        close = np.diff(values[order]) < residuals[order][:-1] + residuals[order][1:]
        close &= np.minimum(order[:-1], order[1:]) < k
        if close.any():
            pairs = np.flatnonzero(close)
            members = values[order][np.unique(np.concatenate([pairs, pairs + 1]))]
            found.append(
                f"eigenvalues between {members.min():.6g} and {members.max():.6g} lie closer "
                "together than their residuals, which then cannot prove that none was missed; ask "
                "for a smaller tol to separate them"
            )
        return found
