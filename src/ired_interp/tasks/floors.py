"""Solutions that need no learning, to read an error against."""

import torch
from torch import Tensor

from ired_interp.random import stream
from ired_interp.tasks.base import Task, Variant

_MEAN_PROBLEMS = 20_000


def constant_solutions(
    task: Task, device: torch.device, train: Variant, variant: Variant
) -> dict[str, Tensor]:
    """Find the best constant solutions: mean answers of the test and the training distribution.

    Parameters
    ----------
    task : Task
        Where answers come from.
    device : torch.device
        Where to draw them.
    train, variant : str
        Variants trained and tested on.

    Returns
    -------
    dict of str to Tensor (d_y,)
        By name; one where the distributions are the same, or of different sizes.
    """
    names: dict[Variant, str] = {variant: "best constant"}
    if task.sizes(train) == task.sizes(variant):
        names.setdefault(train, "best constant of the training data")
    return {
        name: task.sample(_MEAN_PROBLEMS, stream(device, 0, "floors", source), source).y.mean(0)
        for source, name in names.items()
    }
