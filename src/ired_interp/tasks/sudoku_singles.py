"""One page of logic for Sudoku: naked and hidden single candidates, for many boards at once."""

import torch
from torch import Tensor

from ired_interp.tasks.sudoku_solver import peers, units


def singles(digits: Tensor, side: int, rounds: int, hidden: bool = True) -> Tensor:
    """Strike candidates until nothing follows by single ones.

    Parameters
    ----------
    digits : Tensor (B, cells)
        Boards, 0 where empty.
    side : int
        Digits.
    rounds : int
        At most so many; one is a look at the givens of each cell's row, column and box.
    hidden : bool
        Also fix digits that fit one cell of a row, column or box alone.

    Returns
    -------
    Tensor (B, cells, side)
        bool, the digits left to each cell.
    """
    device = digits.device
    every = torch.arange(1, side + 1, device=device)
    given = digits[..., None] == every
    left = given | (digits == 0)[..., None]
    near = torch.zeros(side**2, side**2, device=device)
    for cell, others in enumerate(peers(side)):
        near[cell, list(others)] = 1
    inside = torch.zeros(3 * side, side**2, device=device)
    for row, cells in enumerate(units(side)):
        inside[row, list(cells)] = 1
    for _ in range(rounds):
        before = left
        alone = left & (left.sum(2, keepdim=True) == 1)
        left = left & ~(near @ alone.float() > 0)
        if hidden:
            once = inside @ left.float() == 1  # (B, units, side)
            only = left & (inside.mT @ once.float() > 0)
            left = torch.where((only.sum(2, keepdim=True) == 1), only, left)
        if torch.equal(left, before):
            break
    return left
