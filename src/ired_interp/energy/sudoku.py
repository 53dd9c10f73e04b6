"""The energy of Sudoku: of the outputs of a residual convolutional network over the board."""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from ired_interp.energy.modulated_mlp import time_features, time_mlp
from ired_interp.energy.proposal import Level, ProposingEnergy, level_of, one_of
from ired_interp.errors import InputError

_TIME, _EMBEDDING = 64, 128
_NEAR_ZERO = 1e-5  # deviation of a block's last weights at the start: blocks begin as the identity


class SudokuContext(NamedTuple):
    """What E depends on besides y: the share of x in the first layer, and landscape features."""

    first: Tensor  # (B, h, side, side)
    time: Tensor  # (B, 64)
    level: Level


class ConvolutionBlock(nn.Module):
    """v + silu((1 + g)·conv₂ silu(conv₁ v) + c), with gain g and shift c of the landscape.

    Parameters
    ----------
    width : int
        h, channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 5, padding=2)
        self.conv2 = nn.Conv2d(width, width, 5, padding=2)
        self.time_fc2 = nn.Linear(_TIME, 2 * width)
        nn.init.normal_(self.conv2.weight, std=_NEAR_ZERO)

    def forward(self, v: Tensor, time: Tensor) -> Tensor:
        """Return the next features (B, h, side, side)."""
        gain, shift = self.time_fc2(time)[..., None, None].chunk(2, dim=1)
        u = self.conv2(F.silu(self.conv1(v)))
        return v + F.silu((1 + gain) * u + shift)


class SudokuEnergy(ProposingEnergy):
    """E = ‖o‖², or the distance from softmax o.

    The outputs o (9 × 9 × 9) come of convolutions over the board's cells.

    x and y are (B, 729): one-hot digits cell by cell, ±1; an empty cell of x is −1 throughout.

    Parameters
    ----------
    condition_dim, solution_dim : int
        Both d³ for boards of d digits: 729, or 64 for 4 × 4 boards.
    width : int
        h, channels of each layer.
    landscapes : int
        K, number of landscapes.
    residual : bool
        Take the outputs as logits of each cell's digit, whose distance from y is the
        energy, in place of the published form; see `ProposingEnergy`.

    Raises
    ------
    InputError
        If the sizes are no board's, or the width is not positive.

    References
    ----------
    Du, Mao, Tenenbaum, "Learning Iterative Reasoning through Energy Diffusion", ICML 2024 (arXiv
    2406.11179), whose parameter names it has.

    Examples
    --------
    >>> import torch
    >>> energy = SudokuEnergy(width=8)
    >>> x, y = -torch.ones(5, 729), torch.zeros(5, 729)
    >>> energy(x, y, 0).shape, energy.gradient(x, y, 0).shape
    (torch.Size([5]), torch.Size([5, 729]))
    """

    name = "sudoku"
    unused = r"res\d[ab]\.time_fc1\..+|attn\d\..+"  # never reached by the published network

    def __init__(
        self,
        condition_dim: int = 729,
        solution_dim: int = 729,
        width: int = 384,
        landscapes: int = 10,
        residual: bool = False,
    ) -> None:
        super().__init__(condition_dim, solution_dim, landscapes, residual)
        self.digits = round(solution_dim ** (1 / 3))
        if condition_dim != solution_dim or self.digits**3 != solution_dim:
            raise InputError(
                f"SudokuEnergy got condition_dim={condition_dim} and solution_dim={solution_dim}; "
                "it takes boards of d × d cells with d digits, both d³."
            )
        if width < 1:
            raise InputError(f"SudokuEnergy got width={width}; it must be at least 1.")
        self.width = width
        self.time_mlp = time_mlp(_EMBEDDING, _TIME)
        self.conv1 = nn.Conv2d(2 * self.digits, width, 3, padding=1)
        self.res1a, self.res1b = ConvolutionBlock(width), ConvolutionBlock(width)
        self.res2a, self.res2b = ConvolutionBlock(width), ConvolutionBlock(width)
        self.res3a, self.res3b = ConvolutionBlock(width), ConvolutionBlock(width)
        self.conv5 = nn.Conv2d(width, self.digits, 1)

    def condition(self, x: Tensor, k: Tensor) -> SudokuContext:
        """Compute the share of x (B, 729) in the first layer, and features of landscapes k (B,)."""
        weight = self.conv1.weight[:, : self.digits]
        first = F.conv2d(self._planes(x), weight, self.conv1.bias, padding=1)
        time = time_features(self.time_mlp, k, self.landscapes, x.dtype)
        return SudokuContext(first, time, level_of(self.schedule, k, x))

    def output(self, context: SudokuContext, y: Tensor) -> Tensor:
        """Compute outputs o (B, 729), cell by cell as y."""
        own = F.conv2d(self._planes(y), self.conv1.weight[:, self.digits :], padding=1)
        v = F.silu(context.first + own)
        for block in (self.res1a, self.res1b, self.res2a, self.res2b, self.res3a, self.res3b):
            v = block(v, context.time)
        output: Tensor = self.conv5(v)
        return output.permute(0, 2, 3, 1).flatten(1)

    def published(self, output: Tensor) -> Tensor:
        """‖o‖² (B,)."""
        return output.square().sum(1)

    def answer(self, output: Tensor) -> Tensor:
        """One digit of each cell (B, 729), softly."""
        return one_of(output.unflatten(1, (-1, self.digits))).flatten(1)

    def _planes(self, board: Tensor) -> Tensor:
        """Give a board (B, 729) as one plane a digit (B, 9, 9, 9)."""
        cells: Tensor = board.unflatten(1, (self.digits,) * 3)
        return cells.permute(0, 3, 1, 2)
