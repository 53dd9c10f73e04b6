"""Random changes of Sudoku boards: the symmetries of the game, further givens, wrong digits."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ired_interp.tasks.base import WrongAnswers

_WRONG = 0.05  # share of cells that are wrong in wrong answers


def image(puzzle: Tensor, full: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Permute digits, bands, stacks, and rows and columns inside them; mirror half of the boards.

    Parameters
    ----------
    puzzle, full : Tensor (B, cells)
        Digits from 1 on, 0 where empty, and the solutions.
    generator : torch.Generator
        Of each board's own permutations.

    Returns
    -------
    tuple of Tensor (B, cells)
        Both, changed alike.
    """
    count, side, device = len(puzzle), math.isqrt(puzzle.shape[1]), puzzle.device
    box = math.isqrt(side)

    def order(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=device).argsort(-1)

    lines = []
    for _ in range(2):
        bands, inside = order(count, box), order(count, box, box)
        lines.append((bands[:, :, None] * box + inside).flatten(1))
    cells = lines[0][:, :, None] * side + lines[1][:, None]
    mirrored = torch.rand(count, generator=generator, device=device) < 0.5
    cells = torch.where(mirrored[:, None, None], cells.mT, cells).flatten(1)
    digits = F.pad(order(count, side) + 1, (1, 0))  # an empty cell stays empty
    changed = [digits.gather(1, board.gather(1, cells)) for board in (puzzle, full)]
    return changed[0], changed[1]


def with_givens(
    puzzle: Tensor, full: Tensor, low: int, high: int, generator: torch.Generator
) -> Tensor:
    """Add random givens up to a number drawn uniformly from low … high."""
    shape = (len(puzzle), 1)
    wanted = torch.randint(low, high + 1, shape, generator=generator, device=puzzle.device)
    random = torch.rand(puzzle.shape, generator=generator, device=puzzle.device)
    rank = random.masked_fill(puzzle > 0, -1.0).argsort(1).argsort(1)  # givens first
    return torch.where(rank < wanted, full, puzzle)


def with_errors(
    digits: Tensor, given: Tensor, kind: WrongAnswers, generator: torch.Generator
) -> Tensor:
    """Change digits (B, cells) where none is given.

    "corrected": .05 of the free cells and at least one get a digit that is wrong. "published": .05
    of them get any digit.
    """
    side, device = math.isqrt(digits.shape[1]), digits.device
    uniform = torch.rand(digits.shape, generator=generator, device=device)
    if kind == "published":
        drawn = torch.randint(1, side + 1, digits.shape, generator=generator, device=device)
        return torch.where((uniform < _WRONG) & ~given, drawn, digits)
    turn = torch.randint(1, side, digits.shape, generator=generator, device=device)
    uniform = uniform.masked_fill(given, torch.inf)
    chosen = uniform <= uniform.amin(1, keepdim=True).clamp(min=_WRONG)
    return torch.where(chosen & ~given, (digits - 1 + turn) % side + 1, digits)
