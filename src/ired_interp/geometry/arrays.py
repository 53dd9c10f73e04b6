"""The boundary between NumPy and torch: every function here takes either and answers in kind."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import torch

from ired_interp.errors import InputError

Array = TypeVar("Array", torch.Tensor, np.ndarray)
ROWS = 4096
"""Rows of a tall basis that are held in float64 at a time."""


def as_tensor(array: torch.Tensor | np.ndarray, name: str, ndim: int = 2) -> torch.Tensor:
    """View an array as a real floating tensor, in its own precision, without gradient.

    Parameters
    ----------
    array : torch.Tensor or numpy.ndarray
        What a user gave.
    name : str
        What it is, in a message.
    ndim : int
        Dimensions at least.

    Returns
    -------
    torch.Tensor
        On its own device; on the CPU for MPS, which has no float64.

    Raises
    ------
    InputError
        If it is neither a tensor nor an array, sparse, complex, has masked entries or too few
        dimensions.
    """
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        raise InputError(f"{name} has masked entries; pass an array in which every entry counts.")
    if isinstance(array, np.ndarray):
        if array.dtype.kind not in "biufc":
            raise InputError(f"{name} holds {array.dtype} entries; pass an array of numbers.")
        array = torch.from_numpy(_native(array))
    if not isinstance(array, torch.Tensor):
        raise InputError(
            f"{name} is a {type(array).__name__}; pass a torch tensor or a NumPy array."
        )
    if array.layout is not torch.strided:
        raise InputError(f"{name} is a {array.layout} tensor; pass a dense one: .to_dense().")
    if array.is_complex():
        raise InputError(
            f"{name} is complex ({array.dtype}); this package measures real subspaces: pass a real "
            "array."
        )
    if array.ndim < ndim:
        raise InputError(
            f"{name} has shape {tuple(array.shape)}; at least {ndim} dimensions are expected."
        )
    if not array.is_floating_point():
        array = array.to(torch.float64)
    return array.detach().cpu() if array.device.type == "mps" else array.detach()


def _native(array: np.ndarray) -> np.ndarray:
    """Lay an array out as torch takes it: in this machine's byte order, contiguous, writeable."""
    kind = array.dtype.newbyteorder("=")
    return np.require(
        array, np.float64 if kind.itemsize > 8 and kind.kind == "f" else kind, ["C", "W"]
    )


def as_bases(*arrays: torch.Tensor | np.ndarray) -> tuple[torch.Tensor, ...]:
    """View bases that share N as tensors.

    Parameters
    ----------
    *arrays : torch.Tensor or numpy.ndarray
        (..., N, p) each.

    Returns
    -------
    tuple of torch.Tensor
        As ``as_tensor`` views them.

    Raises
    ------
    InputError
        If p > N for one, or N differs.
    """
    bases = tuple(as_tensor(array, f"basis {position}") for position, array in enumerate(arrays, 1))
    rows = bases[0].shape[-2]
    for position, basis in enumerate(bases, 1):
        if basis.shape[-2] != rows:
            raise InputError(
                f"basis 1 has {rows} rows and basis {position} has {basis.shape[-2]}; subspaces "
                "can be compared only in the same space R^N: pass bases of shape (..., N, p) with "
                "equal N."
            )
        if not 1 <= basis.shape[-1] <= rows:
            raise InputError(
                f"basis {position} has shape {tuple(basis.shape)}; a basis (..., N, p) needs "
                "1 <= p <= N: transpose it?"
            )
    return bases


def in_kind(result: torch.Tensor, like: Array) -> Array:
    """Turn a result into a NumPy array if what was given is one.

    Parameters
    ----------
    result : torch.Tensor
        Any.
    like : torch.Tensor or numpy.ndarray
        What was given.

    Returns
    -------
    torch.Tensor or numpy.ndarray
        The result, of the same kind.
    """
    return result.cpu().numpy() if isinstance(like, np.ndarray) else result


def row_slices(rows: int) -> Iterator[slice]:
    """Cut rows into consecutive chunks.

    Parameters
    ----------
    rows : int
        How many.

    Returns
    -------
    iterator of slice
        Of ``ROWS`` rows each, but the last.
    """
    return (slice(start, min(start + ROWS, rows)) for start in range(0, rows, ROWS))


def streamed_r(rows: int, read: Callable[[slice], torch.Tensor]) -> torch.Tensor:
    """R factor of a tall matrix whose rows are read in chunks (sequential tall-skinny QR).

    Parameters
    ----------
    rows : int
        Number of rows N.
    read : callable
        Maps a slice of rows to a float64 tensor (..., rows, columns).

    Returns
    -------
    torch.Tensor
        (..., min(N, columns), columns). Its columns have the same inner products as those of the
        matrix, to rounding: they are the columns' coordinates in an orthonormal basis of their
        span.

    Notes
    -----
    Demmel, Grigori, Hoemmen, Langou, "Communication-optimal parallel and sequential QR", SIAM J.
    Sci. Comput. 34, 2012.
    """
    chunks = row_slices(rows)
    factor: torch.Tensor = torch.linalg.qr(read(next(chunks)), mode="r").R
    for chunk in chunks:
        factor = torch.linalg.qr(torch.cat([factor, read(chunk)], dim=-2), mode="r").R
    return factor
