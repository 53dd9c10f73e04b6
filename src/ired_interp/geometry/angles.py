"""Orthonormal bases and principal angles, accurate from 1e-15 to π/2."""

import torch

from ired_interp.geometry.arrays import ROWS, Array, as_bases, in_kind, streamed_r
from ired_interp.geometry.resolution import check_rank, finite_scale


def orthonormalise(basis: torch.Tensor, precision: torch.dtype) -> torch.Tensor:
    """Orthonormalise bases that were rounded before they came.

    Parameters
    ----------
    basis : torch.Tensor
        (..., N, p) float64.
    precision : torch.dtype
        What they were rounded to.

    Returns
    -------
    torch.Tensor
        (..., N, p) of the same spans.

    Raises
    ------
    InputError
        If an entry is not finite, or the columns are dependent to within ``precision``.
    """
    basis = basis / finite_scale(basis, (-2,), "a basis")
    norms = torch.linalg.vector_norm(basis, dim=-2, keepdim=True)
    q: torch.Tensor
    q, r = torch.linalg.qr(basis / torch.where(norms == 0, 1.0, norms))
    what = f"a basis of {basis.shape[-1]} columns"
    check_rank(torch.linalg.svdvals(r), precision, basis.shape[-1], what)
    return q


def orthonormal_basis(basis: Array) -> Array:
    """Orthonormal basis of the column span, by QR of the normalised columns in float64.

    Parameters
    ----------
    basis : torch.Tensor or numpy.ndarray
        (..., N, p), any independent columns.

    Returns
    -------
    torch.Tensor or numpy.ndarray
        (..., N, p), float64.

    Raises
    ------
    InputError
        If an entry is not finite or the columns are dependent to within the precision of ``basis``.

    Examples
    --------
    >>> import torch
    >>> from ired_interp.geometry import orthonormal_basis
    >>> q = orthonormal_basis(torch.tensor([[3.0, 3.0], [4.0, 4.0], [0.0, 5.0]]))
    >>> (q.T @ q).round(decimals=6).abs()
    tensor([[1., 0.],
            [0., 1.]], dtype=torch.float64)
    """
    (tensor,) = as_bases(basis)
    return in_kind(orthonormalise(tensor.double(), tensor.dtype), basis)


def principal_angles(U: Array, V: Array) -> Array:
    """Principal angles between the column spans of U and V.

    Parameters
    ----------
    U, V : torch.Tensor or numpy.ndarray
        (..., N, p) and (..., N, q): any independent columns, orthonormal or not; batch dimensions
        broadcast.

    Returns
    -------
    torch.Tensor or numpy.ndarray
        (..., min(p, q)) angles in radians, float64, ascending in [0, π/2]; the kind and device of
        U. Absolute error about 1e-15 for float64 bases; what lower precision already rounded away
        is not recovered (see ``Subspace``).

    Raises
    ------
    InputError
        If N differs, an entry is not finite, or columns are dependent to within the precision of
        the input.

    Notes
    -----
    θ = atan2(sine, cosine), the cosines from the singular values of QᵤᵀQᵥ and the sines from those
    of the smaller basis projected off the larger one: arccos alone loses every angle below 1e-8,
    arcsin every one near π/2. Tall bases are first reduced to p + q coordinates by a streamed QR,
    which is an isometry.

    References
    ----------
    Björck and Golub, Math. Comp. 27, 1973; Knyazev and Argentati, SIAM J. Sci. Comput. 23, 2002.

    Examples
    --------
    >>> import torch
    >>> from ired_interp.geometry import principal_angles
    >>> U = torch.eye(4)[:, :2]
    >>> V = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 0.0]])  # one axis shared
    >>> principal_angles(U, V)
    tensor([0.0000, 0.7854], dtype=torch.float64)
    """
    u, v = as_bases(U, V)
    v_rows = v.to(u.device)
    precisions = u.dtype, v.dtype
    p, rows = u.shape[-1], u.shape[-2]
    if rows > ROWS:
        batch = torch.broadcast_shapes(u.shape[:-2], v.shape[:-2])

        def read(chunk: slice) -> torch.Tensor:
            parts = (part[..., chunk, :].double().expand(*batch, -1, -1) for part in (u, v_rows))
            return torch.cat(list(parts), dim=-1)

        joint = streamed_r(rows, read)
        u, v_rows = joint[..., :p], joint[..., p:]
    bases = (
        orthonormalise(b.double(), precision)
        for b, precision in zip((u, v_rows), precisions, strict=True)
    )
    return in_kind(angles_between_orthonormal(*bases), U)


def angles_between_orthonormal(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Principal angles of orthonormal float64 bases.

    Parameters
    ----------
    u, v : torch.Tensor
        (..., N, p) and (..., N, q).

    Returns
    -------
    torch.Tensor
        (..., min(p, q)) radians, ascending.
    """
    small, large = (u, v) if u.shape[-1] <= v.shape[-1] else (v, u)
    cross = large.mT @ small
    cosines = torch.linalg.svdvals(cross)
    sines = torch.linalg.svdvals(small - large @ cross).flip(-1)
    return torch.atan2(sines, cosines)
