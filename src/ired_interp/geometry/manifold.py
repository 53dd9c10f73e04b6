"""Geodesics, logarithms and parallel transport on the Grassmannian, by geomstats where it is right.

Points are orthonormal bases U (N, p); a tangent vector at U is a horizontal lift H (N, p), UᵀH = 0,
of length ‖H‖_F. geomstats works on n×n projectors with tangent vectors X = HUᵀ + UHᵀ, of length
√2‖H‖_F. Each call is carried out in the joint span of its few arguments, of dimension n ≤ 3p, where
geomstats takes milliseconds and errs by 1e-15. Projectors are built from orthonormal bases here, so
they lie on the manifold and have one rank; right angles, which its logarithm silently counts as 0,
are refused.
"""

import math
from typing import Any

import numpy as np
import torch

from ired_interp.errors import InputError
from ired_interp.geometry.angles import angles_between_orthonormal, orthonormalise
from ired_interp.geometry.arrays import Array, as_bases, as_tensor, in_kind

CUT = 1e-6
"""How close to π/2 the largest angle may come: the logarithm errs by about 1e-16/(π/2 − θ)."""


def log(base: Array, target: Array) -> Array:
    """Tangent vector at ``base`` of the shortest geodesic to ``target``.

    Parameters
    ----------
    base : torch.Tensor or numpy.ndarray
        (..., N, p), orthonormal.
    target : torch.Tensor or numpy.ndarray
        (..., N, p), any independent columns.

    Returns
    -------
    torch.Tensor or numpy.ndarray
        (..., N, p) horizontal lift H, float64; ‖H‖_F is the geodesic distance.

    Raises
    ------
    InputError
        If an angle reaches π/2 (no unique shortest geodesic), dimensions differ, or ``base`` is not
        orthonormal.

    Notes
    -----
    Bendokat, Zimmermann and Absil, "A Grassmann manifold handbook", arXiv 2011.13699, section 5.

    Examples
    --------
    >>> import torch
    >>> from ired_interp.geometry import log
    >>> H = log(torch.eye(3)[:, :1], torch.tensor([[1.0], [1.0], [0.0]]))
    >>> torch.linalg.matrix_norm(H)  # the geodesic distance, π/4
    tensor(0.7854, dtype=torch.float64)
    """
    u, goal = _frame(base), as_bases(base, target)[1]
    _check_dimensions(u, goal)
    v = orthonormalise(goal.to(u), goal.dtype)
    angle = angles_between_orthonormal(u, v).amax().item()
    if angle > math.pi / 2 - CUT:
        raise InputError(
            f"the subspaces hold a right angle ({angle:.7f} rad): no unique shortest geodesic "
            "joins them; measure their distance by principal_angles, or put a subspace between "
            "them."
        )
    if u.shape[-2] == u.shape[-1]:  # the only subspace there is
        return in_kind(torch.zeros_like(v), base)
    basis = _joint_basis(u, v)
    a, b = basis.mT @ u, basis.mT @ v
    x = _geomstats("log", b @ b.mT, a @ a.mT, p=u.shape[-1])
    return in_kind(basis @ (x @ a), base)


def exp(base: Array, tangent: Array) -> Array:
    """End point of the geodesic that leaves ``base`` with velocity ``tangent``, after unit time.

    Parameters
    ----------
    base : torch.Tensor or numpy.ndarray
        (..., N, p), orthonormal.
    tangent : torch.Tensor or numpy.ndarray
        (..., N, p) horizontal lift H, UᵀH = 0.

    Returns
    -------
    torch.Tensor or numpy.ndarray
        (..., N, p) orthonormal basis of the end point, float64; which basis of it is not specified.

    Raises
    ------
    InputError
        If ``base`` is not orthonormal or ``tangent`` not horizontal.

    Examples
    --------
    >>> import math, torch
    >>> from ired_interp.geometry import exp, overlap
    >>> U, H = torch.eye(3)[:, :1], torch.tensor([[0.0], [math.pi / 3], [0.0]])
    >>> overlap(U, exp(U, H))  # cos² of π/3
    tensor(0.2500, dtype=torch.float64)
    """
    u = _frame(base)
    h = _horizontal(tangent, u)
    if u.shape[-2] == u.shape[-1]:
        return in_kind(u.expand_as(h), base)
    basis = _joint_basis(u, h)
    a, b = basis.mT @ u, basis.mT @ h
    point = _geomstats("exp", b @ a.mT + a @ b.mT, a @ a.mT, p=u.shape[-1])
    return in_kind(
        basis @ torch.linalg.eigh((point + point.mT) / 2).eigenvectors[..., -u.shape[-1] :], base
    )


def geodesic(base: Array, target: Array, times: Array) -> Array:
    """Points along the shortest geodesic from ``base`` (time 0) to ``target`` (time 1).

    Parameters
    ----------
    base, target : torch.Tensor or numpy.ndarray
        (N, p); ``base`` orthonormal.
    times : torch.Tensor or numpy.ndarray
        (k,), also outside [0, 1].

    Returns
    -------
    torch.Tensor or numpy.ndarray
        (k, N, p) orthonormal bases, float64.

    Raises
    ------
    InputError
        As ``log``.

    Examples
    --------
    >>> import torch
    >>> from ired_interp.geometry import geodesic, grassmann_distance
    >>> U, V = torch.eye(3)[:, :1], torch.tensor([[1.0], [1.0], [0.0]])
    >>> grassmann_distance(U, geodesic(U, V, torch.tensor([0.0, 0.5, 1.0]))).round(decimals=4)
    tensor([0.0000, 0.3927, 0.7854], dtype=torch.float64)
    """
    velocity = as_tensor(log(base, target), "tangent")
    steps = as_tensor(times, "times", ndim=1).double().to(velocity.device)
    return in_kind(exp(_frame(base), steps[:, None, None] * velocity), base)


def parallel_transport(tangent: Array, base: Array, target: Array) -> Array:
    """Carry a tangent vector along the shortest geodesic, without turning it.

    Parameters
    ----------
    tangent : torch.Tensor or numpy.ndarray
        (..., N, p) horizontal lift at ``base``.
    base, target : torch.Tensor or numpy.ndarray
        (..., N, p), both orthonormal.

    Returns
    -------
    torch.Tensor or numpy.ndarray
        (..., N, p) horizontal lift at ``target``, expressed in that basis, float64. Lengths and
        angles are kept.

    Raises
    ------
    InputError
        As ``log``; or if ``target`` is not orthonormal or ``tangent`` not horizontal.

    Examples
    --------
    >>> import torch
    >>> from ired_interp.geometry import log, orthonormal_basis, parallel_transport
    >>> U, V = torch.eye(3)[:, :1], orthonormal_basis(torch.tensor([[1.0], [1.0], [0.0]]))
    >>> across = torch.tensor([[0.0], [0.0], [1.0]])
    >>> parallel_transport(across, U, V).round(decimals=6).abs()  # it does not turn
    tensor([[0.],
            [0.],
            [1.]], dtype=torch.float64)
    """
    u, v = _frame(base), _frame(target)
    h = _horizontal(tangent, u)
    velocity = log(u, v)
    if u.shape[-2] == u.shape[-1]:
        return in_kind(torch.zeros_like(h), tangent)
    basis = _joint_basis(u, v, h)
    a, b, c, d = (basis.mT @ part for part in (u, v, h, velocity))
    x = _geomstats(
        "parallel_transport", c @ a.mT + a @ c.mT, a @ a.mT, d @ a.mT + a @ d.mT, p=u.shape[-1]
    )
    return in_kind(basis @ (x @ b), tangent)


def _geomstats(operation: str, *arguments: torch.Tensor, p: int) -> torch.Tensor:
    """Call an operation of geomstats' Grassmannian metric, whichever backend it runs on."""
    import geomstats.backend as gs
    from geomstats.geometry.grassmannian import Grassmannian

    metric = Grassmannian(arguments[0].shape[-1], p).metric
    batch = torch.broadcast_shapes(*(argument.shape[:-2] for argument in arguments))
    flat = (
        a.expand(*batch, *a.shape[-2:]).reshape(-1, *a.shape[-2:]).cpu().numpy() for a in arguments
    )
    result: Any = getattr(metric, operation)(*(gs.array(a) for a in flat))
    return (
        torch.as_tensor(gs.to_numpy(result))
        .to(arguments[0])
        .reshape(*batch, *arguments[0].shape[-2:])
    )


def _frame(array: torch.Tensor | np.ndarray) -> torch.Tensor:
    """Clean an orthonormal basis of the rounding of its precision, without turning it.

    Raises
    ------
    InputError
        If it is not orthonormal.
    """
    (given,) = as_bases(array)
    left, singular, right = torch.linalg.svd(given.double(), full_matrices=False)
    if not (singular - 1).abs().max() < 1e-5:
        raise InputError(
            f"a base with singular values from {singular.min():.3g} to {singular.max():.3g}: "
            "tangent vectors are expressed in an orthonormal base: apply orthonormal_basis first."
        )
    polar: torch.Tensor = left @ right
    return polar


def _horizontal(tangent: torch.Tensor | np.ndarray, base: torch.Tensor) -> torch.Tensor:
    h = as_tensor(tangent, "tangent").double().to(base.device)
    if h.shape[-2:] != base.shape[-2:]:
        raise InputError(
            f"a tangent vector of shape {tuple(h.shape)} at a base of shape {tuple(base.shape)}: "
            "make them equal."
        )
    if (torch.linalg.matrix_norm(base.mT @ h) > 1e-5 * torch.linalg.matrix_norm(h)).any():
        raise InputError(
            "the tangent vector H has a part inside its base U (UᵀH ≠ 0): pass H − U Uᵀ H."
        )
    return h


def _check_dimensions(u: torch.Tensor, v: torch.Tensor) -> None:
    if u.shape[-1] != v.shape[-1]:
        raise InputError(
            f"subspaces of dimensions {u.shape[-1]} and {v.shape[-1]}: geodesics join equal "
            "dimensions only."
        )


def _joint_basis(*frames: torch.Tensor) -> torch.Tensor:
    """Orthonormal (..., N, n) basis whose span holds all ``frames`` (..., N, p)."""
    batch = torch.broadcast_shapes(*(frame.shape[:-2] for frame in frames))
    joint = torch.cat([frame.expand(*batch, *frame.shape[-2:]) for frame in frames], dim=-1)
    basis: torch.Tensor = torch.linalg.qr(joint).Q
    return basis
