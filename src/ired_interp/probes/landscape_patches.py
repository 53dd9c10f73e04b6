"""Inference that sees another problem in some landscapes: which of them decides."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ired_interp.diffusion import solve
from ired_interp.energy import Energy
from ired_interp.module import IREDModule
from ired_interp.probes.base import Snapshot
from ired_interp.probes.pairs import partners, summed_by_pair
from ired_interp.probes.spread import ratio_of_means
from ired_interp.random import stream

WHICH = ("one landscape", "it and smoother ones")


class SwappedEnergy(Energy):
    """E(x, y, k) that is shown other problems x′ in some landscapes.

    Parameters
    ----------
    energy : Energy
        E; its parameters are shared.
    other : Tensor (B, d_x)
        x′, row by row.
    where : set of int
        In which landscapes.
    """

    def __init__(self, energy: Energy, other: Tensor, where: set[int]) -> None:
        super().__init__(energy.condition_dim, energy.solution_dim, energy.landscapes)
        self.energy, self.other, self.where = energy, other, where

    def condition(self, x: Tensor, k: Tensor) -> Any:
        """Compute the energy's context, of the problems shown in landscapes k (B,)."""
        shown = torch.tensor([i in self.where for i in range(self.landscapes)], device=k.device)
        return self.energy.condition(torch.where(shown[k, None], self.other, x), k)

    def hold(self, context: Any, y: Tensor) -> Tensor:
        """Put into y (B, d_y) the entries that the problems shown give."""
        return self.energy.hold(context, y)

    def evaluate(self, context: Any, y: Tensor) -> Tensor:
        """E (B,)."""
        return self.energy.evaluate(context, y)

    def evaluate_with_gradient(self, context: Any, y: Tensor) -> tuple[Tensor, Tensor]:
        """E (B,) and its gradient (B, d_y)."""
        return self.energy.evaluate_with_gradient(context, y)


@torch.no_grad()
def landscape_restored(snapshot: Snapshot, landscapes: list[int], seed: int) -> dict[str, Any]:
    """Solve other problems, with the right one shown in some landscapes.

    Parameters
    ----------
    snapshot : Snapshot
        Model and B problems; two by two they are each other's wrong ones.
    landscapes : list of int
        Which to ask about.
    seed : int
        Of the start, which all share.

    Returns
    -------
    dict
        Variables of a dataset: the share of the difference in answer error, ‖ŷ − y*‖² between the
        wrong problem throughout and the right one, that seeing it in a landscape makes up; NaN
        where the right problem does not make the answer better.
    """
    module, (x, y) = snapshot.module, snapshot.batch
    start = torch.randn(
        y.shape, generator=stream(y.device, seed, "start"), device=y.device, dtype=y.dtype
    )

    other = x[partners(len(x), x.device)]

    def errors(where: set[int]) -> np.ndarray:
        found = _solved(module, SwappedEnergy(module.free(), x, where), other, start, seed)
        return np.asarray((found - y).double().square().sum(1).cpu())

    wrong, right = errors(set()), errors(set(range(module.landscapes)))
    shares, spreads = [], []
    for k in landscapes:
        for where in ({k}, set(range(k, module.landscapes))):
            gained = summed_by_pair(np.stack([wrong - errors(where), wrong - right]))
            share, spread = ratio_of_means(*gained)
            shares.append(share)
            spreads.append(spread)
    dims, unit, shape = ("landscape", "which"), {"units": "1"}, (len(landscapes), len(WHICH))
    return {
        "landscape_restored": (dims, np.reshape(shares, shape), unit),
        "landscape_restored_error": (dims, np.reshape(spreads, shape), unit),
    }


def _solved(module: IREDModule, energy: Energy, x: Tensor, start: Tensor, seed: int) -> Tensor:
    generator = stream(start.device, seed, "inference")
    settings = module.settled(module.inference)
    return solve(energy, module.schedule, x, start, settings, generator).y
