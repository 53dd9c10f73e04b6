"""The energy of the continuous tasks: a landscape-modulated MLP with closed-form derivatives."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ired_interp.energy.base import Energy, LandscapeIndex
from ired_interp.energy.mlp_hessian import Layers, mlp_hessian
from ired_interp.energy.silu import silu_derivative

_TIME_DIM = 128


class MLPContext(NamedTuple):
    """What E depends on besides y, for B rows and width h."""

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


class MLPEnergy(Energy):
    """E = ‖o‖² of a four-layer MLP over [x; y], its middle layers scaled and shifted per landscape.

    Parameter names and shapes are those of the published implementation, so its weights load.

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

    References
    ----------
    Du, Mao, Tenenbaum, "Learning Iterative Reasoning through Energy Diffusion", ICML 2024
    (arXiv 2406.11179).

    Examples
    --------
    >>> energy = MLPEnergy(condition_dim=4, solution_dim=3, width=8)
    >>> x, y = torch.zeros(5, 4), torch.zeros(5, 3)
    >>> energy(x, y, 0).shape, energy.gradient(x, y, 0).shape, energy.hessian(x, y, 0).shape
    (torch.Size([5]), torch.Size([5, 3]), torch.Size([5, 3, 3]))
    """

    name = "mlp"

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
        """Compute the share of x in the first layer, and the modulation of landscapes k (B,)."""
        # The modulation is computed once per landscape and handed to rows by a product with a
        # one-hot matrix, whose backward is a product too.
        every = torch.arange(self.landscapes, device=x.device, dtype=x.dtype)
        time = self.time_mlp(every)
        rows = F.one_hot(k, self.landscapes).to(time.dtype)
        gain2, shift2 = (rows @ self.t_map_fc2(time)).chunk(2, dim=1)
        gain3, shift3 = (rows @ self.t_map_fc3(time)).chunk(2, dim=1)
        first = F.linear(x, self.fc1.weight[:, : self.condition_dim], self.fc1.bias)
        return MLPContext(first, gain2 + 1, shift2, gain3 + 1, shift3)

    def output(self, context: MLPContext, y: Tensor) -> Tensor:
        """Return the MLP's output o (B, d_y), before it is squared."""
        return self._layers(context, y).o

    def evaluate(self, context: MLPContext, y: Tensor) -> Tensor:
        """‖o‖² (B,)."""
        return self.output(context, y).square().sum(1)

    def evaluate_with_gradient(self, context: MLPContext, y: Tensor) -> tuple[Tensor, Tensor]:
        """‖o‖² (B,) and its gradient (B, d_y), by one pass forward and one back."""
        u1, u2, u3, o = self._layers(context, y)
        d3 = (2 * o) @ self.fc4.weight * silu_derivative(u3) * context.gain3
        d2 = d3 @ self.fc3.weight * silu_derivative(u2) * context.gain2
        d1 = d2 @ self.fc2.weight * silu_derivative(u1)
        return o.square().sum(1), (d1 @ self.fc1.weight[:, self.condition_dim :]).to(y.dtype)

    @torch.no_grad()
    def hessian(self, x: Tensor, y: Tensor, k: LandscapeIndex, memory: float = 2**30) -> Tensor:
        """∇²_y E (B, d_y, d_y), exactly symmetric; arguments and errors as in `Energy.hessian`."""
        context = self.condition(x, self._rows(x, y, k))
        weights = (
            self.fc1.weight[:, self.condition_dim :],
            self.fc2.weight,
            self.fc3.weight,
            self.fc4.weight,
        )
        row_bytes = 9 * self.solution_dim * self.width * y.element_size()
        chunk = max(1, min(len(y), int(memory / row_bytes)))
        gains = (context.gain2, context.gain3)
        return mlp_hessian(weights, gains, self._layers(context, y), chunk)

    def _layers(self, context: MLPContext, y: Tensor) -> Layers:
        u1 = context.first + F.linear(y, self.fc1.weight[:, self.condition_dim :])
        u2 = self.fc2(F.silu(u1)) * context.gain2 + context.shift2
        u3 = self.fc3(F.silu(u2)) * context.gain3 + context.shift3
        # Under autocast, energies near each other must still be told apart.
        o = self.fc4(F.silu(u3)).to(y.dtype)
        return Layers(u1, u2, u3, o)
