"""Answers that need no learning, to read an error against."""

import torch
from torch import Tensor

from ired_interp.random import stream
from ired_interp.tasks.base import Task, Variant

_MEAN_PROBLEMS = 20_000


def constant_answers(
    task: Task, device: torch.device, train: Variant, variant: Variant
) -> dict[str, Tensor]:
    """Best constant answers (d_y,): the mean answer of the test distribution, and of the training distribution where it is another."""
    names: dict[Variant, str] = {variant: "best constant"}
    names.setdefault(train, "best constant of the training data")
    return {
        name: task.sample(_MEAN_PROBLEMS, stream(device, 0, "floors", source), source).y.mean(0)
        for source, name in names.items()
    }
