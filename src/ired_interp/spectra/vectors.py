"""Accurate scalar products, random vectors and sizes in bytes: what all solvers share."""

import re
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ired_interp.errors import InputError

# Entries that a CPU's cache holds of a few vectors; short float32 sums, added in float64, need no
# temporary.
_BLOCK = 1 << 15
_PIECE = 1 << 22  # entries of which products are formed in float64 at a time
# Beyond these, products of float32 numbers may have left its range, and are formed in float64.
_SMALL, _LARGE = 1e-25, 1e35
_UNITS = {
    "": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
}


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Scalar product, summed in float64: ``torch.dot`` errs by 2e-5 at a million float32.

    Whatever the numbers' size: a product of two that float32 cannot hold is formed in float64.

    Parameters
    ----------
    a, b : Tensor
        (N,) of one dtype on one device.

    Returns
    -------
    Tensor
        Σ a_i b_i, float64 on their device, which is not waited for.
    """
    return subtract(a, (), (b,))[0]


def dot(a: Tensor, b: Tensor) -> float:
    """Scalar product as a number; see ``inner``.

    Parameters
    ----------
    a, b : Tensor
        (N,) of one dtype on one device.

    Returns
    -------
    float
        Σ a_i b_i.
    """
    return float(inner(a, b))


def subtract(
    a: Tensor, taken: Sequence[tuple[Tensor, Tensor]], against: Sequence[Tensor] = ()
) -> Tensor:
    """Take shares of vectors from another, and multiply by what is left, in one pass over memory.

    Parameters
    ----------
    a : Tensor
        (N,) becomes a − Σ share·b.
    taken : sequence of tuple of Tensor
        Each b (N,) and its share, a scalar on its device, which is not waited for.
    against : sequence of Tensor
        (N,) each, of a's dtype on its device.

    Returns
    -------
    Tensor
        (number of ``against``,) scalar products with what is left of a, as accurate as ``inner``.
    """
    if a.device.type != "cpu":
        for b, share in taken:
            a.addcmul_(b, share.to(a.dtype), value=-1)
        return torch.stack([_inner_by_pieces(a, b) for b in against]) if against else a.new_empty(0)
    factors, products = [-float(share) for _, share in taken], []
    for piece, *pieces in zip(
        a.split(_BLOCK), *(b.split(_BLOCK) for b in [*(b for b, _ in taken), *against]), strict=True
    ):
        for factor, b in zip(factors, pieces, strict=False):
            piece.add_(b, alpha=factor)
        products += [torch.dot(piece, b) for b in pieces[len(factors) :]]
    if not against:
        return a.new_empty(0)
    sums = torch.stack(products).view(-1, len(against)).sum(0, dtype=torch.float64)
    if a.dtype == torch.float64:
        return sums
    for i, size in enumerate(sums.abs().tolist()):
        if not _SMALL < size < _LARGE:
            sums[i] = _inner_by_pieces(a, against[i])
    return sums


def _inner_by_pieces(a: Tensor, b: Tensor) -> Tensor:
    pieces = zip(a.split(_PIECE), b.split(_PIECE), strict=True)
    return torch.stack([(x.double() * y).sum() for x, y in pieces]).sum()


def norm(a: Tensor) -> float:
    """Euclidean norm, accumulated in float64.

    Parameters
    ----------
    a : Tensor
        (N,).

    Returns
    -------
    float
        ‖a‖.
    """
    return float(dot(a, a) ** 0.5)


def coarsest(dtypes: Iterable[torch.dtype]) -> torch.dtype:
    """Find the floating-point dtype of the largest ε.

    Parameters
    ----------
    dtypes : iterable of torch.dtype
        One at least.

    Returns
    -------
    torch.dtype
        One of them.
    """
    return max(dtypes, key=lambda dtype: torch.finfo(dtype).eps)


def gaussian(
    size: int, dtype: torch.dtype, device: torch.device, source: torch.Generator
) -> Tensor:
    """Draw a standard normal vector where the generator is.

    Parameters
    ----------
    size : int
        N.
    dtype, device
        Of the vector.
    source : torch.Generator
        Of any device; see ``SymmetricOperator.source``.

    Returns
    -------
    Tensor
        (N,).
    """
    return torch.randn(size, dtype=dtype, generator=source, device=source.device).to(device)


def parse_bytes(memory: int | str) -> int:
    """Read a number of bytes from 1500000000, "1.5GB" or "512MiB".

    Parameters
    ----------
    memory : int or str
        A number of bytes, or a number with a unit: KB, MB, GB, TB, KiB, MiB, GiB.

    Returns
    -------
    int
        Bytes.

    Raises
    ------
    InputError
        If the text is neither.
    """
    if isinstance(memory, int):
        return memory
    match = re.fullmatch(r"\s*([0-9.]+)\s*([KMGT]?I?B?)\s*", memory.upper())
    if not match or match[2] not in _UNITS:
        raise InputError(
            f"memory is {memory!r}; expected a number of bytes or a text like '512MiB' or '2GB'"
        )
    return int(float(match[1]) * _UNITS[match[2]])


def format_bytes(count: float) -> str:
    """Bytes as text in KiB, MiB or GiB.

    Parameters
    ----------
    count : float
        Bytes.

    Returns
    -------
    str
        Three digits and the unit.
    """
    for unit, name in ((2**30, "GiB"), (2**20, "MiB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count / 2**10:.3g} KiB"
