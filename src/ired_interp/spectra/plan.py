"""The memory plan of a Lanczos run: how long the basis may grow and where it lives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ired_interp.errors import InputError
from ired_interp.spectra.host_memory import free_host_memory
from ired_interp.spectra.vectors import format_bytes, parse_bytes

_WORK = 6  # vectors beside the basis: image, its temporary, sketch, pending directions
_SHARE = 0.8  # of the memory that is free, where no limit is given
# A longer basis on a CPU costs more in sweeps against it than restarts cost in products.
_SWEPT, _LONG = 1 << 29, 100


@dataclass(frozen=True)
class Plan:
    """How long a basis may grow and where it lives.

    Attributes
    ----------
    capacity : int
        Basis vectors at most.
    storage : torch.device
        Where they are kept.
    bytes : int
        What they are likely to take.
    sentence : str
        The whole plan.
    """

    capacity: int
    storage: torch.device
    bytes: int
    sentence: str


def available_memory(device: torch.device) -> int:
    """Memory that is free on a device; for the CPU what the system and its cgroups leave.

    On a GPU that counts what PyTorch's allocator holds in reserve.

    Parameters
    ----------
    device : torch.device
        Which one.

    Returns
    -------
    int
        Bytes.
    """
    if device.type == "cuda":
        reserve = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reserve
    return free_host_memory()


def plan_lanczos(
    size: int,
    dtype: torch.dtype,
    device: torch.device,
    k: int,
    memory: int | str | None = None,
    storage: str | torch.device | None = None,
    available: Callable[[torch.device], int] = available_memory,
) -> Plan:
    """Plan the basis of a Lanczos run for k eigenpairs.

    Parameters
    ----------
    size, dtype, device
        Of the operator.
    k : int
        Eigenpairs wanted.
    memory : int or str, optional
        Limit for the basis and the work vectors; where not given, four fifths of what is free, and
        on a CPU 512 MiB, 5k vectors or 100, whichever is most.
    storage : str or torch.device, optional
        Where to keep the basis; "cpu" spares a GPU's memory. Where not given: on the device if an
        unrestarted run is likely to fit (10 vectors for each pair and 100 more), else in host
        memory if that is larger.
    available : callable
        Device → bytes free there.

    Returns
    -------
    Plan
        Capacity, place, bytes and a sentence.

    Raises
    ------
    InputError
        If not even the shortest basis fits, with what it needs and what to do.

    Examples
    --------
    >>> import torch
    >>> from ired_interp.spectra import plan_lanczos
    >>> plan = plan_lanczos(10**6, torch.float32, torch.device("cpu"), k=20, memory="300MiB")
    >>> plan.capacity
    72
    """
    vector = size * dtype.itemsize
    shortest = min(size, k + max(10, k // 2))
    ample = min(size, 10 * k + 100)
    room = {device: parse_bytes(memory) if memory is not None else int(_SHARE * available(device))}
    host = torch.device("cpu")
    if host not in room:
        room[host] = int(_SHARE * available(host))
    places = [torch.device(storage)] if storage is not None else [device, host]
    fits = {place: max(0, room[place] // vector - _WORK) for place in places}
    place = next((p for p in places if fits[p] >= ample), max(places, key=lambda p: fits[p]))
    capacity = min(size, fits[place])
    if memory is None and place == host:
        capacity = min(capacity, max(5 * k, _LONG, _SWEPT // vector))
    if capacity < shortest:
        raise InputError(
            f"{k} eigenpairs of a {size}×{size} operator need at least "
            f"{format_bytes((shortest + _WORK) * vector)} for {shortest} basis vectors, but "
            f"{format_bytes(room[place])} may be used on {place}; raise memory, ask for fewer "
            "pairs, or take the blocks of single layers"
        )
    bounded = "" if capacity >= ample else ", restarted when full"
    sentence = (
        f"basis of at most {capacity} vectors of {format_bytes(vector)} on {place}{bounded}; "
        f"{_WORK} work vectors on {device}"
    )
    return Plan(capacity, place, min(capacity, ample) * vector, sentence)
