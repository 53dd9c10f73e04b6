"""A trained energy as it is published: averaged weights alone, in half precision."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ired_interp.checkpoint import Checkpoint
from ired_interp.checkpoint_file import AVERAGE_ALONE, CONFIG_KEY
from ired_interp.errors import InputError
from ired_interp.module import IREDModule
from ired_interp.results.publication import Places
from ired_interp.tasks import TaskData

TOLERANCE = 0.01  # of gradients, and of differences of energy between problems
_PROBLEMS = 32


@dataclass(frozen=True)
class Change:
    """By how much rounding changed an energy, in the landscape where it changed it most.

    Attributes
    ----------
    energy : float
        Root mean square change, of the standard deviation between problems.
    gradient : float
        Root mean square change in y, of the root mean square gradient.
    """

    energy: float
    gradient: float


def halve(checkpoint: Checkpoint, places: Places) -> tuple[dict[str, Any], Change]:
    """Return a checkpoint's averaged weights in half precision, as a checkpoint of its own.

    Parameters
    ----------
    checkpoint : Checkpoint
        Of a run.
    places : Places
        Which the configuration in it is not to name.

    Returns
    -------
    dict and Change
        What to save, and what that changes on problems of the task, at noised answers.

    Raises
    ------
    InputError
        If it holds no energy, a weight overflows, or the energy changes by more than 1 %.
    """
    module, data = checkpoint.build()
    if not isinstance(module, IREDModule) or data is None:
        raise InputError(f"{checkpoint.path} holds no energy of a run of `ired fit`; name another.")
    checkpoint.load_into(module, "average")
    state = checkpoint.state("average")
    weights = {name for name, _ in module.named_parameters()}
    half = {name: v.half() if name in weights else v for name, v in state.items()}
    wrong = [name for name in sorted(weights & state.keys()) if not state[name].isfinite().all()]
    if wrong:
        raise InputError(
            f"{checkpoint.path} diverged: {wrong[0]} holds values that are not finite; publish "
            "another run."
        )
    large = [name for name in sorted(weights & half.keys()) if not half[name].isfinite().all()]
    if large:
        raise InputError(
            f"{checkpoint.path} holds weights beyond 65504, the largest number of half precision, "
            f"in {large[0]}; publish the file itself."
        )
    before = _energies(module.eval(), data)
    module.load_state_dict(half)
    change = _change(before, _energies(module, data))
    if not max(change.energy, change.gradient) <= TOLERANCE:
        raise InputError(
            f"half precision changes the energy of {checkpoint.path} by {change.energy:.2g} of its "
            f"spread and its gradient by {change.gradient:.2g}; expected at most {TOLERANCE:g}: "
            "publish the file itself."
        )
    content = {
        CONFIG_KEY: places.removed(checkpoint.content[CONFIG_KEY]),
        "global_step": checkpoint.step,
        "state_dict": half,
        AVERAGE_ALONE: "current_model_state" in checkpoint.content,
    }
    return content, change


def _energies(module: IREDModule, data: TaskData) -> list[tuple[Tensor, Tensor]]:
    """Energies and their gradients in y at noised answers, landscape by landscape."""
    x, y, *_ = data.evaluation_batch("probe", "same", 0, _PROBLEMS, module.device)
    noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    found = []
    for k in range(module.landscapes):
        at = module.schedule.noised(y, torch.full((len(y),), k), noise)
        energy, gradient = module.energy.energy_and_gradient(x, at, k)
        found.append((energy.detach().double(), gradient.detach().double()))
    return found


def _change(before: list[tuple[Tensor, Tensor]], after: list[tuple[Tensor, Tensor]]) -> Change:
    energies = [
        float((new - old).std() / old.std())
        for (old, _), (new, _) in zip(before, after, strict=True)
    ]
    gradients = [
        float((new - old).norm() / old.norm())
        for (_, old), (_, new) in zip(before, after, strict=True)
    ]
    return Change(max(energies), max(gradients))
