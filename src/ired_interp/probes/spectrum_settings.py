"""Settings that every measurement of a spectrum in the weights has, checked in one place."""

from typing import Literal

import torch

from ired_interp.errors import InputError
from ired_interp.probes.settings import check_choice, check_memory, check_setting
from ired_interp.spectra import plan_lanczos

# Far beyond what settles an estimate; more would not end.
_MOST_PROBES = _MOST_STEPS = 1000
_MOST_MATVECS = 10_000
Which = Literal["LA", "SA", "BE", "LM"]
Layers = Literal["all", "each"]


def check_spectrum(
    probe: str,
    *,
    eigenpairs: int,
    which: Which,
    tol: float,
    density_probes: int,
    density_steps: int,
    trace_matvecs: int,
    memory_gib: float | None,
    dtype: str = "float32",
) -> None:
    """Refuse settings of eigenpairs, density and trace that no model can make sense of.

    Parameters
    ----------
    probe : str
        Whose settings, in a message.
    eigenpairs, which, tol, density_probes, density_steps, trace_matvecs, memory_gib, dtype
        As in `HessianSpectrumTheta`.
    """
    check_choice(probe, "which", which, Which)
    check_tol(probe, tol, getattr(torch, dtype))
    for setting, number, fits, expected in (
        ("eigenpairs", eigenpairs, eigenpairs >= 1, "expected at least 1"),
        (
            "density_probes",
            density_probes,
            density_probes == 0 or 2 <= density_probes <= _MOST_PROBES,
            f"expected 0, or at least 2 for an error band and at most {_MOST_PROBES}",
        ),
        (
            "density_steps",
            density_steps,
            1 <= density_steps <= _MOST_STEPS,
            f"expected at least 1 and at most {_MOST_STEPS}",
        ),
        (
            "trace_matvecs",
            trace_matvecs,
            trace_matvecs == 0 or 8 <= trace_matvecs <= _MOST_MATVECS,
            f"expected 0, or at least 8 products and at most {_MOST_MATVECS}",
        ),
    ):
        check_setting(probe, setting, number, fits, expected)
    check_memory(probe, memory_gib)


def check_tol(probe: str, tol: float, dtype: torch.dtype) -> None:
    """Refuse a residual that the arithmetic cannot reach.

    Parameters
    ----------
    probe : str
        Whose setting, in a message.
    tol : float
        Relative residual.
    dtype : torch.dtype
        Of the Lanczos vectors.
    """
    finest = 10 * torch.finfo(dtype).eps
    kind = str(dtype).removeprefix("torch.")
    check_setting(probe, "tol", tol, finest <= tol < 1, f"{kind} allows {finest:.2g} to 1")


def check_room(
    probe: str, eigenpairs: int, weights: int, dtype: torch.dtype, memory_gib: float | None
) -> None:
    """Refuse more eigenpairs than there are weights, or than the memory has room for.

    Parameters
    ----------
    probe : str
        Whose settings, in a message.
    eigenpairs : int
        How many.
    weights : int
        N.
    dtype : torch.dtype
        Of the Lanczos vectors.
    memory_gib : float, optional
        As in `HessianSpectrumTheta`; without it, what is free is found when it is measured.

    Raises
    ------
    InputError
        If they do not fit.
    """
    if eigenpairs > weights:
        raise InputError(
            f"{probe} has eigenpairs={eigenpairs}, but the model has {weights} weights; lower "
            "eigenpairs."
        )
    if memory_gib is not None:
        plan_lanczos(weights, dtype, torch.device("cpu"), eigenpairs, int(memory_gib * 2**29))
