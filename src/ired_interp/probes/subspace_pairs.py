"""A subspace estimated twice, with the eigengap that one estimate shows in the other's data."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ired_interp.errors import InputError, RunError
from ired_interp.geometry import Eigengap
from ired_interp.geometry.eigengap import matrix_gaps, vector_gaps
from ired_interp.geometry.leading import leading_directions
from ired_interp.geometry.resolution import resolution
from ired_interp.spectra import many_eigenpairs


class Frame(NamedTuple):
    """A subspace, or one of each problem.

    Attributes
    ----------
    basis : Tensor
        (N, p) or (B, N, p).
    repeat : Tensor, optional
        The same from independent noise or problems.
    gap : Eigengap
        Whether there is such a subspace.
    """

    basis: Tensor
    repeat: Tensor | None
    gap: Eigengap


Pair = tuple[Tensor, Tensor | None]  # (B, N, N) matrices, and the same with other noise


def frames_of_matrices(pairs: Sequence[Pair], p: int) -> list[Frame]:
    """Take the eigenvectors of the p largest eigenvalues of each problem's matrix.

    Parameters
    ----------
    pairs : sequence of Pair
        Symmetric, p below N, all of one shape; decomposed together.
    p : int
        How many.

    Returns
    -------
    list of Frame
        Of (B, N, p) float64 bases, descending.
    """
    parts = [part for pair in pairs for part in pair if part is not None]
    values, columns = many_eigenpairs(torch.cat(parts))
    count = len(parts[0])
    largest = iter(values.abs().amax(-1).to(columns.device).split(count))
    vectors = iter(columns.flip(-1).split(count))
    found = [([next(largest) for m in pair if m is not None], pair) for pair in pairs]
    return [_frame(pair, sizes, [next(vectors) for _ in sizes], p) for sizes, pair in found]


def frame_of_matrices(matrices: Tensor, others: Tensor | None, p: int) -> Frame:
    """Take one frame as `frames_of_matrices` does."""
    (frame,) = frames_of_matrices([(matrices, others)], p)
    return frame


def _frame(pair: Pair, largest: list[Tensor], vectors: list[Tensor], p: int) -> Frame:
    matrices, others = pair
    rounding = resolution(matrices.shape[-1], matrices.dtype)
    if others is None:
        gaps = matrix_gaps(vectors[0], matrices.double(), largest[0], p)
        return Frame(vectors[0][..., :p], None, Eigengap.of(gaps, rounding))
    crossed = (
        matrix_gaps(vectors[1], matrices.double(), largest[0], p),
        matrix_gaps(vectors[0], others.double(), largest[1], p),
    )
    gap = Eigengap.of((crossed[0] + crossed[1]) / 2, rounding)
    return Frame(vectors[0][..., :p], vectors[1][..., :p], gap)


def frame_of_vectors(halves: tuple[Tensor, Tensor], p: int, what: str) -> Frame:
    """Take the leading p directions of vectors, of each half of them.

    Parameters
    ----------
    halves : tuple of Tensor
        (B, N) each.
    p : int
        How many.
    what : str
        What the vectors are, in a message.

    Returns
    -------
    Frame
        Of (N, p) float64 bases, on the CPU.

    Raises
    ------
    InputError
        If a half holds no more vectors than p, or they span fewer dimensions.
    RunError
        If an entry is not finite.
    """
    first, second = (half.cpu() for half in halves)
    if not (first.isfinite().all() and second.isfinite().all()):
        raise RunError(f"the {what} are not finite; the weights or the point have diverged.")
    if len(second) <= p:
        raise InputError(
            f"{len(first) + len(second)} {what} are too few for a subspace of p={p} dimensions "
            f"from each half of them; give at least {2 * (p + 1)} problems."
        )
    directions = [leading_directions(half, p, p + 1)[0] for half in (first, second)]
    gaps = (
        vector_gaps(directions[1], first, p),
        vector_gaps(directions[0], second, p),
    )
    values, differences = (torch.cat(parts) for parts in zip(*gaps, strict=True))
    gap = Eigengap.of(values, resolution(min(second.shape), second.dtype), differences)
    return Frame(directions[0][:, :p], directions[1][:, :p], gap)
