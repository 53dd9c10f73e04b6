"""Exact geometry in a million dimensions, through the Gram matrix of all columns.

Subspaces U₁ … U_m of dimension p in R^N lie in V = ΣUᵢ of dimension r ≤ m·p. With Q an orthonormal
basis of V, P ↦ QPQᵀ embeds Gr(p, r) in Gr(p, N) isometrically and totally geodesically (it is the
fixed set of the isometry P ↦ SPS, S = 2QQᵀ − I), so angles, geodesics, logarithms, parallel
transport and Karcher means in R^r are those in R^N.
"""

from collections.abc import Sequence

import torch

from ired_interp.errors import InputError
from ired_interp.geometry.arrays import ROWS, row_slices
from ired_interp.geometry.subspace import Subspace

MISSING = -1  # the place of a repeat that was not given


def extend_gram(subspaces: Sequence[Subspace], known: torch.Tensor | None = None) -> torch.Tensor:
    """Products SᵢᵀSⱼ of the stored columns of m subspaces, streamed over rows in float64.

    Parameters
    ----------
    subspaces : sequence of Subspace
        m subspaces of equal shape (N, p), or m batches of B of them.
    known : torch.Tensor, optional
        What this function returned for the first few: only the rest is computed.

    Returns
    -------
    torch.Tensor
        (m, m, p, p) or (m, m, B, p, p), float64 on the CPU. What is computed, and in which order,
        does not depend on what was known.

    Raises
    ------
    InputError
        If shapes differ.

    Notes
    -----
    About N(mp)² flops; memory (mp)² and one chunk of rows.
    """
    shapes = {subspace.shape for subspace in subspaces}
    if len(shapes) != 1:
        raise InputError(
            f"subspaces of shapes {sorted(shapes)}: all must have the same (N, p) to be compared "
            "in pairs."
        )
    *batch, rows, p = shapes.pop()
    m, old = len(subspaces), 0 if known is None else len(known)
    gram = torch.zeros(m, m, *batch, p, p, dtype=torch.float64)
    columns = torch.empty(m, *batch, p, min(rows, ROWS), dtype=torch.float64)
    for chunk in row_slices(rows):
        read = columns[..., : chunk.stop - chunk.start]
        for position, subspace in enumerate(subspaces):
            read[position] = subspace.stored(chunk).mT
        for new in range(old, m):
            gram[: new + 1, new] += read[: new + 1] @ read[new].mT
    for new in range(old, m):
        gram[new, :new] = gram[:new, new].mT
    if known is not None:
        gram[:old, :old] = known
    return gram


def normalise_gram(gram: torch.Tensor) -> torch.Tensor:
    """Products QᵢᵀQⱼ of orthonormal bases of the same subspaces.

    Parameters
    ----------
    gram : torch.Tensor
        (m, m, ..., p, p) products of any independent columns.

    Returns
    -------
    torch.Tensor
        Of the same shape, with the identity for i = j.
    """
    own = gram.diagonal(dim1=0, dim2=1).movedim(-1, 0)
    identity = torch.eye(gram.shape[-1], dtype=gram.dtype)
    inverse = torch.linalg.solve_triangular(
        torch.linalg.cholesky(own), identity.expand_as(own), upper=False
    )
    blocks = torch.empty_like(gram)
    for row, (factor, products) in enumerate(zip(inverse, gram, strict=True)):
        blocks[row] = factor @ products @ inverse.mT
        blocks[row, row] = identity
    return blocks


def angles_from_cross(cross: torch.Tensor) -> torch.Tensor:
    """Principal angles from the products QᵢᵀQⱼ of orthonormal bases alone.

    Parameters
    ----------
    cross : torch.Tensor
        (..., p, p) blocks of ``normalise_gram``.

    Returns
    -------
    torch.Tensor
        (..., p) radians, ascending. The products hold sines squared, so angles below 1e-7 drown in
        rounding (error up to 1e-7, and 1e-15/θ above): below the floor of float16 and about that of
        float32.
    """
    cosines = torch.linalg.svdvals(cross)
    gap = torch.eye(cross.shape[-1], dtype=cross.dtype) - cross.mT @ cross
    sines = torch.linalg.eigvalsh((gap + gap.mT) / 2).clamp(min=0).sqrt()
    return torch.atan2(sines, cosines)


def pair_angles(blocks: torch.Tensor, places: Sequence[tuple[int, int]]) -> torch.Tensor:
    """Principal angles of all pairs of frames, each estimated twice.

    Parameters
    ----------
    blocks : torch.Tensor
        (M, M, ..., p, p) products of all estimates, as ``normalise_gram`` returns them.
    places : sequence of tuple of int
        Where the first estimate and the repeat of each of m frames stand; ``MISSING`` for none.

    Returns
    -------
    torch.Tensor
        (2, m, m, ..., p) radians: between first estimates, and between the row's first estimate and
        the column's repeat, NaN where that is missing.
    """
    m = len(places)
    angles = blocks.new_full((2, m, m, *blocks.shape[2:-1]), torch.nan)
    first, repeat = torch.tensor(places).unbind(1)
    rows, columns = torch.tril_indices(m, m)
    same = angles_from_cross(blocks[first[rows], first[columns]])
    angles[0, rows, columns] = angles[0, columns, rows] = same
    for i, j in ((rows, columns), (columns, rows)):
        i, j = i[repeat[j] != MISSING], j[repeat[j] != MISSING]
        angles[1, i, j] = angles_from_cross(blocks[first[i], repeat[j]])
    return angles


def coordinates_from_gram(blocks: torch.Tensor) -> torch.Tensor:
    """Orthonormal coordinates of all subspaces in their joint span.

    Parameters
    ----------
    blocks : torch.Tensor
        (m, m, p, p) as ``normalise_gram`` returns them.

    Returns
    -------
    torch.Tensor
        (m, r, p) float64 orthonormal bases in R^r, r ≤ m·p the numerical rank; exact to about 1e-7
        in angles near 0 and 1e-14 elsewhere.
    """
    m, p = blocks.shape[0], blocks.shape[-1]
    values, vectors = torch.linalg.eigh(blocks.movedim(1, 2).reshape(m * p, m * p))
    rank = int((values > torch.finfo(torch.float64).eps * values[-1]).sum())
    joint = vectors[:, -rank:].mul_(values[-rank:].sqrt())
    frames: torch.Tensor = torch.linalg.qr(joint.view(m, p, rank).mT).Q
    return frames
