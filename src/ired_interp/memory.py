"""How much memory there is."""

import os

from ired_interp.errors import InputError


def machine_memory() -> int:
    """Return the bytes of this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def refuse_beyond_memory(needed: int, what: str) -> None:
    """Refuse what cannot be held.

    Parameters
    ----------
    needed : int
        Bytes.
    what : str
        What needs them, in the plural.

    Raises
    ------
    InputError
        If this machine has less.
    """
    there = machine_memory()
    if needed > there:
        raise InputError(
            f"{what} take {needed / 2**30:.3g} GiB, but this machine has {there / 2**30:.3g}; "
            "lower their number."
        )
