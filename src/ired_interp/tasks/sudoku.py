"""Sudoku: boards with one solution, endlessly many by the symmetries of the game."""

from pathlib import Path
from typing import ClassVar, get_args

import torch
from torch import Tensor

from ired_interp.diffusion.rules import Published
from ired_interp.energy.held import FixedEntries
from ired_interp.errors import InputError
from ired_interp.random import stream
from ired_interp.tasks import sudoku_boards
from ired_interp.tasks.base import (
    Measure,
    Pictured,
    Problems,
    Task,
    Variant,
    WrongAnswers,
    point,
)
from ired_interp.tasks.posterior import Posterior
from ired_interp.tasks.sudoku_boards import ONE_IN, Boards, set_apart
from ired_interp.tasks.sudoku_draws import image, with_errors, with_givens
from ired_interp.tasks.sudoku_singles import singles
from ired_interp.terminal import log

_OTHERS = 10_000  # at most, of the variants with few givens, which take long to dig
_GIVENS: dict[int, dict[str, tuple[int, int]]] = {
    9: {"same": (31, 42), "harder": (17, 34), "dug": (23, 30)},
    4: {"same": (6, 9), "harder": (4, 7), "dug": (5, 5)},
}


class Sudoku(Task):
    """x is a board with givens, y* the full one: one-hot digits cell by cell, ±1, empty cells −1.

    Variants: "same", dug to 31 … 42 givens (4 × 4: 6 … 9); "harder", puzzles of few givens with
    random others added up to 17 … 34 (4 … 7), easier than dug ones of as many; "dug", dug to
    23 … 30 (5). Puzzles are turned, mirrored and renumbered at random. One in ten is set apart for
    tests with all its images.

    Parameters
    ----------
    side : int
        Digits: 9, or 4.
    puzzles : int
        Puzzles dug for "same", whose images are drawn, and up to 10 000 for either other variant.
    fixed : int, optional
        Train on so many boards just as they are, as published (9000), instead of an endless stream.
    seventeen : str, optional
        File of 17-clue puzzles, one a line, from which "harder" is made as RRN's set was; without
        it from own minimal puzzles, which have about 24 givens.
    satnet : str, optional
        Folder of SATNet's features.pt and labels.pt, which then are "same".
    rrn : str, optional
        RRN's csv of puzzles and solutions, which then is "harder" just as it is.
    wrong_answers : {"corrected", "published"}
        How the contrast's wrong answers are made: free cells, .05 of them and at least one, get a
        digit that is wrong; or, as published, any digit, which leaves many answers right.

    Raises
    ------
    InputError
        If a setting cannot be.
    """

    name = "sudoku"
    variants: ClassVar[tuple[str, ...]] = ("same", "harder", "dug")
    steps = 20
    posterior_is_cheap = False  # it searches board by board
    matrix_solutions = False
    published = Published(bound=1.0, later_factor=1.0)

    def __init__(
        self,
        side: int = 9,
        puzzles: int = 10_000,
        fixed: int | None = None,
        seventeen: str | None = None,
        satnet: str | None = None,
        rrn: str | None = None,
        wrong_answers: WrongAnswers = "corrected",
    ) -> None:
        if side not in _GIVENS:
            raise InputError(f"task sudoku got side={side}; choose 9 or 4.")
        if puzzles < ONE_IN:
            raise InputError(f"task sudoku got puzzles={puzzles}; give at least {ONE_IN}.")
        if fixed is not None and fixed < 1:
            raise InputError(f"task sudoku got fixed={fixed}; it must be at least 1.")
        if side != 9 and (seventeen or satnet or rrn):
            raise InputError("task sudoku has side=4, but files of 9 × 9 boards; leave one out.")
        if wrong_answers not in get_args(WrongAnswers):
            raise InputError(
                f"task sudoku got wrong_answers={wrong_answers!r}; choose one of "
                f"{', '.join(get_args(WrongAnswers))}."
            )
        self.side, self.puzzles, self.fixed_boards = side, puzzles, fixed
        self.seventeen, self.satnet, self.rrn, self.wrong = seventeen, satnet, rrn, wrong_answers
        self.condition_dim = self.solution_dim = side**3
        self._collections: dict[tuple[str, bool, torch.device], Boards] = {}
        self._solved: dict[bytes, list[int]] = {}

    def sample(self, count: int, generator: torch.Generator, variant: Variant = "same") -> Problems:
        """Draw problems from the puzzles set apart for tests; see `Task.sample`."""
        boards = self._collection(variant, generator.device, training=False)
        return self._draw(boards, count, generator, variant, as_they_are=variant in self._read)

    def sample_training(
        self, count: int, generator: torch.Generator, variant: Variant = "same"
    ) -> Problems:
        """Draw problems from all other puzzles; see `Task.sample_training`.

        Raises
        ------
        InputError
            If there are fewer than the fixed number asked for.
        """
        boards = self._collection(variant, generator.device, training=True)
        if self.fixed_boards is None:
            return self._draw(boards, count, generator, variant)
        if self.fixed_boards > len(boards.puzzles):
            raise InputError(
                f"task sudoku got fixed={self.fixed_boards}, but has {len(boards.puzzles)} puzzles "
                "to train on; raise puzzles."
            )
        part = boards.part(slice(self.fixed_boards))
        return self._draw(part, count, generator, variant, as_they_are=True)

    def value_range(self, variant: Variant) -> float:
        """Return 1."""
        return 1.0

    def encode(self, *boards: str) -> Tensor:
        """Give boards written as one character a cell, 0 or . where empty, as problems (B, d_x).

        Parameters
        ----------
        *boards : str
            The boards.

        Returns
        -------
        Tensor (B, d_x)
            ±1.

        Raises
        ------
        InputError
            If one is no board, or has no solution or several.

        Examples
        --------
        >>> Sudoku(side=4).encode("1...", "....")
        Traceback (most recent call last):
        ...
        ired_interp.errors.InputError: board 1 is no 4 × 4 board; expected 16 characters of 1234, \
0 or . where empty.
        """
        found = []
        for number, text in enumerate(boards, 1):
            board = sudoku_boards.parse_board(text, self.side, f"board {number}")
            sudoku_boards.solved(board, f"board {number}")
            found.append(board)
        return self._code(torch.tensor(found))

    def fixed(self, x: Tensor) -> FixedEntries:
        """Return the entries of given cells; see `Task.fixed`."""
        given = (self._cells(x) > 0).any(2, keepdim=True)
        return FixedEntries(given.expand(-1, -1, self.side).flatten(1), x)

    def posterior(self, x: Tensor) -> Posterior:
        """Return the solution, found by search."""
        found = []
        for row in self._digits(x).cpu():
            key = row.numpy().tobytes()
            if key not in self._solved:
                self._solved[key] = sudoku_boards.solved(row.tolist(), "a problem's board")
            found.append(self._solved[key])
        return point(self._code(torch.tensor(found, device=x.device)).to(x.dtype))

    def wrong_answers(self, problems: Problems, generator: torch.Generator) -> Tensor:
        """Draw wrong answers; see `Task.wrong_answers`."""
        x, y = problems
        changed = with_errors(self._digits(y), self._digits(x) > 0, self.wrong, generator)
        return self._code(changed).to(y.dtype)

    def measures(self, x: Tensor, y: Tensor, solution: Tensor) -> dict[str, Measure]:
        """Compare the largest entry of each cell with the answer's.

        Returns
        -------
        dict of str to Measure
            Shares of free cells and of whole boards that are right, of all and by number of givens.
        """
        free = self._digits(x) == 0
        right = self._cells(solution).argmax(2) + 1 == self._digits(y)
        cells, whole = (right & free).sum(1), (right | ~free).all(1)
        count, one = free.sum(1), torch.ones(len(x), device=x.device)
        found = {"free cells": Measure(cells, count), "whole boards": Measure(whole, one)}
        givens = self.side**2 - count
        ranges = _GIVENS[self.side].values()
        for number in range(min(r[0] for r in ranges), max(r[1] for r in ranges) + 1):
            there = givens == number
            found[f"free cells at {number} givens"] = Measure(cells * there, count * there)
            found[f"whole boards at {number} givens"] = Measure(whole & there, there)
        return found

    def pictured(self, x: Tensor, y: Tensor, solutions: Tensor) -> Pictured:
        """Return `board` along inference, `board_answer` and `board_given`; see `Task.pictured`."""
        shape, place = (self.side, self.side), ("pictured", "row", "column")
        board = self._cells(solutions.flatten(0, 1)).argmax(2) + 1
        return {
            "board": (("landscape", *place), board.view(*solutions.shape[:2], *shape)),
            "board_answer": (place, self._digits(y).view(-1, *shape)),
            "board_given": (place, (self._digits(x) > 0).view(-1, *shape)),
        }

    def trivial(self, x: Tensor) -> dict[str, Tensor]:
        """Fill in by single candidates and guess the rest, or guess at once; see `Task.trivial`."""
        digits = self._digits(x)
        random = torch.rand(
            *digits.shape, self.side, generator=stream(x.device, 0), device=x.device
        )
        found = {}
        for name, rounds in (("one look, then a guess", 1), ("naked and hidden singles", 81)):
            left = singles(digits, self.side, rounds, hidden=rounds > 1)
            found[name] = self._code((random * left).argmax(2) + 1).to(x.dtype)
        return found

    @property
    def _read(self) -> set[str]:
        """Variants that are read from a file and tested on as they are."""
        return {v for v, file in (("same", self.satnet), ("harder", self.rrn)) if file}

    def _collection(self, variant: Variant, device: torch.device, training: bool) -> Boards:
        self.check_variant(variant)
        key = (variant, training, device)
        if key not in self._collections:
            self._collections[key] = self._gather(variant, training).to(device)
        return self._collections[key]

    def _gather(self, variant: Variant, training: bool) -> Boards:
        if variant == "same" and self.satnet:
            boards = sudoku_boards.satnet_boards(Path(self.satnet))
        elif variant == "harder" and self.rrn:
            boards = sudoku_boards.rrn_boards(Path(self.rrn))
        elif variant == "harder" and self.seventeen:
            boards = sudoku_boards.seventeen_clues(Path(self.seventeen))
        else:
            return self._dig(variant, training)
        rest = set_apart(len(boards.puzzles))
        return boards.part(slice(rest) if training else slice(rest, None))

    def _dig(self, variant: Variant, training: bool) -> Boards:
        low, high = _GIVENS[self.side][variant]
        if variant == "harder":
            if self.side == 9:
                log("sudoku: without a file of 17-clue puzzles, harder boards have over 20 givens")
            low = high = 0
        count = self.puzzles if variant == "same" else min(self.puzzles, _OTHERS)
        begin, end = (0, set_apart(count)) if training else (set_apart(count), count)
        dug = sudoku_boards.dug_boards(self.side, low, high, count, 0, begin)
        return dug.part(slice(end - begin))

    def _draw(
        self,
        boards: Boards,
        count: int,
        generator: torch.Generator,
        variant: Variant,
        as_they_are: bool = False,
    ) -> Problems:
        device = generator.device
        rows = torch.randint(len(boards.puzzles), (count,), generator=generator, device=device)
        puzzle, full = (part[rows].long() for part in boards)
        if not as_they_are:
            puzzle, full = image(puzzle, full, generator)
            if variant == "harder":
                puzzle = with_givens(puzzle, full, *_GIVENS[self.side]["harder"], generator)
        return Problems(self._code(puzzle), self._code(full))

    def _cells(self, rows: Tensor) -> Tensor:
        if rows.shape[1] != self.side**3:
            raise InputError(
                f"task sudoku got rows of {rows.shape[1]} entries; {self.side} × {self.side} "
                f"boards have {self.side**3}."
            )
        cells: Tensor = rows.unflatten(1, (self.side**2, self.side))
        return cells

    def _digits(self, rows: Tensor) -> Tensor:
        """Return the digit of each cell (B, cells), 0 where none is given."""
        cells = self._cells(rows)
        return torch.where((cells > 0).any(2), cells.argmax(2) + 1, 0)

    def _code(self, digits: Tensor) -> Tensor:
        every = torch.arange(1, self.side + 1, device=digits.device)
        return 2 * (digits[..., None] == every).flatten(1).float() - 1
