"""The residual energy of a network that works on matrices as matrices: by products of them."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ired_interp.energy.base import Energy
from ired_interp.energy.checks import check_sizes
from ired_interp.energy.modulated_mlp import TIME_DIM, time_mlp
from ired_interp.energy.residual import Coordinates, ResidualEnergy
from ired_interp.errors import InputError

_MOST_BLOCKS = 1000  # one after the other; far fewer train
_FLOOR = 1e-4  # under the mean square that a layer's input is divided by


class MatrixBlock(nn.Module):
    """A residual block on C matrices of n × n: products of mixtures of them, then an MLP.

    With Ẑ = Z/rms(Z) and A, B, D channel mixtures of Ẑ,
    Z ← Z + W₂ silu(W₁ [Ẑ; A Bᵀ D / n] · g + s), where W₁ and W₂ act on the channels of each entry.
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
        """Return the next (B, C, n, n); gain and shift broadcast to (B, hidden, n²)."""
        n = z.shape[-1]
        normal = z * torch.rsqrt(z.square().mean((1, 2, 3), keepdim=True) + _FLOOR)
        a, b, d = _mixed(self.factors, normal.flatten(2)).unflatten(2, (n, n)).chunk(3, dim=1)
        product = a @ (b.mT @ d) / n
        inner = _mixed(self.mlp_in, torch.cat([normal, product], 1).flatten(2))
        step: Tensor = _mixed(self.mlp_out, F.silu(inner * gain + shift)).unflatten(2, (n, n))
        return z + step


def _mixed(layer: nn.Linear, z: Tensor) -> Tensor:
    """Apply a linear layer over the channels of z (B, C, n²)."""
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
        check_sizes(type(self).__name__, channels=channels, hidden=hidden, blocks=blocks)
        if blocks > _MOST_BLOCKS:
            raise InputError(f"blocks is {blocks}; expected at most {_MOST_BLOCKS}.")
        self.inlet = nn.Linear(inputs, channels)
        self.blocks = nn.ModuleList(MatrixBlock(channels, hidden) for _ in range(blocks))
        self.outlet = nn.Linear(channels, 1)
        nn.init.zeros_(self.outlet.weight)
        nn.init.zeros_(self.outlet.bias)

    def forward(self, features: Tensor, modulation: list[tuple[Tensor, Tensor]] | None) -> Tensor:
        """Make one matrix of many.

        Parameters
        ----------
        features : Tensor (B, inputs, n, n)
            The matrices.
        modulation : list of two Tensor (B, hidden), optional
            Gain and shift of each block.

        Returns
        -------
        Tensor (B, n²)
            The matrix, row by row.
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
    """Find n, and the number of n × n matrices that a condition holds.

    Parameters
    ----------
    condition_dim, solution_dim : int
        d_x and d_y.
    what : str
        Whose message it is.

    Returns
    -------
    tuple of int
        n and the number.

    Raises
    ------
    InputError
        If solutions are not n × n matrices, or conditions not one or more of that size.
    """
    n = math.isqrt(solution_dim)
    if n * n != solution_dim or condition_dim % solution_dim:
        raise InputError(
            f"{what} got condition_dim={condition_dim} and solution_dim={solution_dim}; it "
            "takes n × n matrices as solutions and one or more of them as a condition: choose an "
            "MLP energy instead."
        )
    return n, condition_dim // solution_dim


def condition_features(x: Tensor, standard: Tensor, n: int) -> Tensor:
    """Make what a network on matrices sees of problems.

    Parameters
    ----------
    x : Tensor (B, m n²)
        Problems.
    standard : Tensor (B, m n²)
        The same in standard units.
    n : int
        Size of a matrix.

    Returns
    -------
    Tensor (B, 2m + 1, n, n)
        The m standardised matrices, which of their raw entries are not 0 (those given, in
        completion), and the identity.
    """
    raw, standard = x.unflatten(1, (-1, n, n)), standard.unflatten(1, (-1, n, n))
    identity = torch.eye(n, device=x.device, dtype=x.dtype).expand(len(x), 1, n, n)
    return torch.cat([standard, (raw != 0).to(x.dtype), identity], 1)


class MatrixContext(NamedTuple):
    """What E depends on besides y: linear path (B, n²), gain and shift of each block."""

    at: Coordinates
    features: Tensor
    linear: Tensor
    modulation: list[tuple[Tensor, Tensor]]


class MatrixEnergy(ResidualEnergy):
    """E = ‖y − √ᾱ_k h(x, y, k)‖²/(2σ_k) of n × n matrices, where h multiplies matrices.

    An MLP over flattened matrices has no way to a product of them but to learn each entry's sum by
    heart. Here each block forms A Bᵀ D of mixtures of the matrices at hand, of which inverses
    (Newton–Schulz iterations) and low-rank completions (spectral shrinkage) are made; entries share
    all weights, so the network is small and its size does not depend on n.

    Parameters
    ----------
    condition_dim, solution_dim : int
        d_x and d_y; solutions are n × n, conditions one or more such matrices.
    channels : int
        Matrices that each block holds.
    hidden : int
        Width of each block's MLP over channels.
    blocks : int
        How many blocks follow each other.
    landscapes : int
        K, number of landscapes.
    homogeneity : float | None
        p where the answer obeys f(c x) = c^p f(x); see `Moments`.

    References
    ----------
    Hartford et al., "Deep models of interactions across sets", 2018, for networks on matrices that
    respect permutations; here by products in place of means.

    Examples
    --------
    >>> energy = MatrixEnergy(condition_dim=9, solution_dim=9, channels=4, hidden=8, blocks=2)
    >>> x, y = torch.ones(5, 9), torch.zeros(5, 9)
    >>> energy(x, y, 0).shape, energy.gradient(x, y, 0).shape
    (torch.Size([5]), torch.Size([5, 9]))
    """

    name = "matrix"

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
        """Compute what x (B, d_x) and k (B,) say to the network."""
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
        """Return the context's coordinates."""
        return context.at

    def propose(self, context: MatrixContext, y: Tensor) -> Tensor:
        """h(x, y, k) (B, n²)."""
        own = self.standardised(context.at, y).unflatten(1, (1, self.n, self.n))
        output = self.network(torch.cat([context.features, own], 1), context.modulation)
        return self.moments.solution(output + context.linear, context.at.scale)
