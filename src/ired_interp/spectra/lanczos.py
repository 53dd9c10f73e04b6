"""Extreme eigenpairs of a symmetric operator by Lanczos, with what can and what cannot be said about them."""

from __future__ import annotations

import signal
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ired_interp.errors import InputError, Interrupted
from ired_interp.random import stream
from ired_interp.spectra.krylov import Krylov
from ired_interp.spectra.operator import SymmetricOperator
from ired_interp.spectra.plan import plan_lanczos
from ired_interp.spectra.progress import Progress
from ired_interp.spectra.vectors import norm
from ired_interp.stopping import uninterruptible

_CLOSE = 4.0  # neighbours within this many tolerances are asked for residuals smaller by as much
_LOSS = 0.3  # loss of orthogonality that is let be, as a share of the residual asked for

Which = Literal["LA", "SA", "BE", "LM"]


class SpectrumWarning(UserWarning):
    """An eigenvalue computation ended with something that its user must know."""


@dataclass(frozen=True)
class Spectrum:
    """Eigenpairs and their quality.

    Attributes
    ----------
    eigenvalues : (k,) float64, on the CPU; "LA", "BE" descending, "SA" ascending, "LM" descending in magnitude
    eigenvectors : (N, k), orthonormal columns
    residuals : (k,) float64, ‖A v − λ v‖: an eigenvalue lies within this distance of each λ. From the Lanczos relation
        with the measured loss of orthogonality, checked by random sums; measured one by one where the check finds them
        too small
    converged : (k,) bool; residual ≤ tol·|λ|. A pair that is False is the best estimate at a stop, not a result
    matvecs : products used by this call
    stopped : "converged", "product budget", "time budget", or "rounding" where the dtype does not allow the tolerance
    notes : sentences on what the residuals do not prove; also given as SpectrumWarning
    seconds : wall time
    sweeps, restarts : of the orthogonalisation
    plan : the memory plan in a sentence
    """

    eigenvalues: Tensor
    eigenvectors: Tensor
    residuals: Tensor
    converged: Tensor
    matvecs: int
    stopped: str
    notes: tuple[str, ...]
    seconds: float
    sweeps: int
    restarts: int
    plan: str


def _ranked(values: np.ndarray, which: str) -> np.ndarray:
    """Indices of ascending values, the most wanted first."""
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


def residual_norms(
    operator: SymmetricOperator, eigenvalues: Tensor, eigenvectors: Tensor
) -> Tensor:
    """True residuals ‖A v_i − λ_i v_i‖ (k,) in float64, by one product for each pair."""
    pairs = zip(eigenvalues.tolist(), eigenvectors.unbind(1), strict=True)
    return torch.tensor(
        [
            norm((operator @ v.to(operator.device)).sub_(v.to(operator.device), alpha=value))
            for value, v in pairs
        ],
        dtype=torch.float64,
    )


class _Trend:
    """Share of the products that are done, from how the largest residual over its tolerance falls."""

    def __init__(self) -> None:
        self.history: list[tuple[int, float]] = []

    def share(self, products: int, excess: float) -> float | None:
        self.history.append((products, float(np.log(max(excess, 1e-30)))))
        recent = self.history[len(self.history) // 2 :]
        steps, fall = recent[-1][0] - recent[0][0], recent[0][1] - recent[-1][1]
        if steps <= 0 or fall <= 0:
            return None
        return products / (products + max(0.0, self.history[-1][1]) * steps / fall)


class _Run:
    """One Lanczos run: what is wanted, what has been found, whether it holds."""

    def __init__(self, krylov: Krylov, k: int, which: str, tol: float) -> None:
        self.krylov, self.k, self.which, self.tol = krylov, k, which, tol
        self.eps = torch.finfo(krylov.operator.dtype).eps
        self.baseline: list[float] | None = None  # eigenvalues under verification
        self.until = 0  # product at which the verification ends
        self.used = 0  # products so far, earlier calls included
        self.restarts = 0

    def look(self) -> None:
        """Ritz pairs of the present basis, most wanted first."""
        values, coordinates, residuals = self.krylov.ritz()
        order = _ranked(values, self.which)
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
        # A Ritz pair amid close neighbours may stand for two eigenvalues; a smaller residual tells them apart.
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
        return float(
            (self.residuals / np.maximum(self.limits, np.finfo(float).tiny))[: self.k].max()
        )

    def settled(self) -> bool:
        """All wanted pairs converged, and a verification from a fresh direction changed none of them.

        Ranks decide together: the next vector, and how many more there are, must be the same on all of them.
        """
        agree = self.krylov.operator.agree
        if agree(len(self.values) < self.k or not self.converged.all()):
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
        return self.settled() if agree(bool(changed.any())) else True

    def shrink(self, capacity: int) -> None:
        self.look()
        keep = min(len(self.values) - 1, self.k + max(2, (capacity - self.k) // 3))
        self.krylov.restart(self.values[:keep], self.coordinates[:, :keep])
        self.restarts += 1

    def notes(self) -> list[str]:
        """What the residuals of the wanted pairs leave open."""
        k, found = self.k, []
        unfinished = k - int(self.converged.sum())
        if unfinished:
            found.append(
                f"{unfinished} of {k} eigenpairs did not converge to {self.tol:g}; see converged and residuals"
            )
        values, residuals = self.values[: k + 1], self.residuals[: k + 1]
        order = np.argsort(values)
        close = np.diff(values[order]) < residuals[order][:-1] + residuals[order][1:]
        close &= np.minimum(order[:-1], order[1:]) < k
        if close.any():
            pairs = np.flatnonzero(close)
            members = values[order][np.unique(np.concatenate([pairs, pairs + 1]))]
            found.append(
                f"eigenvalues between {members.min():.6g} and {members.max():.6g} lie closer together than their "
                "residuals, which then cannot prove that none was missed; ask for a smaller tol to separate them"
            )
        return found


def lanczos(
    operator: SymmetricOperator,
    k: int = 20,
    which: Which = "LM",
    tol: float = 1e-3,
    *,
    max_matvecs: int | None = None,
    max_seconds: float | None = None,
    memory: int | str | None = None,
    storage: str | torch.device | None = None,
    start: Tensor | None = None,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    save_every: float = 30.0,
    progress: bool = True,
) -> Spectrum:
    """The k extreme eigenpairs of a symmetric operator.

    After all pairs have converged, a fresh random direction enters the basis for a twentieth more products; if an
    eigenvalue changes (a further copy of a multiple one, say), the run goes on. Orthogonality is kept by sweeps whose
    moments follow the measured loss (see ``Krylov``).

    Parameters
    ----------
    operator : N×N
    k : eigenpairs wanted
    which : "LA" largest, "SA" smallest, "BE" half from each end (the odd one from the upper), "LM" largest magnitude
    tol : a pair has converged when its residual is at most tol·|λ| (where λ is nearly 0: tol·eps^(2/3)·‖A‖)
    max_matvecs, max_seconds : budgets; at the end of one the best estimates come back, marked as what they are
    memory : limit for the solver's vectors; the basis is restarted when it would exceed it (thick restart)
    storage : "cpu" keeps the basis of a GPU operator in host memory
    start : (N,) start vector; random where not given
    seed : of the random directions, which have their own stream
    checkpoint : folder in which the run is saved, and from which it goes on if it finds itself there
    save_every : seconds between saves; a run that is interrupted (``ired_interp.stopping``) saves before it ends
    progress : show products, converged pairs and time left on stderr once a run takes more than two seconds

    Returns
    -------
    Spectrum

    Raises
    ------
    InputError
        For unusable arguments, a memory limit too small for k, or a checkpoint of another operator.
    RunError
        If two products of one vector differ (dropout, sampling).

    Notes
    -----
    Simon, Linear Algebra Appl. 61 (1984) for semiorthogonality; Wu and Simon, SIAM J. Matrix Anal. Appl. 22 (2000) for
    the thick restart.
    """
    begin = time.monotonic()
    size = operator.shape[0]
    if which not in ("LA", "SA", "BE", "LM"):
        raise InputError(f"which is {which!r}; expected 'LA', 'SA', 'BE' or 'LM'")
    if k < 1:
        raise InputError(f"k is {k}; expected at least 1")
    eps = torch.finfo(operator.dtype).eps
    if not 10 * eps <= tol < 1:
        raise InputError(
            f"tol is {tol:g}; {operator.dtype} allows {10 * eps:.1g} to 1, use float64 for less"
        )
    if start is not None and start.shape != (size,):
        raise InputError(f"start has shape {tuple(start.shape)}; expected ({size},)")
    k = min(k, size)
    plan = plan_lanczos(size, operator.dtype, operator.device, k, memory, storage, operator.free)
    first = operator.matvecs
    operator.check()
    run = _Run(Krylov(operator, plan.storage, seed), k, which, tol)
    folder = Path(checkpoint) if checkpoint is not None else None
    if folder is not None and operator.from_main((folder / "state.npz").exists()):
        stopped = _continue(run, folder)
    else:
        run.krylov.inject(start)
        stopped = None
    before = run.used
    bar, saved = Progress(progress and operator.main()), time.monotonic()
    trend, last_look = _Trend(), 0
    try:
        while stopped is None:
            with uninterruptible() as interrupted:
                exhausted = not run.krylov.pending and not run.krylov.inject()
                if not exhausted:
                    if len(run.krylov) >= plan.capacity:
                        run.shrink(plan.capacity)
                    run.krylov.step(newest=run.baseline is not None)
                    run.used += 1
                spent = run.used - before
                if max_matvecs is not None and spent >= max_matvecs:
                    stopped = "product budget"
                elif max_seconds is not None and operator.agree(
                    time.monotonic() - begin >= max_seconds
                ):
                    stopped = "time budget"
                due = run.used - last_look >= max(1, len(run.krylov) // 25) or run.used == run.until
                if stopped or exhausted or (due and len(run.krylov) >= k):
                    last_look = run.used
                    run.look()
                    if exhausted or run.settled():
                        stopped = "converged"
                    text = f"Lanczos: {run.used} products, {int(run.converged.sum())} of {k} eigenpairs converged"
                    bar.update(text, trend.share(run.used, run.excess))
                # All ranks leave at one product: one that went on would wait for those that left.
                leave = operator.agree(interrupted() is not None)
                save = stopped or leave or time.monotonic() - saved > save_every
                if folder is not None and operator.main() and save:
                    _save(run, folder, stopped)
                    saved = time.monotonic()
                if leave:
                    raise Interrupted(interrupted() or signal.SIGTERM)
    finally:
        bar.close()
    return _finish(run, operator, stopped, first, begin, plan.sentence)


def _save(run: _Run, folder: Path, stopped: str | None) -> None:
    settings = {"k": run.k, "which": run.which, "tol": run.tol}
    position = {
        "used": run.used,
        "restarts": run.restarts,
        "until": run.until,
        "baseline": run.baseline,
    }
    run.krylov.save(folder, {**settings, **position, "stopped": stopped})


def _continue(run: _Run, folder: Path) -> str | None:
    """Take up a saved run; "converged" if it was that already, for the same settings."""
    saved = run.krylov.load(folder)
    if saved["which"] != run.which or saved["k"] < run.k:
        raise InputError(
            f"the saved run in {folder} is for k={saved['k']}, which={saved['which']}; expected which={run.which} "
            f"and at least k={run.k}; give another folder or delete this one"
        )
    run.used, run.restarts, run.until = saved["used"], saved["restarts"], saved["until"]
    if (saved["k"], saved["tol"]) != (run.k, run.tol):
        return None
    run.baseline = saved["baseline"]
    if len(run.krylov) < run.k:
        return None
    run.look()
    return "converged" if saved["stopped"] == "converged" else None


def _finish(
    run: _Run, operator: SymmetricOperator, stopped: str, first: int, begin: float, plan: str
) -> Spectrum:
    """Ritz vectors, and a check of the residuals by two products with random-signed sums of all pairs."""
    run.k = k = min(run.k, len(run.values))
    order = np.arange(k) if run.which != "BE" else np.argsort(-run.values[:k])
    coordinates = np.ascontiguousarray(run.coordinates[:, :k][:, order])
    values, limits = run.values[:k][order].copy(), run.limits[:k][order]
    residuals = np.hypot(run.residuals[:k][order], run.krylov.drifts(coordinates))
    notes = run.notes()
    vectors = run.krylov.basis.take(torch.from_numpy(coordinates))
    eigenvalues = torch.from_numpy(values)

    signs = (
        torch.randint(
            0, 2, (2, k), generator=stream("cpu", k, "residual check"), dtype=torch.float64
        )
        * 2
        - 1
    )
    total = 0.0
    for sign in signs:
        combined = (vectors @ sign.to(vectors.device, vectors.dtype)).to(operator.device)
        scaled = (vectors @ (sign * eigenvalues).to(vectors.device, vectors.dtype)).to(
            operator.device
        )
        total += norm((operator @ combined).sub_(scaled)) ** 2 / len(signs)
    doubtful = total > 4 * float((np.maximum(residuals, run.rounding) ** 2).sum())
    if operator.agree(doubtful or (stopped == "converged" and bool((residuals > limits).any()))):
        residuals = residual_norms(operator, eigenvalues, vectors).numpy()
        if (residuals > limits).any() and stopped == "converged":
            stopped = "rounding"
            notes.append(
                f"rounding in {operator.dtype} keeps some residuals above {run.tol:g}; use float64 or a larger tol"
            )
    residuals = np.maximum(residuals, run.rounding)
    for note in notes:
        warnings.warn(note, SpectrumWarning, stacklevel=3)
    return Spectrum(
        eigenvalues,
        vectors,
        torch.from_numpy(residuals),
        torch.from_numpy(residuals <= limits),
        operator.matvecs - first,
        stopped,
        tuple(notes),
        time.monotonic() - begin,
        run.krylov.sweeps,
        run.restarts,
        plan,
    )
