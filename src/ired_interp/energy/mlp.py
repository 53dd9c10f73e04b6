"""The energy of the continuous tasks: a landscape-modulated MLP (Du et al. 2024), with its gradient in closed form."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ired_interp.energy.base import Energy

_TIME_DIM = 128


class MLPContext(NamedTuple):
    """What E depends on besides y, for B rows and width h."""

    first: Tensor  # (B, h) share of x and of the bias in the first layer's input
    gain2: Tensor  # (B, h) landscape modulation of layer 2
    shift2: Tensor
    gain3: Tensor  # (B, h) and of layer 3
    shift3: Tensor


class SinusoidalEmbedding(nn.Module):
    """Landscape indices (K,) to (K, dim): sines, then cosines, of geometrically spaced frequencies."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, k: Tensor) -> Tensor:
        half = self.dim // 2
        frequency = torch.exp(
            torch.arange(half, device=k.device, dtype=k.dtype) * (-math.log(10000) / (half - 1))
        )
        angle = k[:, None] * frequency
        return torch.cat([angle.sin(), angle.cos()], dim=1)


def silu_derivative(u: Tensor) -> Tensor:
    """Derivative of silu(u) = u·sigmoid(u), elementwise."""
    s = torch.sigmoid(u)
    return s * (1 + u * (1 - s))


class MLPEnergy(Energy):
    """E = ‖o‖² of a four-layer MLP over [x; y] whose middle layers are scaled and shifted per landscape.

    Parameter names and shapes are those of the published implementation, so its weights load.

    Parameters
    ----------
    condition_dim, solution_dim, landscapes : as in `Energy`.
    width : h, hidden units of each layer.

    References
    ----------
    Du, Mao, Tenenbaum, "Learning Iterative Reasoning through Energy Diffusion", ICML 2024 (arXiv 2406.11179).
    """

    def __init__(
        self, condition_dim: int, solution_dim: int, width: int = 512, landscapes: int = 10
    ) -> None:
        super().__init__(condition_dim, solution_dim, landscapes)
        self.width = width
        self.time_mlp = nn.Sequential(
            SinusoidalEmbedding(_TIME_DIM),
            nn.Linear(_TIME_DIM, _TIME_DIM),
            nn.GELU(),
            nn.Linear(_TIME_DIM, _TIME_DIM),
        )
        self.fc1 = nn.Linear(condition_dim + solution_dim, width)
        self.fc2 = nn.Linear(width, width)
        self.fc3 = nn.Linear(width, width)
        self.fc4 = nn.Linear(width, solution_dim)
        self.t_map_fc2 = nn.Linear(_TIME_DIM, 2 * width)
        self.t_map_fc3 = nn.Linear(_TIME_DIM, 2 * width)

    def condition(self, x: Tensor, k: Tensor) -> MLPContext:
        # The modulation is computed once per landscape and handed to rows by a product with a one-hot matrix, whose backward is a product too.
        every = torch.arange(self.landscapes, device=x.device, dtype=x.dtype)
        time = self.time_mlp(every)
        rows = F.one_hot(k, self.landscapes).to(time.dtype)
        gain2, shift2 = (rows @ self.t_map_fc2(time)).chunk(2, dim=1)
        gain3, shift3 = (rows @ self.t_map_fc3(time)).chunk(2, dim=1)
        first = F.linear(x, self.fc1.weight[:, : self.condition_dim], self.fc1.bias)
        return MLPContext(first, gain2 + 1, shift2, gain3 + 1, shift3)

    def output(self, context: MLPContext, y: Tensor) -> Tensor:
        """The MLP's output o (B, d_y), before it is squared."""
        return self._layers(context, y)[-1]

    def evaluate(self, context: MLPContext, y: Tensor) -> Tensor:
        return self.output(context, y).square().sum(1)

    def evaluate_with_gradient(self, context: MLPContext, y: Tensor) -> tuple[Tensor, Tensor]:
        u1, u2, u3, o = self._layers(context, y)
        d3 = (2 * o) @ self.fc4.weight * silu_derivative(u3) * context.gain3
        d2 = d3 @ self.fc3.weight * silu_derivative(u2) * context.gain2
        d1 = d2 @ self.fc2.weight * silu_derivative(u1)
        return o.square().sum(1), (d1 @ self.fc1.weight[:, self.condition_dim :]).to(y.dtype)

    def _layers(self, context: MLPContext, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        u1 = context.first + F.linear(y, self.fc1.weight[:, self.condition_dim :])
        u2 = self.fc2(F.silu(u1)) * context.gain2 + context.shift2
        u3 = self.fc3(F.silu(u2)) * context.gain3 + context.shift3
        o = self.fc4(F.silu(u3)).to(
            y.dtype
        )  # under autocast, energies near each other must still be told apart
        return u1, u2, u3, o
