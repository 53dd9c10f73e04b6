"""The energy of Sudoku over candidates, a digit in a cell each, that see those they exclude."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ired_interp.energy.base import Energy
from ired_interp.energy.checks import check_sizes
from ired_interp.energy.modulated_mlp import time_features, time_mlp
from ired_interp.energy.proposal import Level, distance, level_of, one_of
from ired_interp.errors import InputError
from ired_interp.schedule import Schedule

_TIME, _EMBEDDING = 64, 128
_EPSILON = 1e-6


class CandidateContext(NamedTuple):
    """What E depends on besides y: the share of x in the first features, and landscape features."""

    first: Tensor  # (B, cells, digits, h)
    time: Tensor  # (B, 64)
    level: Level


class ConstraintBlock(nn.Module):
    """v + W′ silu((1 + g)·u + c), with gain g and shift c of the landscape.

    u = W v + Σ_s W_s S v of normalised v, where S are means over the candidates of which one holds:
    the digits of a cell, and a digit's cells in a row, in a column and in a box. Rows and columns
    share their weights.

    Parameters
    ----------
    width : int
        h, features of a candidate.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.own = nn.Linear(width, width)
        self.cell = nn.Linear(width, width, bias=False)
        self.line = nn.Linear(width, width, bias=False)
        self.box = nn.Linear(width, width, bias=False)
        self.time_fc = nn.Linear(_TIME, 2 * width)
        self.out = nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)  # a block begins as the identity
        nn.init.zeros_(self.out.bias)

    def forward(self, v: Tensor, members: Tensor, time: Tensor) -> Tensor:
        """Return the next features (B, cells, digits, h); members (units, cells) are 0 or 1."""
        w, digits = normalised(v), v.shape[2]
        of_rows = members.expand(len(v), -1, -1)
        means = (of_rows.bmm(w.flatten(2)) / digits).unflatten(2, w.shape[2:])
        lines, boxes = means.split((2 * digits, digits), 1)
        seen = torch.cat([self.line(lines), self.box(boxes)], 1)
        around = of_rows.mT.bmm(seen.flatten(2)).view_as(w)
        u = self.own(w) + self.cell(w.mean(2, keepdim=True)) + around
        gain, shift = self.time_fc(time)[:, None, None].chunk(2, dim=-1)
        step: Tensor = self.out(F.silu((1 + gain) * u + shift))
        return v + step


class CandidateEnergy(Energy):
    """E = ‖y − √ᾱ_k h‖²/(2σ_k), the distance from the board h that a network proposes.

    Features belong to candidates, one digit in one cell each, and a block tells each candidate the
    means of those that exclude it, in its cell and in its row, column and box. What leaves the
    rules of Sudoku as they are, a permutation of digits, bands, stacks, rows or columns, or a
    transposition, therefore does the same to h as to the board, and no rule has to be learned anew
    for each place and digit, as it has by convolutions (`SudokuEnergy`).

    x and y are (B, 729): one-hot digits cell by cell, ±1; an empty cell of x is −1 throughout.

    Parameters
    ----------
    condition_dim, solution_dim : int
        Both d³ for boards of d digits: 729, or 64 for 4 × 4 boards.
    width : int
        h, features of a candidate.
    blocks : int
        How many follow each other. A deduction takes about two.
    landscapes : int
        K, number of landscapes.

    Raises
    ------
    InputError
        If the sizes are no board's, or another is not positive.

    References
    ----------
    Palm, Paquet, Winther, "Recurrent relational networks", NeurIPS 2018, whose cells tell each
    other of their digits.

    Examples
    --------
    >>> energy = CandidateEnergy(width=8, blocks=2)
    >>> x, y = -torch.ones(5, 729), torch.zeros(5, 729)
    >>> energy(x, y, 0).shape, energy.gradient(x, y, 0).shape
    (torch.Size([5]), torch.Size([5, 729]))
    """

    name = "sudoku_candidates"
    members: Tensor

    def __init__(
        self,
        condition_dim: int = 729,
        solution_dim: int = 729,
        width: int = 64,
        blocks: int = 16,
        landscapes: int = 10,
    ) -> None:
        super().__init__(condition_dim, solution_dim, landscapes)
        check_sizes(type(self).__name__, width=width, blocks=blocks)
        self.digits = round(solution_dim ** (1 / 3))
        box = math.isqrt(self.digits)
        if condition_dim != solution_dim or box**6 != solution_dim:
            raise InputError(
                f"CandidateEnergy got condition_dim={condition_dim} and "
                f"solution_dim={solution_dim}; it takes boards of d × d cells with d digits in "
                "square boxes, both d³."
            )
        self.schedule = Schedule(landscapes)
        cell = torch.arange(self.digits**2)
        row, column = cell // self.digits, cell % self.digits
        units = torch.stack([row, column, row // box * box + column // box])
        members = F.one_hot(units, self.digits).mT.flatten(0, 1).float()
        self.register_buffer("members", members, persistent=False)
        self.time_mlp = time_mlp(_EMBEDDING, _TIME)
        self.first = nn.Linear(2, width)
        self.blocks = nn.ModuleList(ConstraintBlock(width) for _ in range(blocks))
        self.last = nn.Linear(width, 1)

    def condition(self, x: Tensor, k: Tensor) -> CandidateContext:
        """Compute the share of x (B, 729) in the first features, and those of landscapes k (B,)."""
        first = self._candidates(x) * self.first.weight[:, 0] + self.first.bias
        time = time_features(self.time_mlp, k, self.landscapes, x.dtype)
        return CandidateContext(first, time, level_of(self.schedule, k, x))

    def logits(self, context: CandidateContext, y: Tensor) -> Tensor:
        """Logits (B, 729) of each cell's digit, of candidates y (B, 729)."""
        v = context.first + self._candidates(y) * self.first.weight[:, 1]
        for block in self.blocks:
            v = block(v, self.members, context.time)
        logits: Tensor = self.last(normalised(v))
        return logits.flatten(1)

    def evaluate(self, context: CandidateContext, y: Tensor) -> Tensor:
        """E (B,) of candidates y (B, 729)."""
        logits = self.logits(context, y).to(y.dtype)  # under autocast, near energies stay apart
        proposal = one_of(logits.unflatten(1, (-1, self.digits))).flatten(1)
        return distance(y, proposal, context.level)

    def _candidates(self, board: Tensor) -> Tensor:
        """Give a board (B, 729) as one number a candidate (B, 81, 9, 1)."""
        candidates: Tensor = board.unflatten(1, (-1, self.digits, 1))
        return candidates


def normalised(v: Tensor) -> Tensor:
    """Divide v (…, h) by the root of its mean square over h."""
    return v * (v.square().mean(-1, keepdim=True) + _EPSILON).rsqrt()
