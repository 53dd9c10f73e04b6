"""The eigenpairs of a Hessian in θ that a probe asks for."""

from pathlib import Path
from typing import Literal, Protocol

from ired_interp.spectra import HessianOperator, Spectrum, lanczos, pyhessian_eigenvalues


class Settings(Protocol):
    """What is computed of an operator; `HessianSpectrumTheta` documents each."""

    eigenpairs: int
    which: Literal["LA", "SA", "BE", "LM"]
    tol: float
    density_probes: int
    density_steps: int
    trace_matvecs: int
    backend: Literal["lanczos", "pyhessian"]
    seed: int


def eigenpairs(
    operator: HessianOperator, settings: Settings, memory: int, scratch: Path | None
) -> Spectrum:
    """Find the eigenpairs that the settings ask for, or all where there are fewer.

    Parameters
    ----------
    operator : HessianOperator
        Of shape (N, N).
    settings : Settings
        What to find.
    memory : int
        Bytes for Lanczos vectors.
    scratch : Path, optional
        A folder from which an interrupted computation goes on.

    Returns
    -------
    Spectrum
        By the settings' backend.
    """
    count = min(settings.eigenpairs, operator.shape[0])
    if settings.backend == "pyhessian":
        return pyhessian_eigenvalues(operator, count, settings.tol, seed=settings.seed)
    folder = scratch / "lanczos" if scratch else None
    return lanczos(
        operator,
        count,
        settings.which,
        settings.tol,
        memory=memory,
        seed=settings.seed,
        checkpoint=folder,
    )
