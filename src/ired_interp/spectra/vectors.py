"""Accurate scalar products, random vectors and sizes in bytes: what all solvers share."""

import re

import torch
from torch import Tensor

from ired_interp.errors import InputError

_BLOCK = 1 << 15
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


def dot(a: Tensor, b: Tensor) -> float:
    """Scalar product of two vectors (N,), summed in float64: ``torch.dot`` errs by 2e-5 at a million float32."""
    if a.device.type != "cpu" or a.dtype == torch.float64:
        return float((a * b).sum(dtype=torch.float64))
    blocks = zip(
        a.split(_BLOCK), b.split(_BLOCK), strict=True
    )  # short float32 sums, added in float64; needs no temporary
    return float(torch.stack([torch.dot(*pair) for pair in blocks]).sum(dtype=torch.float64))


def norm(a: Tensor) -> float:
    """Euclidean norm of a vector (N,), accumulated in float64."""
    return dot(a, a) ** 0.5


def gaussian(
    size: int, dtype: torch.dtype, device: torch.device, source: torch.Generator
) -> Tensor:
    """Standard normal vector (size,), drawn on the CPU so that every device and every rank gets the same one."""
    return torch.randn(size, dtype=dtype, generator=source).to(device)


def parse_bytes(memory: int | str) -> int:
    """Number of bytes in 1500000000, "1.5GB" or "512MiB"."""
    if isinstance(memory, int):
        return memory
    match = re.fullmatch(r"\s*([0-9.]+)\s*([KMGT]?I?B?)\s*", memory.upper())
    if not match or match[2] not in _UNITS:
        raise InputError(
            f"memory is {memory!r}; expected a number of bytes or a text like '512MiB' or '2GB'"
        )
    return int(float(match[1]) * _UNITS[match[2]])


def format_bytes(count: float) -> str:
    """Bytes as text in KiB, MiB or GiB."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count / 2**10:.3g} KiB"
