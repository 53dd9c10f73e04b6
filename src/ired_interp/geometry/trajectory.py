"""A trajectory of subspaces as a path: speed, length, end-to-end distance."""

from dataclasses import dataclass

import torch

from ired_interp.errors import InputError
from ired_interp.geometry.arrays import Array, as_tensor


@dataclass(frozen=True)
class Path:
    """How far a subspace travelled, and how directly.

    Attributes
    ----------
    speed : torch.Tensor
        (m − 1,) distance to the next point per unit of position, radians per unit.
    length : torch.Tensor
        (m,) length of the path up to each point, radians.
    displacement : torch.Tensor
        (m,) distance from the first point, radians.
    """

    speed: torch.Tensor
    length: torch.Tensor
    displacement: torch.Tensor

    @property
    def straightness(self) -> float:
        """End-to-end distance over path length: 1 on a geodesic; NaN if nothing moved."""
        return (self.displacement[-1] / self.length[-1]).item()


def path(distances: Array, positions: Array, floor: Array | None = None) -> Path:
    """Speed and length of a path from the distances between its points.

    Parameters
    ----------
    distances : torch.Tensor or numpy.ndarray
        (m, m) distances between all points, m ≥ 2.
    positions : torch.Tensor or numpy.ndarray
        (m,) strictly monotonic places of the points: training step, landscape, inner step.
    floor : torch.Tensor or numpy.ndarray, optional
        (m, m) distances that rounding or noise alone would give; subtracted in quadrature. Without
        it every noisy step lengthens the path.

    Returns
    -------
    Path
        Speed, length and displacement.

    Raises
    ------
    InputError
        If shapes do not fit, there are fewer than two points, or positions are not strictly
        monotonic.

    Examples
    --------
    >>> import torch
    >>> from ired_interp.geometry import path
    >>> distances = torch.tensor([[0.0, 0.1, 0.3], [0.1, 0.0, 0.2], [0.3, 0.2, 0.0]])
    >>> walk = path(distances, torch.tensor([0, 100, 300]))
    >>> walk.length, round(walk.straightness, 4)
    (tensor([0.0000, 0.1000, 0.3000], dtype=torch.float64), 1.0)
    """
    d = as_tensor(distances, "distances").double()
    x = as_tensor(positions, "positions", ndim=1).double()
    if d.shape != (len(x), len(x)) or len(x) < 2:
        raise InputError(
            f"distances of shape {tuple(d.shape)} with {len(x)} positions: pass (m, m) and (m,), m "
            "at least 2."
        )
    gaps = x.diff()
    if not ((gaps > 0).all() or (gaps < 0).all()):
        raise InputError(
            "positions must rise or fall strictly: a speed needs points in order, each at a place "
            "of its own."
        )
    if floor is not None:
        d = (d.square() - as_tensor(floor, "floor").double().square()).clamp(min=0).sqrt()
    steps = d.diagonal(offset=1)
    return Path(steps / gaps.abs(), torch.cat([steps.new_zeros(1), steps.cumsum(0)]), d[0])
