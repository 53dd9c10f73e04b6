"""The MLP of Du et al. 2024, whose middle layers every landscape scales and shifts."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ired_interp.energy.base import Energy
from ired_interp.energy.checks import check_sizes
from ired_interp.energy.mlp_hessian import Layers, mlp_hessian
from ired_interp.energy.silu import silu_derivative

TIME_DIM = 128
_PARTS = 16


class Modulation(NamedTuple):
    """What the layers depend on besides y, for B rows and width h."""

    first: Tensor  # (B, h) share of x and of the bias in the first layer's input
    gain2: Tensor  # (B, h) landscape modulation of layer 2
    shift2: Tensor
    gain3: Tensor  # (B, h) and of layer 3
    shift3: Tensor


class SinusoidalEmbedding(nn.Module):
    """Landscape indices (K,) to (K, dim): sines, then cosines, of geometrically spaced frequencies.

    Parameters
    ----------
    dim : int
        Entries of each embedding.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, k: Tensor) -> Tensor:
        """Return the embedding (K, dim) of floating point indices k (K,)."""
        half = self.dim // 2
        frequency = torch.exp(
            torch.arange(half, device=k.device, dtype=k.dtype) * (-math.log(10000) / (half - 1))
        )
        angle = k[:, None] * frequency
        return torch.cat([angle.sin(), angle.cos()], dim=1)


def time_mlp(embedding: int = TIME_DIM, width: int = TIME_DIM) -> nn.Sequential:
    """Make the map of landscape indices (K,) to features (K, width)."""
    return nn.Sequential(
        SinusoidalEmbedding(embedding),
        nn.Linear(embedding, width),
        nn.GELU(),
        nn.Linear(width, width),
    )


def time_features(mlp: nn.Module, k: Tensor, landscapes: int, dtype: torch.dtype) -> Tensor:
    """Compute features (B, width) of landscapes k (B,), each landscape's once.

    They are handed to rows by a product with a one-hot matrix, whose backward is a product too.
    """
    every: Tensor = mlp(torch.arange(landscapes, device=k.device, dtype=dtype))
    return F.one_hot(k, landscapes).to(dtype) @ every


def _widened(features: Tensor, layer: nn.Linear) -> Tensor:
    """Apply a layer to a few features (K, f), by parts of its many outputs.

    The way back sums over the outputs; as one product of so few rows it would keep one processor of
    a GPU busy for as long as a whole layer takes.
    """
    parts = math.gcd(layer.out_features, _PARTS)
    weight = layer.weight.unflatten(0, (parts, -1))
    found = torch.bmm(features.expand(parts, *features.shape), weight.mT)
    return found.movedim(0, 1).flatten(1) + layer.bias


class ModulatedMLP(Energy):
    """An energy made of the MLP o(x, y, k): four layers over [x; y].

    Parameter names and shapes are those of the published implementation.

    Parameters
    ----------
    condition_dim : int
        d_x, entries of the condition x.
    solution_dim : int
        d_y, entries of the solution y.
    width : int
        h, hidden units of each layer.
    landscapes : int
        K, number of landscapes.
    """

    def __init__(
        self, condition_dim: int, solution_dim: int, width: int = 512, landscapes: int = 10
    ) -> None:
        super().__init__(condition_dim, solution_dim, landscapes)
        check_sizes(type(self).__name__, width=width)
        self.width = width
        self.time_mlp = time_mlp()
        self.fc1 = nn.Linear(condition_dim + solution_dim, width)
        self.fc2 = nn.Linear(width, width)
        self.fc3 = nn.Linear(width, width)
        self.fc4 = nn.Linear(width, solution_dim)
        self.t_map_fc2 = nn.Linear(TIME_DIM, 2 * width)
        self.t_map_fc3 = nn.Linear(TIME_DIM, 2 * width)

    def modulation(self, x: Tensor, k: Tensor) -> Modulation:
        """Compute what inputs x (B, d_x) and landscapes k (B,) say to the layers."""
        # The modulation is computed once per landscape and handed to rows by a product with a
        # one-hot matrix, whose backward is a product too.
        every = torch.arange(self.landscapes, device=x.device, dtype=x.dtype)
        time = self.time_mlp(every)
        rows = F.one_hot(k, self.landscapes).to(time.dtype)
        gain2, shift2 = (rows @ _widened(time, self.t_map_fc2)).chunk(2, dim=1)
        gain3, shift3 = (rows @ _widened(time, self.t_map_fc3)).chunk(2, dim=1)
        first = F.linear(x, self.fc1.weight[:, : self.condition_dim], self.fc1.bias)
        return Modulation(first, gain2 + 1, shift2, gain3 + 1, shift3)

    def layers(self, modulation: Modulation, y: Tensor) -> Layers:
        """Pass inputs y (B, d_y) forward."""
        u1 = modulation.first + F.linear(y, self.fc1.weight[:, self.condition_dim :])
        u2 = self.fc2(F.silu(u1)) * modulation.gain2 + modulation.shift2
        u3 = self.fc3(F.silu(u2)) * modulation.gain3 + modulation.shift3
        # Under autocast, energies near each other must still be told apart.
        return Layers(u1, u2, u3, self.fc4(F.silu(u3)).to(y.dtype))

    def pullback(self, modulation: Modulation, layers: Layers, cotangent: Tensor) -> Tensor:
        """Return (∂o/∂y)ᵀ v (B, d_y) of a cotangent v (B, d_y)."""
        d3 = cotangent @ self.fc4.weight * silu_derivative(layers.u3) * modulation.gain3
        d2 = d3 @ self.fc3.weight * silu_derivative(layers.u2) * modulation.gain2
        d1 = d2 @ self.fc2.weight * silu_derivative(layers.u1)
        return (d1 @ self.fc1.weight[:, self.condition_dim :]).to(cotangent.dtype)

    def quadratic_hessian(
        self,
        modulation: Modulation,
        layers: Layers,
        slope: Tensor,
        bend: Tensor,
        memory: float,
        tilt: Tensor | None = None,
        output_scale: Tensor | None = None,
    ) -> Tensor:
        """Hessian in the inputs y of q(s ∘ o), as in `mlp_hessian`, within about `memory` bytes.

        Parameters
        ----------
        modulation, layers
            At y.
        slope, bend, tilt : Tensor
            As in `mlp_hessian`, for the scaled output.
        memory : float
            Bytes beside the result.
        output_scale : Tensor (d_y,), optional
            s; 1 by default.

        Returns
        -------
        Tensor (B, d_y, d_y)
            Exactly symmetric.
        """
        last = self.fc4.weight
        weights = (
            self.fc1.weight[:, self.condition_dim :],
            self.fc2.weight,
            self.fc3.weight,
            last if output_scale is None else output_scale[:, None] * last,
        )
        row_bytes = 9 * self.solution_dim * self.width * slope.element_size()
        chunk = max(1, min(len(slope), int(memory / row_bytes)))
        gains = (modulation.gain2, modulation.gain3)
        return mlp_hessian(weights, gains, layers, slope, bend, chunk, tilt)
