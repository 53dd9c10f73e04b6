"""The residual energy of a network that works on matrices as matrices: by products of them."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ired_interp.energy.base import Energy
from ired_interp.energy.modulated_mlp import TIME_DIM, time_mlp
from ired_interp.energy.residual import Coordinates, ResidualEnergy
from ired_interp.errors import InputError

_FLOOR = 1e-4  # under the mean square that a layer's input is divided by


class MatrixBlock(nn.Module):
    """A residual block on C matrices of n × n: triple products of mixtures of them, then an MLP over the channels of each entry.

    With Ẑ = Z/rms(Z) and A, B, D channel mixtures of Ẑ: Z ← Z + W₂ silu(W₁ [Ẑ; A Bᵀ D / n] · g + s).
    Permuting the rows of all matrices permutes the result's, and so with columns.

    Parameters
    ----------
    channels : int
        C.
    hidden : int
        Channels of the MLP's middle layer.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.factors = nn.Linear(channels, 3 * channels)
        self.mlp_in = nn.Linear(2 * channels, hidden)
        self.mlp_out = nn.Linear(hidden, channels)

    def forward(self, z: Tensor, gain: Tensor | float, shift: Tensor | float) -> Tensor:
        """The next matrices (B, C, n, n) from z of that shape; gain and shift broadcast to (B, hidden, n²)."""
        n = z.shape[-1]
        normal = z * torch.rsqrt(z.square().mean((1, 2, 3), keepdim=True) + _FLOOR)
        a, b, d = _mixed(self.factors, normal.flatten(2)).unflatten(2, (n, n)).chunk(3, dim=1)
        product = a @ (b.mT @ d) / n
        inner = _mixed(self.mlp_in, torch.cat([normal, product], 1).flatten(2))
        return z + _mixed(self.mlp_out, F.silu(inner * gain + shift)).unflatten(2, (n, n))


def _mixed(layer: nn.Linear, z: Tensor) -> Tensor:
    """A linear layer over the channels of z (B, C, n²)."""
    mixed = layer.weight @ z
    return mixed if layer.bias is None else mixed + layer.bias[:, None]


class MatrixNetwork(nn.Module):
    """Matrices in, one matrix out, through blocks of triple products.

    Parameters
    ----------
    inputs : int
        Channels of the input.
    channels, hidden, blocks : int
        C and the MLP's width of each `MatrixBlock`, and how many there are.
    """

    def __init__(self, inputs: int, channels: int, hidden: int, blocks: int) -> None:
        super().__init__()
        self.inlet = nn.Linear(inputs, channels)
        self.blocks = nn.ModuleList(MatrixBlock(channels, hidden) for _ in range(blocks))
        self.outlet = nn.Linear(channels, 1)
        nn.init.zeros_(self.outlet.weight)
        nn.init.zeros_(self.outlet.bias)

    def forward(self, features: Tensor, modulation: list[tuple[Tensor, Tensor]] | None) -> Tensor:
        """(B, n²) of features (B, inputs, n, n).

        Parameters
        ----------
        features : (B, inputs, n, n)
        modulation : gain and shift (B, hidden) for each block, or None for none.
        """
        z = _mixed(self.inlet, features.flatten(2)).unflatten(2, features.shape[2:])
        for i, block in enumerate(self.blocks):
            if modulation is None:
                z = block(z, 1.0, 0.0)
            else:
                gain, shift = modulation[i]
                z = block(z, gain[..., None], shift[..., None])
        return _mixed(self.outlet, z.flatten(2))[:, 0]


def matrix_size(condition_dim: int, solution_dim: int, what: str) -> tuple[int, int]:
    """n and the number of n × n matrices that a condition holds.

    Raises
    ------
    InputError
        If solutions are not n × n matrices, or conditions not one or more of that size.
    """
    n = math.isqrt(solution_dim)
    if n * n != solution_dim or condition_dim % solution_dim:
        raise InputError(
            f"{what} got condition_dim={condition_dim} and solution_dim={solution_dim}; it takes n × n "
            "matrices as solutions and one or more of them as a condition: choose an MLP energy instead."
        )
    return n, condition_dim // solution_dim


def condition_features(x: Tensor, standard: Tensor, n: int) -> Tensor:
    """What a network on matrices sees of problems x (B, m n²), standardised or raw.

    Returns
    -------
    (B, 2m + 1, n, n): the m standardised matrices, which of their raw entries are not 0 (those given, in
    completion), and the identity.
    """
    raw, standard = x.unflatten(1, (-1, n, n)), standard.unflatten(1, (-1, n, n))
    identity = torch.eye(n, device=x.device, dtype=x.dtype).expand(len(x), 1, n, n)
    return torch.cat([standard, (raw != 0).to(x.dtype), identity], 1)


class MatrixContext(NamedTuple):
    """What E depends on besides y: coordinates, features (B, 2m + 1, n, n), linear path (B, n²), modulation of each block."""

    at: Coordinates
    features: Tensor
    linear: Tensor
    modulation: list[tuple[Tensor, Tensor]]


class MatrixEnergy(ResidualEnergy):
    """E = ‖y − √ᾱ_k h(x, y, k)‖²/(2σ_k) for problems of n × n matrices, where h multiplies matrices.

    An MLP over flattened matrices has no way to a product of them but to learn each entry's sum by
    heart. Here each block forms A Bᵀ D of mixtures of the matrices at hand, of which inverses
    (Newton–Schulz iterations) and low-rank completions (spectral shrinkage) are made; entries share
    all weights, so the network is small and its size does not depend on n.

    Parameters
    ----------
    condition_dim, solution_dim, landscapes
        As in `Energy`; solutions are n × n, conditions one or more such matrices.
    channels : int
        Matrices that each block holds.
    hidden : int
        Width of each block's MLP over channels.
    blocks : int
        How many blocks follow each other.
    homogeneity : float, optional
        p where the answer obeys f(c x) = c^p f(x); see `Moments`.

    References
    ----------
    Hartford et al., "Deep models of interactions across sets", 2018, for networks on matrices that
    respect permutations; here by products in place of means.
    """

    def __init__(
        self,
        condition_dim: int,
        solution_dim: int,
        channels: int = 24,
        hidden: int = 48,
        blocks: int = 4,
        landscapes: int = 10,
        homogeneity: float | None = None,
    ) -> None:
        Energy.__init__(self, condition_dim, solution_dim, landscapes)
        self.n, self.matrices = matrix_size(condition_dim, solution_dim, type(self).__name__)
        self._in_standard_units(homogeneity, entrywise=False)
        self.time_mlp = time_mlp()
        self.modulation = nn.Linear(TIME_DIM, 2 * hidden * blocks)
        self.network = MatrixNetwork(2 * self.matrices + 2, channels, hidden, blocks)
        self.linear = nn.Parameter(torch.zeros(self.matrices))

    def condition(self, x: Tensor, k: Tensor) -> MatrixContext:
        at = self.coordinates(x, k)
        time = self.time_mlp(torch.arange(self.landscapes, device=x.device, dtype=x.dtype))
        rows = F.one_hot(k, self.landscapes).to(time.dtype) @ self.modulation(time)
        parts = rows.chunk(2 * len(self.network.blocks), dim=1)
        modulation = [
            (1 + gain, shift) for gain, shift in zip(parts[::2], parts[1::2], strict=True)
        ]
        features = condition_features(x, at.condition, self.n)
        matrices = at.condition.unflatten(1, (self.matrices, self.solution_dim))
        linear = (matrices * self.linear[:, None]).sum(1)
        return MatrixContext(at, features, linear, modulation)

    def coordinates_of(self, context: MatrixContext) -> Coordinates:
        return context.at

    def propose(self, context: MatrixContext, y: Tensor) -> Tensor:
        own = self.standardised(context.at, y).unflatten(1, (1, self.n, self.n))
        output = self.network(torch.cat([context.features, own], 1), context.modulation)
        return self.moments.solution(output + context.linear, context.at.scale)
