"""How much each inner step of a landscape contracts, and what the curvature predicts."""

import math

import numpy as np
import torch
from torch import Tensor

from ired_interp.diffusion.inference import LandscapeMinimisation
from ired_interp.energy import Energy

# Units in the last place of y, below which an error or a gradient says nothing about the next one.
_ROUNDING = 1000


def gradients_along(energy: Energy, x: Tensor, points: Tensor, k: int) -> Tensor:
    """∇_y E at points (T, B, d_y) of the same problems, all at once."""
    return torch.vmap(lambda y: energy.gradient(x, y, k))(points)


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
        `contraction`, `gradient_contraction` and `predicted_contraction`; NaN where what contracts
        is down to rounding.
    """
    points = torch.stack([iterate.y for iterate in place.iterates])
    curved = _curvature_along(energy, x, points[:-1], gradients[:-1], place.k)
    found: dict[str, list[float]] = {
        "contraction": [],
        "gradient_contraction": [],
        "predicted_contraction": [],
    }
    for i, (iterate, eta) in enumerate(zip(place.iterates[1:], steps, strict=True)):
        rows = iterate.accepted
        before, after = (points[j][rows] - centre[rows] for j in (i, i + 1))
        g, g_after = (gradients[j][rows] for j in (i, i + 1))
        floor = _ROUNDING * torch.finfo(points.dtype).eps * points[i][rows].norm()
        gradient_floor = (floor / steps[0]).square()
        size = g.square().sum()
        found["contraction"].append(_ratio(after.norm(), before.norm(), floor))
        found["gradient_contraction"].append(_ratio((g_after * g).sum(), size, gradient_floor))
        curvature = _ratio(curved[i][rows].sum(), size, gradient_floor)
        found["predicted_contraction"].append(1 - eta * curvature)
    return {name: np.array(values) for name, values in found.items()}


def _curvature_along(energy: Energy, x: Tensor, points: Tensor, g: Tensor, k: int) -> Tensor:
    """gᵀHg (T, B), by one Hessian-vector product."""
    product = torch.func.jvp(lambda y: gradients_along(energy, x, y, k), (points,), (g,))[1]
    along: Tensor = (g * product).sum(2)
    return along


def _ratio(above: Tensor, below: Tensor, floor: Tensor) -> float:
    return float(above / below) if below > floor else math.nan
