"""What is kept of a trajectory for a person to look at: a few problems as far as solved."""

from typing import Any

import numpy as np
from torch import Tensor

from ired_interp.probes.base import Snapshot


def picture_variables(snapshot: Snapshot, solutions: Tensor, error: np.ndarray) -> dict[str, Any]:
    """Return what the task shows of the problems of least, middle and largest error at the end.

    Parameters
    ----------
    snapshot : Snapshot
        Model and B problems.
    solutions : Tensor (K, B, d_y)
        As of each landscape visited.
    error : array (B,)
        At the end.

    Returns
    -------
    dict
        Variables by name and, as `pictured`, the problems' numbers in that order; nothing where the
        task shows nothing.
    """
    if snapshot.task is None:
        return {}
    order = np.argsort(error, kind="stable")
    shown = list(dict.fromkeys(order[[0, len(order) // 2, -1]].tolist()))
    x, y = (tensor[shown] for tensor in snapshot.batch)
    found = snapshot.task.pictured(x, y, solutions[:, shown])
    if not found:
        return {}
    variables: dict[str, Any] = {
        name: (dims, values.cpu().numpy().astype(np.int8)) for name, (dims, values) in found.items()
    }
    return variables | {"pictured": ("pictured", shown, {"long_name": "number of the problem"})}
