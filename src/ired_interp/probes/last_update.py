"""The last step that an optimizer took, from the state that it keeps."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

_ADAM = "last step of Adam, −lr·m̂/(√v̂ + ε) of its state, without weight decay"
_MOMENTUM = "last step of SGD, −lr times its momentum, without weight decay"


def last_update(
    optimizer: Mapping[str, Any] | None, weights: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor] | None, str]:
    """Recompute θ_t − θ_{t−1} from the moments that the optimizer keeps after step t.

    The result is up to a common factor, as learning rates are those at the start of a schedule.

    Parameters
    ----------
    optimizer : mapping, optional
        Its `state_dict()`, of a running training or a checkpoint.
    weights : mapping of str to Tensor
        What it trains, in its order, which one group of parameters keeps.

    Returns
    -------
    dict and str
        The step of each weight, or None; and whose step it is, or why there is none.
    """
    if optimizer is None:
        return None, "none: there is no state of one optimizer"
    groups, state = optimizer["param_groups"], optimizer["state"]
    if len(groups) > 1:
        return None, "none: the optimizer's state does not tell which group trains which weights"
    places = [(index, group) for group in groups for index in group["params"]]
    if len(places) != len(weights):
        return None, f"none: the optimizer trains {len(places)} tensors, not these {len(weights)}"
    steps: dict[str, Tensor] = {}
    kinds = set()
    for (index, group), (name, weight) in zip(places, weights.items(), strict=True):
        moments = state.get(index, {})
        if not moments:  # has had no gradient
            steps[name] = torch.zeros_like(weight, dtype=torch.float64)
            continue
        rate = float(group.get("initial_lr", group["lr"]))
        if {"exp_avg", "exp_avg_sq"} <= moments.keys() and "amsgrad" in group:
            kinds.add(_ADAM)
            step = _adam(moments, group)
        elif moments.get("momentum_buffer") is not None and not group.get("nesterov"):
            kinds.add(_MOMENTUM)
            step = moments["momentum_buffer"].double()
        else:
            return None, "none: the optimizer's state does not tell its last step"
        if step.shape != weight.shape:
            return None, f"none: the optimizer's state of {name} has another shape"
        steps[name] = step.mul(-rate).to(weight.device)
    if not kinds:
        return None, "none: the optimizer keeps no moments"
    return steps, " and ".join(sorted(kinds))


def _adam(moments: Mapping[str, Tensor], group: Mapping[str, Any]) -> Tensor:
    (first, second), count = group["betas"], float(moments["step"])
    square = moments["max_exp_avg_sq" if group["amsgrad"] else "exp_avg_sq"].double()
    mean = moments["exp_avg"].double() / (1 - float(first) ** count)
    root = (square / (1 - float(second) ** count)).sqrt()
    step: Tensor = mean / (root + float(group["eps"]))
    return step
