"""Checks of settings that need no model: each says what was found and what was expected."""

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch

from ired_interp.errors import InputError
from ired_interp.spectra.plan import available_memory

Landscapes = Literal["all"] | list[int]
_SHARE = 0.5  # of the memory that is free, where no limit is given


def check_choice(probe: str, setting: str, value: str, known: Any) -> None:
    """Refuse a value that is none of a Literal's.

    Raises
    ------
    InputError
        If it is not.
    """
    if value not in get_args(known):
        raise InputError(
            f"{probe} has no {setting} {value!r}; choose one of {', '.join(get_args(known))}."
        )


def check_setting(probe: str, setting: str, value: object, fits: bool, expected: str) -> None:
    """Refuse a value that does not fit.

    Raises
    ------
    InputError
        If it does not.
    """
    if not fits:
        raise InputError(f"{probe} has {setting}={value}; {expected}.")


def check_landscapes(probe: str, landscapes: Literal["all"] | Sequence[int]) -> None:
    """Refuse landscapes that no model can have.

    Raises
    ------
    InputError
        If they are neither "all" nor different indices from 0 on, at least one.
    """
    fits = landscapes == "all" or (
        not isinstance(landscapes, str)
        and len(landscapes) > 0
        and all(isinstance(k, int) and k >= 0 for k in landscapes)
        and len(set(landscapes)) == len(landscapes)
    )
    expected = "expected 'all' or a list of different indices from 0 on"
    check_setting(probe, "landscapes", landscapes, fits, expected)


def check_rank_setting(probe: str, rank: int | None) -> None:
    """Refuse a rank below 1; None is that of the task."""
    check_setting(probe, "rank", rank, rank is None or rank >= 1, "expected at least 1")


def check_seed(probe: str, seed: int) -> None:
    """Refuse a seed that no generator takes, or that a file of results cannot hold."""
    check_setting(probe, "seed", seed, 0 <= seed < 2**63, "expected 0 to 2^63 − 1")


def check_memory(probe: str, memory_gib: float | None) -> None:
    """Refuse a working memory that is neither None nor a positive number."""
    fits = memory_gib is None or 0 < memory_gib < math.inf
    check_setting(probe, "memory_gib", memory_gib, fits, "expected a positive number")


def working_memory(memory_gib: float | None, device: torch.device, processes: int = 1) -> int:
    """Return the bytes that a probe may work in.

    Parameters
    ----------
    memory_gib : float, optional
        The setting, in GiB; half of what is free on the device where it is None.
    device : torch.device
        Where.
    processes : int
        How many work at the same time, which may share a CPU's memory.

    Returns
    -------
    int
        Of each process.
    """
    if memory_gib is not None:
        return int(memory_gib * 2**30)
    sharers = processes if device.type == "cpu" else 1
    return int(_SHARE * available_memory(device) / sharers)


def few_landscapes(landscapes: Landscapes) -> Landscapes:
    """Landscapes enough to try a probe out: the first of all, or the ends of a list."""
    if landscapes == "all":
        return [0]
    return sorted({min(landscapes), max(landscapes)})
