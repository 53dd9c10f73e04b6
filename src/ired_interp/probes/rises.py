"""How energy rises around the answer, family by family of directions, at equal lengths."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ired_interp.energy import Energy
from ired_interp.probes.planes import RANDOM
from ired_interp.probes.spread import mean_error, ratio_of_means

LENGTHS = (0.1, 0.25, 0.5, 1.0, 2.0)  # of displacements, in norms of the answer


@torch.no_grad()
def rises(
    energy: Energy,
    x: Tensor,
    answer: Tensor,
    drawn: dict[str, Tensor],
    signal: Tensor,
    noise: Tensor,
    k: int,
) -> Tensor:
    """Mean rise of energy at equal distances from the answer, over directions and their opposites.

    Parameters
    ----------
    energy : Energy
        E.
    x, answer : Tensor (B, d_x), (B, d_y)
        Problems.
    drawn : dict of str to Tensor (C, B, d_y)
        Directions of each family.
    signal, noise : Tensor ()
        √ᾱ_k and σ_k.
    k : int
        Landscape.

    Returns
    -------
    Tensor (families, lengths, B)
        [E(√ᾱ_k(y* ± δ‖y*‖D)) − E(√ᾱ_k y*)]/σ_k, float64.
    """
    base = energy(x, signal * answer, k).double()
    steps = torch.tensor([sign * length for length in LENGTHS for sign in (1, -1)])
    steps = steps.to(answer.device)[:, None, None, None] * answer.norm(dim=1)[:, None]
    found = []
    for unit in drawn.values():
        points = (answer + steps * unit.to(answer.dtype)).flatten(0, 1)
        energies = torch.vmap(lambda y: energy(x, signal * y, k))(points).double()
        found.append(energies.unflatten(0, (len(LENGTHS), -1)).mean(1) - base)
    return torch.stack(found) / noise


def theory_rises(
    curvature: np.ndarray, answer: Tensor, signal: np.ndarray, noise: np.ndarray
) -> np.ndarray:
    """Find what `rises` are on average over a family for a Hessian that is the same everywhere.

    Parameters
    ----------
    curvature : ndarray (K, B, families)
        κ = σ_k tr(P H)/tr P.
    answer : Tensor (B, d_y)
        Answers.
    signal, noise : ndarray (K,)
        √ᾱ_k and σ_k.

    Returns
    -------
    ndarray (K, families, lengths, B)
        ½ᾱ_k δ²‖y*‖² κ/σ_k².
    """
    squares = answer.double().square().sum(1).cpu().numpy()
    scale = ((signal / noise) ** 2 / 2)[:, None, None, None]
    lengths = np.square(LENGTHS)[:, None] * squares
    exact: np.ndarray = scale * curvature.swapaxes(1, 2)[:, :, None] * lengths
    return exact


def rise_variables(
    rise: np.ndarray, families: list[str], theory: np.ndarray | None
) -> dict[str, Any]:
    """Label rises of energy, and what they are of those in random directions.

    Parameters
    ----------
    rise : ndarray (landscapes, families, lengths, B)
        As `rises` returns them.
    families : list of str
        Their names.
    theory : ndarray (landscapes, families, lengths, B), optional
        The same of a perfect model.

    Returns
    -------
    dict
        Variables of a dataset: `rise`, `preference`, each with `…_error`, and theirs in theory.
        NaN where what is divided by cannot be told from 0.
    """
    dims, unit = ("landscape", "family", "length"), {"units": "1"}
    random = families.index(RANDOM)
    below = np.broadcast_to(rise[:, random, None], rise.shape)
    preference, error = ratio_of_means(rise, below)
    means, errors = below.mean(-1), mean_error(below)
    told = ~(np.abs(means) <= 2 * errors)
    variables = {
        "rise": (dims, rise.mean(-1), unit),
        "rise_error": (dims, mean_error(rise), unit),
        "preference": (dims, np.where(told, preference, np.nan), unit),
        "preference_error": (dims, np.where(told, error, np.nan), unit),
    }
    if theory is not None:
        exact = theory.mean(-1)
        variables["theory_rise"] = (dims, exact, unit)
        variables["theory_preference"] = (dims, exact / exact[:, random, None], unit)
    return variables
