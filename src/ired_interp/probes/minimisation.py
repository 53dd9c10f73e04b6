"""The minimum of one landscape nearest to a point, row by row."""

from typing import NamedTuple

import torch
from torch import Tensor

from ired_interp.energy import Energy


class Minimum(NamedTuple):
    """Where descents end.

    Attributes
    ----------
    y : Tensor (B, d_y)
        The points.
    gradient_norm : Tensor (B,)
        ‖∇_y E‖ there.
    """

    y: Tensor
    gradient_norm: Tensor


@torch.no_grad()
def local_minimum(
    energy: Energy,
    x: Tensor,
    y: Tensor,
    k: int,
    step: float,
    reach: float,
    steps: int,
    tolerance: float,
) -> Minimum:
    """Descend a landscape without ever rising, by steps that follow its curvature.

    Parameters
    ----------
    energy : Energy
        E.
    x, y : Tensor (B, d_x), (B, d_y)
        Problems and starts.
    k : int
        Landscape.
    step : float
        Size of the first step, of ∇_y E, and wherever the curvature along it is not positive.
    reach : float
        Largest length of a step, so that none leaps out of a basin.
    steps : int
        Most steps.
    tolerance : float
        ‖∇_y E‖ at which a row stops.

    Returns
    -------
    Minimum
        The last point of every row.

    References
    ----------
    Barzilai & Borwein, "Two-point step size gradient methods", IMA J. Numer. Anal. 8, 1988; here a
    step that raises the energy is not taken, and halved.
    """
    context = energy.condition(x, torch.full((len(x),), k, device=x.device))
    y = energy.hold(context, y)
    current, gradient = energy.evaluate_with_gradient(context, y)
    sizes = torch.full_like(current, step)
    for _ in range(steps):
        norm = gradient.norm(dim=1)
        if not (norm > tolerance).any():
            break
        moves = torch.minimum(sizes, reach / norm.clamp(min=1e-300))[:, None] * gradient
        value, slope = energy.evaluate_with_gradient(context, y - moves)
        down = (value <= current) & (norm > tolerance)
        bend = ((gradient - slope) * moves).sum(1)
        follow = torch.where(bend > 0, moves.square().sum(1) / bend, step)
        sizes = torch.where(down, follow, sizes / 2)
        y = torch.where(down[:, None], y - moves, y)
        current = torch.where(down, value, current)
        gradient = torch.where(down[:, None], slope, gradient)
    return Minimum(y, gradient.norm(dim=1))
