"""Gradients of the training loss in the weights, one a microbatch, in chunks that fit a memory."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ired_interp.diffusion import Noise
from ired_interp.errors import InputError, RunError
from ired_interp.module import IREDModule
from ired_interp.random import stream
from ired_interp.tasks.base import Problems


class LossGradients:
    """Rows g_i = ∇_θ loss on microbatch i, of landscape k alone, by `torch.func` vmap(grad).

    Indexing with a slice computes those rows.

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

    Attributes
    ----------
    layers : dict of str to int
        Weights N_l of each layer, named like its parameters without the last part.
    size : int
        N, weights in all.
    count : int
        Number of rows.

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
        self._data = [tensor.unflatten(0, (-1, microbatch)) for tensor in (x, y, eps, contrast_eps)]
        self._k = torch.full((microbatch,), k, device=y.device)
        self._loss = TrainingLoss(module)
        self._weights = {n: p.detach() for n, p in self._loss.named_parameters() if p.requires_grad}
        if not self._weights:
            raise InputError(
                f"{type(module.energy).__name__} has no weights; measure it in space 'y'."
            )
        self._names: dict[str, list[str]] = {}
        for name in self._weights:
            self._names.setdefault(layer_of(name.removeprefix("energy.")), []).append(name)
        self.layers = {
            layer: sum(self._weights[n].numel() for n in names)
            for layer, names in self._names.items()
        }
        self.size, self.count = sum(self.layers.values()), len(y) // microbatch

    def __getitem__(self, rows: slice) -> dict[str, Tensor]:
        """Compute rows, as {layer: (rows, N_l)}.

        Raises
        ------
        RunError
            If a gradient is not finite.
        """

        def loss(weights: dict[str, Tensor], x: Tensor, y: Tensor, *noise: Tensor) -> Tensor:
            value: Tensor = torch.func.functional_call(
                self._loss, weights, (x, y, Noise(self._k, *noise))
            )
            return value

        every = torch.func.vmap(torch.func.grad(loss), in_dims=(None, *([0] * len(self._data))))
        found = every(self._weights, *(tensor[rows] for tensor in self._data))
        if not all(g.isfinite().all() for g in found.values()):
            raise RunError("a gradient of the loss is not finite; the weights have diverged.")
        return {
            layer: torch.cat([found[name].flatten(1) for name in names], dim=1)
            for layer, names in self._names.items()
        }

    def chunks(self, memory: float) -> Iterator[slice]:
        """Cut the rows into slices whose computation takes about `memory` bytes."""
        at_once = max(
            1, int(memory / (4 * self.size * next(iter(self._weights.values())).element_size()))
        )
        for start in range(0, self.count, at_once):
            yield slice(start, min(start + at_once, self.count))


class TrainingLoss(nn.Module):
    """The loss of a module as a function of its energy's weights (`energy.…`).

    Parameters
    ----------
    module : IREDModule
        Whose energy, schedule and objective.
    """

    def __init__(self, module: IREDModule) -> None:
        super().__init__()
        self.energy, self.schedule, self.objective = (
            module.energy,
            module.schedule,
            module.objective,
        )

    def forward(self, x: Tensor, y: Tensor, noise: Noise) -> Tensor:
        """Compute the scalar loss on problems x (B, d_x) with answers y (B, d_y)."""
        return self.objective(self.energy, self.schedule, x, y, noise).total


def layer_of(parameter: str) -> str:
    """Name the layer that a parameter belongs to: its name without the last part."""
    return parameter.rpartition(".")[0] or parameter
