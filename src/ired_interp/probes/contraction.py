"""How much each inner step of a landscape contracts, and what the curvature predicts."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ired_interp.diffusion.inference import LandscapeMinimisation
from ired_interp.energy import Energy
from ired_interp.probes.spread import ratio_of_means

# Units in the last place of y, below which an error or a gradient says nothing about the next one.
_ROUNDING = 1000


def gradients_along(energy: Energy, x: Tensor, points: Tensor, k: int) -> Tensor:
    """∇_y E at points (T, B, d_y) of the same problems, all at once."""
    return _gradients(energy, _context(energy, x, k), points)


def perfect_contractions(curvature: Tensor, steps: Tensor, factors: list[float]) -> np.ndarray:
    """Smallest and largest 1 − η λ of a perfect model, (K, T, 2).

    Parameters
    ----------
    curvature : Tensor
        (K, d) λ of each landscape.
    steps : Tensor
        (K,) η_k.
    factors : list of float
        T, of η_k, move by move.

    Returns
    -------
    numpy.ndarray
        (K, T, 2).
    """
    sizes = steps.double().cpu()[:, None] * torch.tensor(factors, dtype=torch.float64)
    left = 1 - sizes[:, :, None] * curvature.cpu()[:, None]
    return torch.stack([left.min(2).values, left.max(2).values], dim=2).numpy()


def _context(energy: Energy, x: Tensor, k: int) -> Any:
    return energy.condition(x, torch.full((len(x),), k, device=x.device))


def _gradients(energy: Energy, context: Any, points: Tensor) -> Tensor:
    return torch.vmap(lambda y: energy.evaluate_with_gradient(context, y)[1])(points)


def contractions(
    energy: Energy,
    x: Tensor,
    centre: Tensor,
    steps: list[float],
    place: LandscapeMinimisation,
    gradients: Tensor,
) -> dict[str, np.ndarray]:
    """Contraction of each inner step over the rows that it moved.

    Parameters
    ----------
    energy : Energy
        E.
    x : Tensor (B, d_x)
        Conditions.
    centre : Tensor (B, d_y)
        What the iterates should come to.
    steps : list of float
        Size η of each of the T steps.
    place : LandscapeMinimisation
        The landscape's T + 1 iterates.
    gradients : Tensor (T + 1, B, d_y)
        ∇_y E at them.

    Returns
    -------
    dict of str to ndarray (T,)
        `contraction`, `gradient_contraction` and `predicted_contraction`, each with `…_error`, by
        jackknife over rows; NaN where what contracts is down to rounding.
    """
    points = torch.stack([iterate.y for iterate in place.iterates])
    curved = _curvature_along(energy, x, points[:-1], gradients[:-1], place.k)
    found: dict[str, list[float]] = {}
    for i, (iterate, eta) in enumerate(zip(place.iterates[1:], steps, strict=True)):
        rows = iterate.accepted
        before, after = (points[j][rows] - centre[rows] for j in (i, i + 1))
        g, g_after = (gradients[j][rows] for j in (i, i + 1))
        floor = _ROUNDING * torch.finfo(points.dtype).eps * points[i][rows].norm()
        gradient_floor = (floor / steps[0]).square()
        size = g.square().sum(1)
        squared, spread = _ratio(after.square().sum(1), before.square().sum(1), floor.square())
        root = math.sqrt(squared)
        curvature, curvature_error = _ratio(curved[i][rows], size, gradient_floor)
        for name, (value, error) in {
            "contraction": (root, spread / (2 * root) if root else spread),
            "gradient_contraction": _ratio((g_after * g).sum(1), size, gradient_floor),
            "predicted_contraction": (1 - eta * curvature, eta * curvature_error),
        }.items():
            found.setdefault(name, []).append(value)
            found.setdefault(f"{name}_error", []).append(error)
    return {name: np.array(values) for name, values in found.items()}


def _curvature_along(energy: Energy, x: Tensor, points: Tensor, g: Tensor, k: int) -> Tensor:
    """gᵀHg (T, B), by one Hessian-vector product."""
    context = _context(energy, x, k)
    product = torch.func.jvp(lambda y: _gradients(energy, context, y), (points,), (g,))[1]
    along: Tensor = (g * product).sum(2)
    return along


def _ratio(above: Tensor, below: Tensor, floor: Tensor) -> tuple[float, float]:
    """Ratio of sums over rows, with its jackknife error; NaN where the lower one is rounding."""
    if not below.sum() > floor:
        return math.nan, math.nan
    value, error = ratio_of_means(*(part.double().cpu().numpy() for part in (above, below)))
    return float(value), float(error)
