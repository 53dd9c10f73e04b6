"""The contract of every energy E_θ(x, y, k)."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from ired_interp.errors import InputError

LandscapeIndex = int | Tensor


class Energy(nn.Module, ABC):
    """A scalar E_θ(x, y, k) per row, and its gradient in y.

    A subclass implements `evaluate`. The gradient comes from `torch.func.grad`, which works in every gradient mode (inference mode
    included), lets parameter gradients through and compiles; a subclass overrides `evaluate_with_gradient` where a closed form pays.

    Parameters
    ----------
    condition_dim : d_x, entries of the condition x.
    solution_dim : d_y, entries of the solution y.
    landscapes : K, number of landscapes; k runs from 0 (sharpest) to K − 1 (smoothest).
    """

    def __init__(self, condition_dim: int, solution_dim: int, landscapes: int = 10) -> None:
        super().__init__()
        for name, value in (
            ("condition_dim", condition_dim),
            ("solution_dim", solution_dim),
            ("landscapes", landscapes),
        ):
            if value < 1:
                raise InputError(
                    f"{type(self).__name__} got {name}={value}; it must be at least 1."
                )
        self.condition_dim, self.solution_dim, self.landscapes = (
            condition_dim,
            solution_dim,
            landscapes,
        )

    @abstractmethod
    def evaluate(self, context: Any, y: Tensor) -> Tensor:
        """Energies (B,) of candidates y (B, d_y); `context` is what `condition` returned."""

    def adapt(self, x: Tensor, y: Tensor) -> None:
        """Take what the energy must know of its problems before training: x (N, d_x), answers y (N, d_y)."""

    def condition(self, x: Tensor, k: Tensor) -> Any:
        """What depends on x (B, d_x) and k (B,) alone, computed once where many y follow; here simply (x, k)."""
        return x, k

    def evaluate_with_gradient(self, context: Any, y: Tensor) -> tuple[Tensor, Tensor]:
        """Energies (B,) and ∇_y E (B, d_y) for a context from `condition`."""

        if torch.is_inference_mode_enabled():
            # Up to torch 2.11 torch.func.grad answers 0 in inference mode, and says nothing.
            with torch.inference_mode(False), torch.no_grad():
                return self.evaluate_with_gradient(*tree_map(_normal, (context, y)))

        def total(y: Tensor) -> tuple[Tensor, Tensor]:
            energy = self.evaluate(context, y)
            self._check_energy(energy, y)
            return energy.sum(), energy

        gradient, energy = torch.func.grad(total, has_aux=True)(y)
        return energy, gradient

    def forward(self, x: Tensor, y: Tensor, k: LandscapeIndex) -> Tensor:
        """Energies.

        Parameters
        ----------
        x : (B, d_x) conditions.
        y : (B, d_y) candidates.
        k : landscape index, an int or (B,) integers, 0 … K − 1.

        Returns
        -------
        (B,) energies.

        Raises
        ------
        InputError
            If a shape or a landscape index does not fit, or the energy is not one scalar per row.
        """
        energy = self.evaluate(self.condition(x, self._check(x, y, k)), y)
        self._check_energy(energy, y)
        return energy

    def energy_and_gradient(self, x: Tensor, y: Tensor, k: LandscapeIndex) -> tuple[Tensor, Tensor]:
        """Energies (B,) and ∇_y E (B, d_y); arguments and errors as in `forward`."""
        return self.evaluate_with_gradient(self.condition(x, self._check(x, y, k)), y)

    def gradient(self, x: Tensor, y: Tensor, k: LandscapeIndex) -> Tensor:
        """∇_y E (B, d_y); arguments and errors as in `forward`."""
        return self.energy_and_gradient(x, y, k)[1]

    def _check(self, x: Tensor, y: Tensor, k: LandscapeIndex) -> Tensor:
        for name, tensor, width in (("x", x, self.condition_dim), ("y", y, self.solution_dim)):
            if tensor.ndim != 2 or tensor.shape[1] != width:
                raise InputError(
                    f"{name} has shape {tuple(tensor.shape)}, but this {type(self).__name__} takes (batch, {width}); "
                    "pass data of the task that the energy was made for."
                )
        if len(x) != len(y):
            raise InputError(
                f"x has {len(x)} rows and y has {len(y)}; give one condition per candidate."
            )
        if isinstance(k, int):
            if not 0 <= k < self.landscapes:
                raise InputError(
                    f"landscape {k} does not exist; this energy has landscapes 0 to {self.landscapes - 1}."
                )
            return torch.full((len(y),), k, device=y.device)
        if k.shape != (len(y),) or k.is_floating_point():
            raise InputError(
                f"k is {k.dtype} of shape {tuple(k.shape)}; expected an int or ({len(y)},) integers."
            )
        return k

    def _check_energy(self, energy: Tensor, y: Tensor) -> None:
        if energy.shape != (len(y),):
            raise InputError(
                f"{type(self).__name__} returned an energy of shape {tuple(energy.shape)} for {len(y)} rows; "
                "an energy is one scalar per row."
            )


def _normal(value: Any) -> Any:
    """A tensor made in inference mode as one that derivatives can be taken of; anything else as it is."""
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value
