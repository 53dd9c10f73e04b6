"""Gradients in the weights of what training moves: the energy's gradient in y, and its contrast."""

from typing import Literal

import torch
from torch import Tensor, nn

from ired_interp.errors import InputError
from ired_interp.module import IREDModule
from ired_interp.probes.gradient_rows import GradientRows

Kernel = Literal["score", "contrast"]


class TangentRows(GradientRows):
    """Rows ∂_θ f_i of scalars f_i of problem i in landscape k, by `torch.func` vmap(grad).

    Parameters
    ----------
    module : IREDModule
        Whose energy and weights.
    kernel : str
        "score": f = ⟨b, ∇_y E(x, a)⟩; "contrast": f = E(x, a) − E(x, b).
    k : int
        Landscape.
    x, a, b : Tensor (R, d_x), Tensor (R, d_y), Tensor (R, d_y)
        One row each.

    Raises
    ------
    InputError
        If the energy has no weights.
    """

    def __init__(
        self, module: IREDModule, kernel: Kernel, k: int, x: Tensor, a: Tensor, b: Tensor
    ) -> None:
        self._scalar, self._data = _Scalar(module, kernel, k), (x, a, b)
        named = self._scalar.named_parameters()
        self._weights = {name: w.detach() for name, w in named if w.requires_grad}
        if not self._weights:
            raise InputError(
                f"{type(module.energy).__name__} has no weights, so no tangent kernel."
            )
        own = {name.removeprefix("energy."): w for name, w in self._weights.items()}
        super().__init__(own, len(x))

    def _gradients(self, rows: slice) -> dict[str, Tensor]:
        def scalar(weights: dict[str, Tensor], *row: Tensor) -> Tensor:
            batch = tuple(part[None] for part in row)
            value: Tensor = torch.func.functional_call(self._scalar, weights, batch)
            return value

        every = torch.func.vmap(torch.func.grad(scalar), in_dims=(None, 0, 0, 0))
        found = every(self._weights, *(part[rows] for part in self._data))
        return {name.removeprefix("energy."): g for name, g in found.items()}


class _Scalar(nn.Module):
    """f as a function of the energy's weights (`energy.…`)."""

    def __init__(self, module: IREDModule, kernel: Kernel, k: int) -> None:
        super().__init__()
        self.energy, self._free, self._kernel, self._k = module.energy, module.free, kernel, k

    def forward(self, x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        energy = self._free()
        if self._kernel == "score":
            return (energy.gradient(x, a, self._k) * b).sum()
        difference: Tensor = energy(x, a, self._k) - energy(x, b, self._k)
        return difference.sum()
