"""Which Ritz pairs of a Lanczos run are wanted, and which of them have converged."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from ired_interp.spectra.krylov import Krylov
from ired_interp.spectra.verification import Outcome, Threshold, Verification, thresholds

_TINY = np.finfo(float).tiny
# A pair at the edge can have a residual within tol and stand for its neighbour while a wanted one,
# further off than tol, has yet to emerge. That takes two eigenvalues closer than the residual: rare
# where it is a hundredth of their mean distance. A quarter of tol is the least that is asked for,
# with which it is rarer than with eigsh.
_DISTANCE, _SHARE = 0.01, 0.25
_LOOKS = 10  # at Ritz pairs while the basis doubles, about, before their residuals are near
_LOSS = 0.1  # loss of orthogonality that is let be, as a share of the residual asked for


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


def mean_distances(values: np.ndarray, which: str) -> np.ndarray:
    """Mean distance between the wanted eigenvalues, from the outermost to the last, of each end.

    Parameters
    ----------
    values : numpy.ndarray
        (k,) the most wanted first.
    which : str
        As in ``lanczos``.

    Returns
    -------
    numpy.ndarray
        (k,) 0 where an end has one eigenvalue only.

    Examples
    --------
    >>> mean_distances(np.array([9.0, -4.0, 7.0, -3.0, 3.0]), "BE")
    array([2. , 0.5, 2. , 0.5, 2. ])
    """
    sizes = np.abs(values) if which == "LM" else values
    distances = np.empty(len(values))
    for end in (slice(0, None, 2), slice(1, None, 2)) if which == "BE" else (slice(None),):
        if len(part := sizes[end]):
            distances[end] = np.ptp(part) / len(part)
    return distances


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
    values, coordinates, residuals : numpy.ndarray
        Ritz values (m,), coordinates (m, m) in columns and residual norms (m,), the most wanted
        first, as ``rayleigh_ritz`` last found them.
    limits : numpy.ndarray
        (m,) tol·|λ|, what is asked of the residuals.
    rounding : float
        What rounding may leave of a product.
    finished : numpy.ndarray
        (k,) bool: wanted pairs whose residuals are within tol·|λ| and small beside the distance
        between eigenvalues, or as small as the dtype allows.
    verification : Verification, optional
        The test for hidden eigenvalues that is under way.
    used, looked, wait : int
        Products so far, earlier calls included, as many when Ritz pairs were last looked at, and
        products until they are again.
    excess : float
        Largest residual of a wanted pair over what is asked of it.
    """

    def __init__(self, krylov: Krylov, k: int, which: str, tol: float) -> None:
        self.krylov, self.k, self.which, self.tol = krylov, k, which, tol
        self.eps = torch.finfo(krylov.operator.dtype).eps
        self.verification: Verification | None = None
        self.used = self.looked = self.wait = 0
        self.restarts = 0
        self.excess = np.inf
        self._next = -1  # place of the pending vector to which the operator is applied next
        self._coupling = 0.0  # of the newest row with the newest pending vector
        self._outcome: Outcome = "open"
        self._ruled_out: list[Threshold] = []

    def step(self) -> None:
        """Apply the operator once, and judge the test that is under way."""
        self._coupling = self.krylov.step(self._next)
        self._next = -1  # the chain that has been lengthened goes on
        self.used += 1
        if self.verification is not None:
            outcome = self.verification.outcome(self.krylov.projection, self._coupling)
            self._outcome = self.krylov.operator.broadcast(outcome)

    def due(self) -> bool:
        """Whether it is time to look at the Ritz pairs.

        Returns
        -------
        bool
            The same on every rank.
        """
        if self.verification is not None:
            return self._outcome != "open"
        return len(self.krylov) >= self.k and self.used - self.looked >= self.wait

    def look(self) -> None:
        """Find the Ritz pairs, and when to look again: half way to where they will be finished."""
        excess, since = self.excess, self.used - self.looked
        self.rayleigh_ritz()
        self.looked, self.wait = self.used, max(1, len(self.krylov) // _LOOKS)
        if 1 < self.excess < excess < np.inf:
            left = since * np.log(self.excess) / np.log(excess / self.excess)
            self.wait = int(min(self.wait, max(1, left / 2)))

    def rayleigh_ritz(self) -> None:
        """Find the Ritz pairs of the present basis, and which of them are finished."""
        values, coordinates, residuals = self.krylov.ritz()
        order = ranked(values, self.which)
        self.values, self.coordinates = values[order], coordinates[:, order]
        self.residuals = residuals[order]
        scale = np.abs(values).max()
        self.rounding = 20 * self.eps * scale
        self.limits = self.tol * np.abs(self.values)
        # Smaller residuals than eps·‖A‖ say nothing of the operator.
        limits = self.limits[: self.k]
        apart = _DISTANCE * mean_distances(self.values[: self.k], self.which)
        demanded = np.maximum(np.clip(apart, _SHARE * limits, limits), self.eps * scale)
        self.finished = self.residuals[: self.k] <= demanded
        self.excess = float((self.residuals[: self.k] / np.maximum(demanded, _TINY)).max())
        loss = _LOSS * float(demanded.min()) / scale if scale else 0.0
        self.krylov.tolerance = float(np.clip(loss, 16 * self.eps, self.eps**0.5))

    def settled(self) -> bool:
        """Whether all wanted pairs are finished, and no other hides beyond them.

        Ranks decide together: the next vector must be the same on all of them.

        Returns
        -------
        bool
            The same on every rank.
        """
        krylov, operator = self.krylov, self.krylov.operator
        if self.verification is not None and self._outcome == "open":
            return False
        cleared = self.verification is not None and self._outcome == "clear"
        self._ruled_out = self.verification.ends if cleared and self.verification else []
        self.verification = None
        if operator.any_rank(len(self.values) < self.k or not self.finished.all()):
            unfinished = self.coordinates[:, : self.k][:, ~self.finished]
            shares = [((p.coupling @ unfinished) ** 2).sum() for p in krylov.pending]
            self._next = operator.broadcast(int(np.argmax(shares)) if shares else -1)
            return False
        if cleared or not krylov.inject():
            return True
        slack = np.maximum(self.limits, self.rounding)[: self.k]
        scale, room = float(np.abs(self.values).max()), krylov.size - len(krylov)
        ends = thresholds(self.values[: self.k], self.which, slack, scale, room)
        self.verification, self._outcome = Verification(len(krylov), ends), "open"
        self._next = -1
        return False

    def restart(self, capacity: int) -> None:
        """Shrink the basis to its most wanted Ritz vectors (thick restart).

        Parameters
        ----------
        capacity : int
            Basis vectors at most.
        """
        self.rayleigh_ritz()
        keep = min(len(self.values) - 1, self.k + max(2, (capacity - self.k) // 3))
        if self.verification is not None:
            self.verification.restart(self.krylov.projection, self._coupling, keep)
        self.krylov.restart(self.values[:keep], self.coordinates[:, :keep])
        self.restarts += 1

    def saved(self) -> dict[str, Any]:
        """State as JSON values; the basis is saved by ``save_krylov``."""
        return {
            "used": self.used,
            "looked": self.looked,
            "wait": self.wait,
            "restarts": self.restarts,
            "excess": self.excess,
            "tolerance": self.krylov.tolerance,
            "next": self._next,
            "coupling": self._coupling,
            "verification": self.verification and self.verification.saved(),
            "ruled_out": [asdict(end) for end in self._ruled_out],
        }

    def take_up(self, state: dict[str, Any]) -> None:
        """Go on from a saved state of a run for the same eigenpairs.

        Parameters
        ----------
        state : dict
            As ``saved`` gives it; what a former version left out is found anew.
        """
        self.used, self.restarts = state["used"], state["restarts"]
        if state["verification"] is not None:
            self.verification = Verification.loaded(state["verification"])
        if len(self.krylov) >= self.k:
            self.rayleigh_ritz()
        if "looked" in state:
            self.looked, self.excess = state["looked"], state["excess"]
            self.wait = state.get("wait", 0)
            self.krylov.tolerance = state["tolerance"]
            self._next, self._coupling = state["next"], state["coupling"]
            self._ruled_out = [Threshold(**end) for end in state["ruled_out"]]

    def notes(self, converged: np.ndarray) -> list[str]:
        """Say what the residuals of the wanted pairs leave open.

        Parameters
        ----------
        converged : numpy.ndarray
            (k,) bool, in the order of ``values``.

        Returns
        -------
        list of str
            Sentences.
        """
        k, found = self.k, []
        kind = str(self.krylov.operator.precision).removeprefix("torch.")
        remedies = {"float64": "ask for fewer eigenpairs", "float32": "compute in float64"}
        finer = remedies.get(kind, "evaluate the objective in float32")
        small = ~converged & (self.limits[:k] < self.rounding)
        if small.any():
            found.append(
                f"{small.sum()} of {k} eigenvalues are not resolved beside the largest: rounding "
                f"in {kind}, {self.rounding:.1g}, exceeds tol·|λ|; {finer} or raise tol"
            )
        unfinished = ~converged & ~small & ~self.finished
        if unfinished.any():
            found.append(
                f"{unfinished.sum()} of {k} eigenpairs did not converge to tol={self.tol:g}; raise "
                "max_matvecs or max_seconds, or tol"
            )
        rough = ~converged & ~small & self.finished
        if rough.any():
            found.append(
                f"rounding in {kind} keeps the residuals of {rough.sum()} of {k} eigenpairs above "
                f"tol={self.tol:g}; {finer} or raise tol"
            )
        values, residuals = self.values[: k + 1], self.residuals[: k + 1]
        order = np.argsort(values)
        close = np.diff(values[order]) < residuals[order][:-1] + residuals[order][1:]
        close &= np.minimum(order[:-1], order[1:]) < k
        for end in self._ruled_out:  # a fresh direction has shown that none is missing there
            beyond = end.sign * values[order] >= end.value
            close &= ~(beyond[:-1] & beyond[1:])
        if close.any():
            pairs = np.flatnonzero(close)
            members = values[order][np.unique(np.concatenate([pairs, pairs + 1]))]
            found.append(
                f"eigenvalues between {members.min():.6g} and {members.max():.6g} lie closer "
                "together than their residuals, which then cannot prove that none was missed; ask "
                "for a smaller tol to separate them"
            )
        return found
