"""Problems in pairs, each held against the other: what pairs say is independent."""

import numpy as np
import torch
from torch import Tensor


def partners(count: int, device: torch.device | str = "cpu") -> Tensor:
    """Return of each problem which other it is held against.

    Parameters
    ----------
    count : int
        B.
    device : torch.device or str
        Of the result.

    Returns
    -------
    Tensor (B,)
        0 and 1 are partners, 2 and 3, …; of an odd number the last three go in a ring.

    Examples
    --------
    >>> partners(7)
    tensor([1, 0, 3, 2, 5, 6, 4])
    """
    found = torch.arange(count, device=device)
    even = count - 3 if count % 2 and count > 1 else count - count % 2
    found[:even] ^= 1
    found[even:] = found[even:].roll(-1)
    return found


def summed_by_pair(values: np.ndarray) -> np.ndarray:
    """Add what was measured of partners.

    Parameters
    ----------
    values : ndarray (..., B)
        Of each problem, held against its partner.

    Returns
    -------
    ndarray (..., B // 2)
        Independent of each other, as those of problems in a chain are not.

    Examples
    --------
    >>> summed_by_pair(np.arange(7)).tolist()
    [1, 5, 15]
    """
    starts = np.arange(0, max(values.shape[-1] - 1, 1), 2)
    found: np.ndarray = np.add.reduceat(values, starts, -1)
    return found
