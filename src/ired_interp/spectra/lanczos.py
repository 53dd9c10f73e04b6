"""Extreme eigenpairs of a symmetric operator by Lanczos, and what can be said of them."""

from __future__ import annotations

import signal
import time
import warnings
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ired_interp.errors import InputError, Interrupted
from ired_interp.random import stream
from ired_interp.spectra.convergence import LanczosRun
from ired_interp.spectra.krylov import Krylov
from ired_interp.spectra.krylov_file import load_krylov, save_krylov
from ired_interp.spectra.operator import SymmetricOperator
from ired_interp.spectra.plan import plan_lanczos
from ired_interp.spectra.progress import SolverProgress, Trend
from ired_interp.spectra.spectrum import Spectrum, SpectrumWarning, residual_norms
from ired_interp.spectra.vectors import norm
from ired_interp.stopping import uninterruptible

Which = Literal["LA", "SA", "BE", "LM"]


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
    """Find the k extreme eigenpairs of a symmetric operator.

    One start vector sees one copy of a multiple eigenvalue. When all pairs have converged, a fresh
    random direction is followed until another copy emerges, or until none can hide in it (a 2 %
    risk, see ``spectra.verification``). Orthogonality is kept by sweeps whose moments follow the
    measured loss (see ``Krylov``).

    Parameters
    ----------
    operator : SymmetricOperator
        N×N.
    k : int
        Eigenpairs wanted.
    which : {"LA", "SA", "BE", "LM"}
        "LA" largest, "SA" smallest, "BE" half from each end (the odd one from the upper), "LM"
        largest magnitude.
    tol : float
        A pair has converged when its residual is at most tol·|λ|; where eigenvalues lie close
        together, the run goes on to a quarter of that, since a pair may stand for its neighbour
        until then. What rounding leaves, 20·eps·‖A‖, counts as residual, so that eigenvalues far
        below the largest do not converge in float32; the run ends there all the same, and says so.
    max_matvecs : int, optional
        Budget of products; at its end the best estimates come back, marked as what they are.
    max_seconds : float, optional
        Budget of wall time, likewise.
    memory : int or str, optional
        Limit for the solver's vectors, in bytes or as "2GiB"; the basis is restarted when it would
        exceed it (thick restart).
    storage : str or torch.device, optional
        "cpu" keeps the basis of a GPU operator in host memory.
    start : Tensor, optional
        (N,) start vector; random where not given.
    seed : int
        Of the random directions, which have their own stream.
    checkpoint : str or Path, optional
        Folder in which the run is saved, and from which it goes on if it finds itself there.
    save_every : float
        Seconds between saves; a run that is interrupted (``ired_interp.stopping``) saves before it
        ends.
    progress : bool
        Show products, converged pairs and time left on stderr once a run takes more than two
        seconds.

    Returns
    -------
    Spectrum
        Eigenvalues, eigenvectors, residuals, and how far they can be trusted.

    Raises
    ------
    InputError
        For unusable arguments, a memory limit too small for k, or a checkpoint of another operator.
    RunError
        If two products of one vector differ (dropout, sampling), or the operator is not symmetric,
        as far as it checks that.
    Interrupted
        If a signal asks the process to stop; the run is saved first.

    References
    ----------
    Simon, "Analysis of the symmetric Lanczos algorithm with reorthogonalization methods", Linear
    Algebra Appl. 61, 1984; Kuczyński and Woźniakowski, "Estimating the largest eigenvalue by the
    power and Lanczos algorithms with a random start", SIAM J. Matrix Anal. Appl. 13, 1992; Wu and
    Simon, "Thick-restart Lanczos method for large symmetric
    eigenvalue problems", SIAM J. Matrix Anal. Appl. 22, 2000.

    Examples
    --------
    >>> import torch
    >>> from ired_interp.spectra import MatrixOperator, lanczos
    >>> A = MatrixOperator(torch.diag(torch.arange(100.0)).double())
    >>> found = lanczos(A, k=3, which="LA", tol=1e-8, progress=False)
    >>> found.eigenvalues.round(decimals=6)
    tensor([99., 98., 97.], dtype=torch.float64)
    >>> found.eigenvectors.shape, bool(found.converged.all())
    (torch.Size([100, 3]), True)
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
    plan = plan_lanczos(
        size, operator.dtype, operator.device, k, memory, storage, operator.available_memory
    )
    first = operator.matvecs
    run = LanczosRun(Krylov(operator, plan.storage, plan.capacity, seed), k, which, tol)
    if start is not None:  # which may not be random enough to check with
        operator.check()
    folder = Path(checkpoint) if checkpoint is not None else None
    if folder is not None and operator.broadcast((folder / "state.npz").exists()):
        stopped = _continue(run, folder, first)
    else:
        run.krylov.inject(start)
        vector, stopped = run.krylov.pending[0].vector, None
        if (image := operator.check(vector)) is not None:
            run.krylov.images.know(vector, image)
    before = run.used
    bar, saved = SolverProgress("Lanczos", progress and operator.is_rank_zero()), time.monotonic()
    trend = Trend()
    try:
        while stopped is None:
            with uninterruptible() as interrupted:
                exhausted = not run.krylov.pending and not run.krylov.inject()
                if not exhausted:
                    if len(run.krylov) >= plan.capacity:
                        run.restart(plan.capacity)
                    run.step()
                spent = run.used - before
                if max_matvecs is not None and spent >= max_matvecs:
                    stopped = "product budget"
                elif max_seconds is not None and operator.any_rank(
                    time.monotonic() - begin >= max_seconds
                ):
                    stopped = "time budget"
                if stopped or exhausted or run.due():
                    run.look()
                    if exhausted or run.settled():
                        stopped = "converged"
                    done = f"{int(run.finished.sum())} of {k} eigenpairs converged"
                    text = f"{run.used} products, {done}"
                    bar.update(text, trend.share(run.used, run.excess))
                elif len(run.krylov) < k:
                    bar.update(f"{run.used} products", None)
                # All ranks leave at one product: one that went on would wait for those that left.
                leave = operator.any_rank(interrupted() is not None)
                if stopped or leave or time.monotonic() - saved > save_every:
                    operator.confirm()
                    if folder is not None and operator.is_rank_zero():
                        _save(run, folder, stopped, operator.matvecs - first)
                    saved = time.monotonic()
                if leave:
                    raise Interrupted(interrupted() or signal.SIGTERM)
    finally:
        bar.close()
    return _finish(run, operator, stopped, first, begin, plan.sentence)


def _save(run: LanczosRun, folder: Path, stopped: str | None, matvecs: int) -> None:
    settings = {"k": run.k, "which": run.which, "tol": run.tol}
    matvecs -= run.krylov.images.ahead
    state = {**settings, **run.saved(), "stopped": stopped, "matvecs": matvecs}
    save_krylov(run.krylov, folder, state)


def _continue(run: LanczosRun, folder: Path, first: int) -> str | None:
    """Take up a saved run; "converged" if it was that already, for the same settings.

    Its products follow the first ones of the operator. Those that show whose run it is do not
    count, as a run without a break takes none.

    Raises
    ------
    InputError
        If it was for other eigenpairs.
    """
    saved = load_krylov(run.krylov, folder)
    if saved["which"] != run.which or saved["k"] < run.k:
        raise InputError(
            f"the saved run in {folder} is for k={saved['k']}, which={saved['which']}; expected "
            f"which={run.which} and at least k={run.k}; give another folder or delete this one"
        )
    run.krylov.operator.matvecs = first + saved.get("matvecs", saved["used"])
    if (saved["k"], saved["tol"]) != (run.k, run.tol):
        run.used, run.restarts = saved["used"], saved["restarts"]
        return None
    run.take_up(saved)
    return "converged" if saved["stopped"] == "converged" else None


def _finish(
    run: LanczosRun, operator: SymmetricOperator, stopped: str, first: int, begin: float, plan: str
) -> Spectrum:
    """Form Ritz vectors, and check the residuals by one product with a random sum of all pairs."""
    run.k = k = min(run.k, len(run.values))
    values, limits, rounding = run.values[:k], run.limits[:k], run.rounding
    coordinates = np.ascontiguousarray(run.coordinates[:, :k])
    residuals = np.hypot(run.residuals[:k], run.krylov.drifts(coordinates))
    signs = stream("cpu", k, "residual check")
    mix = torch.randint(0, 2, (k,), generator=signs, dtype=torch.float64).numpy() * 2 - 1
    left = [(p.vector, float(p.coupling @ coordinates @ mix)) for p in run.krylov.pending]
    vectors = run.krylov.basis.combine_in_place(torch.from_numpy(coordinates))

    def combined(weights: np.ndarray) -> torch.Tensor:
        sums: torch.Tensor = vectors @ torch.from_numpy(weights).to(vectors.device, vectors.dtype)
        return sums.to(operator.device)

    unexplained = (operator @ combined(mix)).sub_(combined(mix * values))
    for vector, share in left:
        unexplained.sub_(vector, alpha=share)
    bound = 2 * float((np.maximum(residuals, rounding) ** 2).sum() ** 0.5)
    doubtful = (residuals > limits) & (limits >= rounding) & (stopped == "converged")
    doubtful |= norm(unexplained) > bound
    doubtful = np.array([operator.any_rank(bool(pair)) for pair in doubtful])
    residuals[doubtful] = residual_norms(
        operator, torch.from_numpy(values[doubtful]), vectors[:, torch.from_numpy(doubtful)]
    ).numpy()
    residuals = np.maximum(residuals, rounding)
    converged = residuals <= limits
    if stopped == "converged" and not converged.all():
        stopped = "rounding"
    notes = run.notes(converged)
    for note in notes:
        warnings.warn(note, SpectrumWarning, stacklevel=3)
    order = np.arange(k) if run.which != "BE" else np.argsort(-values)
    return Spectrum(
        torch.from_numpy(values[order]),
        vectors[:, torch.from_numpy(order)] if run.which == "BE" else vectors,
        torch.from_numpy(residuals[order]),
        torch.from_numpy(converged[order]),
        operator.matvecs - first,
        stopped,
        tuple(notes),
        time.monotonic() - begin,
        run.krylov.sweeps,
        run.restarts,
        plan,
    )
