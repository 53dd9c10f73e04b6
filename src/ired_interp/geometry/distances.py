"""Distances and overlap on the Grassmannian, all functions of the principal angles."""

from collections.abc import Callable

import torch

from ired_interp.errors import InputError
from ired_interp.geometry.angles import principal_angles
from ired_interp.geometry.arrays import Array, as_tensor, in_kind


def _sine_of_volume(angles: torch.Tensor) -> torch.Tensor:
    """√(1 − Π cos²θ) without cancellation at small angles."""
    return (-torch.expm1(torch.log1p(-angles.sin().square()).sum(-1))).sqrt()


METRICS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "geodesic": lambda angles: torch.linalg.vector_norm(angles, dim=-1),
    "chordal": lambda angles: torch.linalg.vector_norm(angles.sin(), dim=-1),
    "projection": lambda angles: angles.amax(-1).sin(),
    "spectral": lambda angles: 2 * (angles.amax(-1) / 2).sin(),
    "asimov": lambda angles: angles.amax(-1),
    "procrustes": lambda angles: 2 * torch.linalg.vector_norm((angles / 2).sin(), dim=-1),
    "binet-cauchy": _sine_of_volume,
    "fubini-study": lambda angles: torch.atan2(_sine_of_volume(angles), angles.cos().prod(-1)),
}
"""Distance of two subspaces from their principal angles θ (last dimension), named as in Ye and Lim
(2016), Table 2."""


def distance_from_angles(angles: Array, metric: str = "geodesic") -> Array:
    """Grassmannian distance from principal angles.

    Parameters
    ----------
    angles : torch.Tensor or numpy.ndarray
        (..., p) principal angles in radians.
    metric : str
        A key of ``METRICS``; see ``grassmann_distance``.

    Returns
    -------
    torch.Tensor or numpy.ndarray
        (...), float64.

    Raises
    ------
    InputError
        If the metric is unknown.

    Examples
    --------
    >>> import torch
    >>> from ired_interp.geometry import distance_from_angles
    >>> distance_from_angles(torch.tensor([0.3, 0.4]))
    tensor(0.5000, dtype=torch.float64)
    """
    if metric not in METRICS:
        raise InputError(f"metric {metric!r} is unknown; choose one of {', '.join(METRICS)}.")
    return in_kind(METRICS[metric](as_tensor(angles, "angles", ndim=1).double()), angles)


def grassmann_distance(U: Array, V: Array, metric: str = "geodesic") -> Array:
    """Distance between the column spans of U and V.

    Parameters
    ----------
    U, V : torch.Tensor or numpy.ndarray
        (..., N, p) and (..., N, q), orthonormal or not; batch dimensions broadcast.
    metric : str
        With θ the principal angles and θ_max the largest: ``geodesic`` √Σθ² (arc length, radians),
        ``chordal`` √Σsin²θ = ‖P − Q‖_F/√2, ``projection`` sin θ_max = ‖P − Q‖₂, ``spectral`` 2
        sin(θ_max/2), ``asimov`` θ_max, ``procrustes`` 2√Σsin²(θ/2), ``binet-cauchy`` √(1 − Πcos²θ),
        ``fubini-study`` arccos Πcos θ.

    Returns
    -------
    torch.Tensor or numpy.ndarray
        (...), float64. For p ≠ q it is the distance over the min(p, q) angles, 0 where one span
        contains the other: then no longer a metric (Ye and Lim, section 4).

    Raises
    ------
    InputError
        As ``principal_angles``; or if the metric is unknown.

    Notes
    -----
    Ye and Lim, "Schubert varieties and distances between subspaces of different dimensions", SIAM
    J. Matrix Anal. Appl. 37, 2016; Edelman, Arias and Smith, SIAM J. Matrix Anal. Appl. 20, 1998.
    geomstats' ``Grassmannian.dist`` is √2 times ``geodesic``, and counts a right angle as 0.

    Examples
    --------
    >>> import torch
    >>> from ired_interp.geometry import grassmann_distance
    >>> U, V = torch.eye(3)[:, :1], torch.tensor([[1.0], [1.0], [0.0]])
    >>> grassmann_distance(U, V)
    tensor(0.7854, dtype=torch.float64)
    >>> grassmann_distance(U, V, metric="chordal")
    tensor(0.7071, dtype=torch.float64)
    """
    return distance_from_angles(principal_angles(U, V), metric)


def overlap(U: Array, V: Array) -> Array:
    """Share of span(U) that lies in span(V): ‖QᵤᵀQᵥ‖²_F / p with p = dim U.

    Parameters
    ----------
    U, V : torch.Tensor or numpy.ndarray
        (..., N, p) and (..., N, q), orthonormal or not; batch dimensions broadcast. With one column
        U, it is the share of a vector's squared norm inside span(V).

    Returns
    -------
    torch.Tensor or numpy.ndarray
        (...) in [0, 1], float64; for random subspaces q/N on average (see ``chance_band``).

    Raises
    ------
    InputError
        As ``principal_angles``.

    Notes
    -----
    Gur-Ari, Roberts and Dyer, arXiv 1812.04754, 2018.

    Examples
    --------
    >>> import torch
    >>> from ired_interp.geometry import overlap
    >>> overlap(torch.eye(5)[:, :2], torch.eye(5)[:, 1:4])  # one of two axes is shared
    tensor(0.5000, dtype=torch.float64)
    """
    angles = as_tensor(principal_angles(U, V), "angles", ndim=1)
    return in_kind(angles.cos().square().sum(-1) / U.shape[-1], U)
