"""How much of the gradient and of the optimizer's step lies in the top eigenspace."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from torch import Tensor

from ired_interp.probes.theta_eigenpairs import Settings
from ired_interp.spectra import HessianOperator, Spectrum, alignment, sign_chance
from ired_interp.spectra.estimate import from_samples

_IN_TOP = ("gradient_in_top", "update_in_top")


def top_count(which: str, found: int) -> int:
    """p, how many of the eigenpairs found are the top: of "BE" the upper half, else all."""
    return -(-found // 2) if which == "BE" else found


def shares(spectrum: Spectrum, which: str, gradient: Tensor, update: Tensor | None) -> xr.Dataset:
    """Shares in each eigenvector and in the top eigenspace, for one draw of the noise.

    Parameters
    ----------
    spectrum : Spectrum
        Eigenpairs, descending for "BE".
    which : str
        From which end they are.
    gradient : Tensor
        (N,).
    update : Tensor, optional
        (N,) the optimizer's step.

    Returns
    -------
    xarray.Dataset
        Over rank `gradient_share`, `update_share`; `gradient_in_top`, `update_in_top` with their
        chance by random signs, `…_chance`; `top`, p, and `chance_in_top`, p/N.
    """
    p = top_count(which, len(spectrum.eigenvalues))
    result = xr.Dataset(
        {"top": p, "chance_in_top": p / len(gradient)},
        {"rank": np.arange(len(spectrum.eigenvalues))},
    )
    result["chance_in_top"].attrs["long_name"] = "share of a random vector, p/N"
    for name, vector in (("gradient", gradient), ("update", update)):
        if vector is None:
            continue
        share = alignment(spectrum, vector).numpy()
        result[f"{name}_share"] = "rank", share, {"long_name": f"cos² of {name} and eigenvector"}
        for suffix, values in (("", share), ("_chance", sign_chance(spectrum, vector).numpy())):
            result[f"{name}_in_top{suffix}"] = values[:p].sum()
        result[f"{name}_in_top"].attrs["long_name"] = f"share of the {name} in the top eigenspace"
        result[f"{name}_in_top_chance"].attrs["long_name"] = (
            f"the same, were the signs of the entries of the {name} random"
        )
    return result


def measure_shares(
    operator: HessianOperator,
    found: Spectrum,
    settings: Settings,
    steps: Mapping[str, Tensor] | None,
) -> xr.Dataset:
    """Shares of the gradient and of the optimizer's step in the eigenspace found; see `shares`.

    Parameters
    ----------
    operator : HessianOperator
        Of shape (N, N).
    found : Spectrum
        Its eigenpairs.
    settings : Settings
        From which end they are.
    steps : mapping of str to Tensor, optional
        What the optimizer adds to each of the operator's parameters.

    Returns
    -------
    xarray.Dataset
        Of `shares`.
    """
    update = None if steps is None else operator.flatten(steps[name] for name in operator.named)
    return shares(found, settings.which, operator.gradient(), update)


def over_draws(draws: Sequence[xr.Dataset]) -> xr.Dataset:
    """Replace shares in the top eigenspace by means over draws, with their errors.

    Parameters
    ----------
    draws : sequence of xarray.Dataset
        Of `shares`, each with an eigenspace, gradient and noise of its own.

    Returns
    -------
    xarray.Dataset
        The first one, with `gradient_in_top`, `update_in_top` averaged and with `…_error` where
        there are several.
    """
    result = draws[0].copy()
    for name in _IN_TOP:
        if name in result and len(draws) > 1:
            estimate = from_samples(np.array([float(draw[name]) for draw in draws]))
            result[name] = result[name].copy(data=estimate.value)
            result[f"{name}_error"] = estimate.error
            chance = f"{name}_chance"
            mean = np.mean([float(draw[chance]) for draw in draws])
            result[chance] = result[chance].copy(data=mean)
    return result
