"""Sudoku boards one by one: solved, counted, filled and dug, in plain Python with bit sets."""

import math
import random
from functools import cache

Board = list[int]  # digits cell by cell, row by row; 0 is empty


@cache
def units(side: int) -> tuple[tuple[int, ...], ...]:
    """Return the cells of each row, column and box of side × side boards."""
    box = math.isqrt(side)
    rows = [[side * r + c for c in range(side)] for r in range(side)]
    columns = [list(column) for column in zip(*rows, strict=True)]
    corners = [(r, c) for r in range(0, side, box) for c in range(0, side, box)]
    boxes = [[side * (r + i) + c + j for i in range(box) for j in range(box)] for r, c in corners]
    return tuple(map(tuple, rows + columns + boxes))


@cache
def peers(side: int) -> tuple[tuple[int, ...], ...]:
    """Return the cells that share a unit with each cell."""
    found: list[set[int]] = [set() for _ in range(side * side)]
    for unit in units(side):
        for cell in unit:
            found[cell].update(unit)
    return tuple(tuple(sorted(others - {cell})) for cell, others in enumerate(found))


def solutions(board: Board, limit: int = 2, rng: random.Random | None = None) -> list[Board]:
    """Find solutions of a board.

    Parameters
    ----------
    board : list of int
        Digits, 0 where empty.
    limit : int
        Stop after so many.
    rng : random.Random, optional
        Try digits in random order; in ascending order without it.

    Returns
    -------
    list of list of int
        At most `limit` full boards.
    """
    side = math.isqrt(len(board))
    sets = [(1 << side) - 1] * len(board)
    found: list[Board] = []
    if all(_place(sets, cell, 1 << (digit - 1), side) for cell, digit in enumerate(board) if digit):
        _search(sets, side, limit, rng, found)
    return found


def _place(sets: list[int], cell: int, bit: int, side: int) -> bool:
    """Fix a cell and what follows from it by single candidates; False is a contradiction."""
    waiting = [(cell, bit)]
    while waiting:
        cell, bit = waiting.pop()
        if not sets[cell] & bit:
            return False
        sets[cell] = bit
        for other in peers(side)[cell]:
            if sets[other] & bit:
                sets[other] &= ~bit
                left = sets[other]
                if not left:
                    return False
                if not left & (left - 1):
                    waiting.append((other, left))
    return True


def _hidden(sets: list[int], side: int) -> bool:
    """Fix digits that fit one cell of a unit alone, to a fixed point."""
    changed = True
    while changed:
        changed = False
        for unit in units(side):
            once = twice = 0
            for cell in unit:
                twice |= once & sets[cell]
                once |= sets[cell]
            if once != (1 << side) - 1:
                return False
            alone = once & ~twice
            for cell in unit:
                bit = sets[cell] & alone
                if bit and bit != sets[cell]:
                    if not _place(sets, cell, bit, side):
                        return False
                    changed = True
    return True


def _search(
    sets: list[int], side: int, limit: int, rng: random.Random | None, found: list[Board]
) -> None:
    if not _hidden(sets, side):
        return
    open_cells = [cell for cell, left in enumerate(sets) if left & (left - 1)]
    if not open_cells:
        found.append([left.bit_length() for left in sets])
        return
    cell = min(open_cells, key=lambda c: sets[c].bit_count())
    bits = [1 << d for d in range(side) if sets[cell] >> d & 1]
    if rng is not None:
        rng.shuffle(bits)
    for bit in bits:
        further = list(sets)
        if _place(further, cell, bit, side):
            _search(further, side, limit, rng, found)
        if len(found) >= limit:
            return


def full_board(side: int, rng: random.Random) -> Board:
    """Fill an empty board at random."""
    return solutions([0] * (side * side), 1, rng)[0]


def dig(solution: Board, givens: int, rng: random.Random) -> Board:
    """Empty cells in random order, each unless a second solution arises.

    Parameters
    ----------
    solution : list of int
        A full board.
    givens : int
        How many cells to leave; more are left where so few are not reached.
    rng : random.Random
        Of the order.

    Returns
    -------
    list of int
        The puzzle.
    """
    board, left = list(solution), len(solution)
    for cell in rng.sample(range(left), left):
        if left == givens:
            break
        digit, board[cell] = board[cell], 0
        if _forced(board, cell, digit) or len(solutions(board)) == 1:
            left -= 1
        else:
            board[cell] = digit
    return board


def _forced(board: Board, cell: int, digit: int) -> bool:
    """Tell whether a cell's peers leave it its digit alone."""
    side = math.isqrt(len(board))
    others = {board[other] for other in peers(side)[cell]} - {0, digit}
    return len(others) == side - 1
