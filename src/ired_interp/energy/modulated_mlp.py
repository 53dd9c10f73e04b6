"""The four-layer MLP of Du et al. 2024, whose middle layers every landscape scales and shifts: what MLP energies share."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ired_interp.energy.base import Energy

TIME_DIM = 128


class Context(NamedTuple):
    """What the layers depend on besides y, for B rows and width h."""

    first: Tensor  # (B, h) share of x and of the bias in the first layer's input
    gain2: Tensor  # (B, h) landscape modulation of layer 2
    shift2: Tensor
    gain3: Tensor  # (B, h) and of layer 3
    shift3: Tensor


class Layers(NamedTuple):
    """Inputs u₁, u₂, u₃ (B, h) of the three silus, and the output o (B, d_y)."""

    u1: Tensor
    u2: Tensor
    u3: Tensor
    output: Tensor


class SinusoidalEmbedding(nn.Module):
    """Landscape indices (K,) to (K, dim): sines, then cosines, of geometrically spaced frequencies."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, k: Tensor) -> Tensor:
        half = self.dim // 2
        exponent = torch.arange(half, device=k.device, dtype=k.dtype) / (half - 1)
        angle = k[:, None] * torch.exp(-math.log(10000) * exponent)
        return torch.cat([angle.sin(), angle.cos()], dim=1)


def time_mlp() -> nn.Sequential:
    """Landscape indices (K,) to features (K, 128)."""
    return nn.Sequential(
        SinusoidalEmbedding(TIME_DIM),
        nn.Linear(TIME_DIM, TIME_DIM),
        nn.GELU(),
        nn.Linear(TIME_DIM, TIME_DIM),
    )


def silu_derivative(u: Tensor) -> Tensor:
    """Derivative of silu(u) = u·sigmoid(u), elementwise."""
    s = torch.sigmoid(u)
    return s * (1 + u * (1 - s))


class ModulatedMLP(Energy):
    """An energy made of the MLP o(x, y, k); parameter names and shapes are the published ones.

    Parameters
    ----------
    condition_dim, solution_dim, landscapes
        As in `Energy`.
    width : int
        h, hidden units of each layer.
    """

    def __init__(
        self, condition_dim: int, solution_dim: int, width: int = 512, landscapes: int = 10
    ) -> None:
        super().__init__(condition_dim, solution_dim, landscapes)
        self.width = width
        self.time_mlp = time_mlp()
        self.fc1 = nn.Linear(condition_dim + solution_dim, width)
        self.fc2 = nn.Linear(width, width)
        self.fc3 = nn.Linear(width, width)
        self.fc4 = nn.Linear(width, solution_dim)
        self.t_map_fc2 = nn.Linear(TIME_DIM, 2 * width)
        self.t_map_fc3 = nn.Linear(TIME_DIM, 2 * width)

    def modulation(self, x: Tensor, k: Tensor) -> Context:
        """The context of the layers for inputs x (B, d_x) and landscapes k (B,)."""
        # Once per landscape, handed to rows by a product with a one-hot matrix, whose backward
        # is a product too.
        every = torch.arange(self.landscapes, device=x.device, dtype=x.dtype)
        time = self.time_mlp(every)
        rows = F.one_hot(k, self.landscapes).to(time.dtype)
        gain2, shift2 = (rows @ self.t_map_fc2(time)).chunk(2, dim=1)
        gain3, shift3 = (rows @ self.t_map_fc3(time)).chunk(2, dim=1)
        first = F.linear(x, self.fc1.weight[:, : self.condition_dim], self.fc1.bias)
        return Context(first, gain2 + 1, shift2, gain3 + 1, shift3)

    def layers(self, context: Context, y: Tensor) -> Layers:
        """The layers at inputs y (B, d_y)."""
        u1 = context.first + F.linear(y, self.fc1.weight[:, self.condition_dim :])
        u2 = self.fc2(F.silu(u1)) * context.gain2 + context.shift2
        u3 = self.fc3(F.silu(u2)) * context.gain3 + context.shift3
        # Under autocast, energies near each other must still be distinguished.
        return Layers(u1, u2, u3, self.fc4(F.silu(u3)).to(y.dtype))

    def pullback(self, context: Context, layers: Layers, cotangent: Tensor) -> Tensor:
        """(∂o/∂y)ᵀ v (B, d_y) for a cotangent v (B, d_y)."""
        d3 = cotangent @ self.fc4.weight * silu_derivative(layers.u3) * context.gain3
        d2 = d3 @ self.fc3.weight * silu_derivative(layers.u2) * context.gain2
        d1 = d2 @ self.fc2.weight * silu_derivative(layers.u1)
        return (d1 @ self.fc1.weight[:, self.condition_dim :]).to(cotangent.dtype)
