"""Exact geometry in a million dimensions: subspaces in the few coordinates that hold them all.

Subspaces U₁ … U_m of dimension p in R^N lie in V = ΣUᵢ of dimension r ≤ m·p. With Q an orthonormal basis of V, P ↦ QPQᵀ
embeds Gr(p, r) in Gr(p, N) isometrically and totally geodesically (it is the fixed set of the isometry P ↦ SPS,
S = 2QQᵀ − I), so angles, geodesics, logarithms, parallel transport and Karcher means in R^r are those in R^N.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch

from ired_interp.errors import InputError
from ired_interp.geometry.angles import orthonormalise
from ired_interp.geometry.arrays import ROWS, as_bases, row_slices, streamed_r
from ired_interp.geometry.subspace import Subspace

Progress = Callable[[list[slice]], Iterable[slice]]


def _same_shape(snapshots: Sequence[Subspace]) -> tuple[int, int]:
    shapes = {snapshot.shape for snapshot in snapshots}
    if len(shapes) != 1:
        raise InputError(
            f"snapshots of shapes {sorted(shapes)}: all must have the same (N, p) to be compared in pairs."
        )
    return shapes.pop()


def reduced_coordinates(snapshots: Sequence[Subspace | torch.Tensor | np.ndarray]) -> torch.Tensor:
    """Orthonormal coordinates of m subspaces in the span of all, by a streamed QR.

    Parameters
    ----------
    snapshots : sequence of Subspace, torch.Tensor or numpy.ndarray
        m bases (N, p).

    Returns
    -------
    torch.Tensor
        (m, r, p) float64 orthonormal bases in R^r, r = min(N, m·p). Angles between them equal those in R^N to 1e-15.

    Raises
    ------
    InputError
        If shapes differ or columns are dependent.

    Notes
    -----
    Cost 2N(mp)² flops, half as much again as the full Gram matrix; memory (mp)² and one chunk of rows.
    """
    parts = [
        snapshot if isinstance(snapshot, Subspace) else as_bases(snapshot)[0]
        for snapshot in snapshots
    ]
    shapes = {tuple(part.shape) for part in parts}
    if len(shapes) != 1:
        raise InputError(
            f"bases of shapes {sorted(shapes)}: reduced coordinates need one or more of equal shape (N, p)."
        )
    rows, p = shapes.pop()

    def read(chunk: slice) -> torch.Tensor:
        return torch.cat(
            [s.rows(chunk) if isinstance(s, Subspace) else s[chunk].double() for s in parts], dim=-1
        )

    joint = streamed_r(rows, read)
    frames = joint.unflatten(-1, (len(parts), p)).movedim(1, 0)
    return torch.stack(
        [orthonormalise(frame, part.dtype) for frame, part in zip(frames, parts, strict=True)]
    )


def extend_gram(
    snapshots: Sequence[Subspace],
    known: torch.Tensor | None = None,
    device: torch.device | str = "cpu",
    progress: Progress = iter,
) -> torch.Tensor:
    """Gram matrix of the stacked columns of m snapshots, streamed over rows in float64.

    Parameters
    ----------
    snapshots : sequence of Subspace
        m snapshots of equal shape (N, p).
    known : torch.Tensor, optional
        Gram matrix of the first few of them, as this function returned it: only the missing part is computed.
    device : torch.device or str
        Where the products are computed.
    progress : callable
        Wraps the list of row chunks, to show how far the work is: ``rich.progress.track``, ``tqdm.tqdm``.

    Returns
    -------
    torch.Tensor
        (m·p, m·p) float64 on the CPU.

    Raises
    ------
    InputError
        If shapes differ.

    Notes
    -----
    About N(mp)² flops; memory (mp)² and one chunk of rows.
    """
    rows, p = _same_shape(snapshots)
    total, old = len(snapshots) * p, 0 if known is None else known.shape[0]
    gram = torch.zeros(total, total, dtype=torch.float64, device=device)
    buffer = torch.empty(min(rows, ROWS), total, dtype=torch.float64, device=device)
    stripe = max(p, (total - old) // 10)
    for chunk in progress(list(row_slices(rows))):
        columns = buffer[: chunk.stop - chunk.start]
        for position, snapshot in enumerate(snapshots):
            columns[:, position * p : (position + 1) * p] = snapshot.stored(chunk)
        for start in range(old, total, stripe):
            stop = min(start + stripe, total)
            gram[:stop, start:stop].addmm_(columns[:, :stop].mT, columns[:, start:stop])
    gram = gram.cpu()
    if known is not None:
        gram[:old, :old] = known
    return gram.triu_().add_(gram.triu(1).mT)


def normalise_gram(gram: torch.Tensor, p: int) -> torch.Tensor:
    """Gram matrix of orthonormal bases of the same subspaces, in blocks: (m, m, p, p) with identities on the diagonal.

    Parameters
    ----------
    gram : torch.Tensor
        (m·p, m·p) Gram matrix of any independent columns.
    p : int
        Dimension of each subspace.

    Returns
    -------
    torch.Tensor
        Block (i, j) is QᵢᵀQⱼ.
    """
    scale = gram.diagonal().rsqrt()
    blocks = (
        (gram * scale)
        .mul_(scale[:, None])
        .unflatten(0, (-1, p))
        .unflatten(2, (-1, p))
        .movedim(2, 1)
    )
    own = blocks.diagonal(dim1=0, dim2=1).movedim(-1, 0)
    identity = torch.eye(p, dtype=gram.dtype)
    inverse = torch.linalg.solve_triangular(
        torch.linalg.cholesky(own), identity.expand_as(own), upper=False
    )
    for row, factor in zip(blocks, inverse, strict=True):  # in place: the full matrix may be large
        row.copy_(factor @ row @ inverse.mT)
    index = torch.arange(len(blocks))
    blocks[index, index] = identity
    return blocks


def angles_from_gram(blocks: torch.Tensor) -> torch.Tensor:
    """Principal angles of all pairs from the blocks of ``normalise_gram``.

    Parameters
    ----------
    blocks : torch.Tensor
        (m, m, p, p).

    Returns
    -------
    torch.Tensor
        (m, m, p) radians, ascending. A Gram matrix holds sines squared, so angles below 1e-7 drown in rounding (error
        up to 1e-7, and 1e-15/θ above): below the floor of float16 and about that of float32.
    """
    m, p = blocks.shape[0], blocks.shape[-1]
    first, second = torch.triu_indices(m, m, offset=1)
    cross = blocks[first, second]
    cosines = torch.linalg.svdvals(cross)
    gap = torch.eye(p, dtype=cross.dtype) - cross.mT @ cross
    sines = torch.linalg.eigvalsh((gap + gap.mT) / 2).clamp(min=0).sqrt()
    angles = torch.zeros(m, m, p, dtype=torch.float64)
    angles[first, second] = angles[second, first] = torch.atan2(sines, cosines)
    return angles


def coordinates_from_gram(blocks: torch.Tensor) -> torch.Tensor:
    """Orthonormal coordinates of all subspaces in their joint span, from the blocks of ``normalise_gram``.

    Parameters
    ----------
    blocks : torch.Tensor
        (m, m, p, p).

    Returns
    -------
    torch.Tensor
        (m, r, p) float64 orthonormal bases in R^r, r ≤ m·p the numerical rank; exact to about 1e-7 in angles near 0 and
        1e-14 elsewhere.
    """
    m, p = blocks.shape[0], blocks.shape[-1]
    values, vectors = torch.linalg.eigh(blocks.movedim(1, 2).reshape(m * p, m * p))
    rank = int((values > torch.finfo(torch.float64).eps * values[-1]).sum())
    joint = vectors[:, -rank:].mul_(values[-rank:].sqrt())
    return torch.linalg.qr(joint.unflatten(0, (m, p)).mT).Q
