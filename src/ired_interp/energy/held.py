"""Problems that give some entries of their solution, and energies of the free ones."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ired_interp.energy.base import Edit, Energy, LandscapeIndex
from ired_interp.errors import InputError
from ired_interp.schedule import Schedule


class FixedEntries(NamedTuple):
    """Entries of solutions that the problems give.

    Attributes
    ----------
    mask : Tensor (B, d_y)
        True where an entry is given.
    value : Tensor (B, d_y)
        What it is there.
    """

    mask: Tensor
    value: Tensor

    def hold(self, y: Tensor, signal: Tensor) -> Tensor:
        """Put given entries into y (B, d_y) at signal √ᾱ_k, a scalar or (B, 1)."""
        return torch.where(self.mask, signal * self.value.to(y.dtype), y)


class HeldEnergy(Energy):
    """E(x, y, k) as a function of the free entries of y: given ones are held at √ᾱ_k times them.

    Gradient and Hessian are zero on given entries, whatever y holds there.

    Parameters
    ----------
    energy : Energy
        E; its parameters are shared.
    fixed : callable
        Problems x (B, d_x) to their `FixedEntries`.
    schedule : Schedule
        Of its landscapes.

    Examples
    --------
    >>> from ired_interp.energy import MLPEnergy
    >>> energy = MLPEnergy(2, 3, width=4)
    >>> first = torch.tensor([[True, False, False]])
    >>> held = HeldEnergy(energy, lambda x: FixedEntries(first, torch.ones(1, 3)), Schedule())
    >>> held.gradient(torch.ones(1, 2), torch.zeros(1, 3), 4)[0, 0]
    tensor(0., grad_fn=<SelectBackward0>)
    """

    def __init__(
        self, energy: Energy, fixed: Callable[[Tensor], FixedEntries | None], schedule: Schedule
    ) -> None:
        super().__init__(energy.condition_dim, energy.solution_dim, energy.landscapes)
        self.energy, self.fixed, self.schedule = energy, fixed, schedule

    def solution_size(self, x: Tensor) -> int:
        """Return that of the energy itself."""
        return self.energy.solution_size(x)

    def condition(self, x: Tensor, k: Tensor) -> tuple[Any, FixedEntries]:
        """Compute the energy's context, and the entries held in landscapes k (B,).

        Raises
        ------
        InputError
            If the mask does not fit the solutions.
        """
        fixed = self.fixed(x)
        assert fixed is not None
        expected = (len(x), self.solution_size(x))
        if fixed.mask.shape != expected or fixed.value.shape != expected:
            raise InputError(
                f"the mask of given entries has shape {tuple(fixed.mask.shape)} and their values "
                f"{tuple(fixed.value.shape)}, but solutions {expected}; correct the task's fixed()."
            )
        value = self.schedule.signal[k, None].to(x.dtype) * fixed.value.to(x.dtype)
        return self.energy.condition(x, k), FixedEntries(fixed.mask, value)

    def hold(self, context: tuple[Any, FixedEntries], y: Tensor) -> Tensor:
        """Put into y (B, d_y) the entries that problems give."""
        held = context[1]
        return torch.where(held.mask, held.value, y)

    def evaluate(self, context: tuple[Any, FixedEntries], y: Tensor) -> Tensor:
        """E (B,) with given entries held."""
        return self.energy.evaluate(context[0], self.hold(context, y))

    def evaluate_with_gradient(
        self, context: tuple[Any, FixedEntries], y: Tensor
    ) -> tuple[Tensor, Tensor]:
        """E (B,) and its gradient (B, d_y), zero on given entries."""
        inner, held = context
        energy, gradient = self.energy.evaluate_with_gradient(inner, self.hold(context, y))
        return energy, gradient.masked_fill(held.mask, 0.0)

    def sites(
        self, context: tuple[Any, FixedEntries], y: Tensor, edit: Edit | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """E (B,) with given entries held, by way of the energy's sites."""
        return self.energy.sites(context[0], self.hold(context, y), edit)

    def hessian(self, x: Tensor, y: Tensor, k: LandscapeIndex, memory: float = 2**30) -> Tensor:
        """∇²_y E (B, d_y, d_y), zero in rows and columns of given entries; as `Energy.hessian`."""
        context = self.condition(x, self._rows(x, y, k))
        mask = context[1].mask
        matrices = self.energy.hessian(x, self.hold(context, y), k, memory)
        return matrices.masked_fill(mask[:, :, None] | mask[:, None, :], 0.0)
