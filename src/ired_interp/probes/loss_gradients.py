"""Gradients of the training loss of an energy in its weights, one a microbatch."""

import torch
from torch import Tensor, nn

from ired_interp.diffusion import Noise
from ired_interp.errors import InputError
from ired_interp.module import IREDModule
from ired_interp.probes.gradient_rows import GradientRows
from ired_interp.random import stream
from ired_interp.tasks.base import Problems


class LossGradients(GradientRows):
    """Rows g_i = ∇_θ loss on microbatch i, of landscape k alone, by `torch.func` vmap(grad).

    Parameters
    ----------
    module : IREDModule
        Whose loss and weights.
    problems : Problems
        x (B, d_x) and y (B, d_y); B must be a multiple of `microbatch`.
    k : int
        Landscape.
    seed : int
        Of the noise of the loss.
    microbatch : int
        Problems behind each row.

    Raises
    ------
    InputError
        If the problems cannot be cut into microbatches, or the energy has no weights.
    """

    def __init__(
        self, module: IREDModule, problems: Problems, k: int, seed: int, microbatch: int = 1
    ) -> None:
        x, y = problems
        if microbatch < 1 or len(y) % microbatch:
            raise InputError(
                f"{len(y)} problems cannot be cut into microbatches of {microbatch}; choose a "
                "divisor."
            )
        generator = stream(y.device, seed, "loss", k)
        eps, contrast_eps = torch.randn(
            2, *y.shape, generator=generator, device=y.device, dtype=y.dtype
        )
        wrong = module.wrong_answers(x, y, stream(y.device, seed, "wrong", k))
        drawn = (eps, contrast_eps) if wrong is None else (eps, contrast_eps, wrong)
        self._data = [tensor.unflatten(0, (-1, microbatch)) for tensor in (x, y, *drawn)]
        self._k = torch.full((microbatch,), k, device=y.device)
        self._loss = TrainingLoss(module)
        self._weights = {n: p.detach() for n, p in self._loss.named_parameters() if p.requires_grad}
        if not self._weights:
            raise InputError(
                f"{type(module.energy).__name__} has no weights; measure it in space 'y'."
            )
        own = {name.removeprefix("energy."): w for name, w in self._weights.items()}
        super().__init__(own, len(y) // microbatch)

    def _gradients(self, rows: slice) -> dict[str, Tensor]:
        def loss(weights: dict[str, Tensor], x: Tensor, y: Tensor, *drawn: Tensor) -> Tensor:
            eps, contrast_eps, *wrong = drawn
            noise = Noise(self._k, eps, contrast_eps)
            value: Tensor = torch.func.functional_call(self._loss, weights, (x, y, noise, *wrong))
            return value

        every = torch.func.vmap(torch.func.grad(loss), in_dims=(None, *([0] * len(self._data))))
        found = every(self._weights, *(tensor[rows] for tensor in self._data))
        return {name.removeprefix("energy."): g for name, g in found.items()}


class TrainingLoss(nn.Module):
    """The loss of a module as a function of its energy's weights (`energy.…`).

    Parameters
    ----------
    module : IREDModule
        Whose loss.
    """

    def __init__(self, module: IREDModule) -> None:
        super().__init__()
        self.energy, self._loss = module.energy, module.training_loss

    def forward(self, x: Tensor, y: Tensor, noise: Noise, wrong: Tensor | None = None) -> Tensor:
        """Compute the scalar loss on problems x (B, d_x), answers y and wrong ones (B, d_y)."""
        return self._loss(x, y, noise, wrong).total
