"""Collections of Sudoku puzzles with their solutions: dug and kept, or read from others' files."""

import csv
import math
import os
import random
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ired_interp.errors import InputError
from ired_interp.tasks.sudoku_solver import dig, full_board, solutions, units
from ired_interp.terminal import log, track

ONE_IN = 10  # puzzles is set apart for tests

_CHUNK = 250  # puzzles dug in one piece, by one process, from one seed
_FEW = 1000  # below which no further processes are started
_TRIES = 40  # to reach the wanted number of givens, before another is drawn


class Boards(NamedTuple):
    """Puzzles and solutions (N, cells), int8, digits from 1 on; an empty cell is 0."""

    puzzles: Tensor
    solutions: Tensor

    def part(self, rows: slice) -> "Boards":
        """Return some of them."""
        return Boards(self.puzzles[rows], self.solutions[rows])

    def to(self, device: torch.device) -> "Boards":
        """Return them on a device."""
        return Boards(self.puzzles.to(device), self.solutions.to(device))


def cache_folder() -> Path:
    """Return the folder where dug puzzles are kept, $XDG_CACHE_HOME/ired-interp or ~/.cache/…."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ired-interp"


def set_apart(count: int) -> int:
    """Return the first of so many puzzles that is set apart for tests, as all after it are."""
    return count - max(1, count // ONE_IN)


def dug_boards(side: int, low: int, high: int, count: int, seed: int, begin: int = 0) -> Boards:
    """Dig puzzles with one solution and low … high givens, uniformly; once, then from the cache.

    The same whatever the number of processes, and whether all are dug or only the last. With
    low = high = 0, puzzles from which no given can be taken.

    Parameters
    ----------
    side : int
        Digits, 4 or 9.
    low, high : int
        Range of givens.
    count : int
        How many puzzles.
    seed : int
        Of the draw.
    begin : int
        The first of them that is needed; those before it are not dug.

    Returns
    -------
    Boards
        On the CPU.
    """
    name = f"sudoku-{side}x{side}-{low}-{high}-{count}-{seed}"
    path, left_out = cache_folder() / f"{name}.npz", 0
    if begin and not path.exists():
        left_out = begin - begin % _CHUNK
        path = cache_folder() / f"{name}-from-{left_out}.npz"
    if not path.exists():
        starts = range(left_out, count, _CHUNK)
        # Of its own for each range of givens, so that no two share a full board.
        seeds = [f"{side} {low} {high} {seed} {s}" for s in starts]
        counts = [min(_CHUNK, count - s) for s in starts]
        jobs = [(side, low, high, *job) for job in zip(counts, seeds, strict=True)]
        if sum(counts) < _FEW:
            pieces = [_dig_chunk(job) for job in jobs]
        else:
            log(f"digging {sum(counts)} puzzles of {low} to {high} givens, once; they go to {path}")
            workers = min(len(jobs), os.cpu_count() or 1)
            with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
                dug = pool.map(_dig_chunk, jobs)
                pieces = [next(dug) for _ in track(jobs, "digging")]
        puzzles, full = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".npz", delete=False) as file:
            np.savez_compressed(file, puzzles=puzzles, solutions=full)
        Path(file.name).replace(path)
    with np.load(path) as kept:
        boards = Boards(torch.from_numpy(kept["puzzles"]), torch.from_numpy(kept["solutions"]))
    return boards.part(slice(begin - left_out, None))


def _dig_chunk(job: tuple[int, int, int, int, str]) -> tuple[np.ndarray, np.ndarray]:
    side, low, high, count, seed = job
    rng = random.Random(seed)
    puzzles: list[list[int]] = []
    full: list[list[int]] = []
    while len(puzzles) < count:
        givens = rng.randint(low, high)
        for _ in range(_TRIES):
            board = full_board(side, rng)
            puzzle = dig(board, givens, rng)
            if high == 0 or len(puzzle) - puzzle.count(0) == givens:
                puzzles.append(puzzle)
                full.append(board)
                break
    return np.array(puzzles, dtype=np.int8), np.array(full, dtype=np.int8)


def parse_board(text: str, side: int, where: str) -> list[int]:
    """Read a board written as one character a cell, 0 or . for empty.

    Parameters
    ----------
    text : str
        The board.
    side : int
        Digits.
    where : str
        What the message calls it.

    Returns
    -------
    list of int
        Digits, 0 where empty.

    Raises
    ------
    InputError
        If it is no board, or a digit stands twice in a row, column or box.
    """
    digits = "".join(map(str, range(1, side + 1)))
    text = text.strip().replace(".", "0")
    if len(text) != side**2 or set(text) - {*digits, "0"}:
        raise InputError(
            f"{where} is no {side} × {side} board; expected {side**2} characters of {digits}, "
            "0 or . where empty."
        )
    return list(map(int, text))


def solved(board: list[int], where: str) -> list[int]:
    """Return the one solution of a board.

    Parameters
    ----------
    board : list of int
        Digits, 0 where empty.
    where : str
        What the message calls it.

    Returns
    -------
    list of int
        The full board.

    Raises
    ------
    InputError
        If it has none, or more than one.
    """
    found = solutions(board)
    if len(found) != 1:
        fault = (
            "has no solution; one of its digits is wrong"
            if not found
            else ("has more than one solution; give more digits")
        )
        raise InputError(f"{where} {fault}.")
    return found[0]


def seventeen_clues(path: Path) -> Boards:
    """Read a list of 17-clue puzzles, one of 81 characters a line, and solve them.

    Raises
    ------
    InputError
        If a line is no such puzzle.
    """
    puzzles = []
    for number, line in enumerate(_lines(path), 1):
        board = parse_board(line, 9, f"line {number} of {path}")
        puzzles.append(board)
    full = [solved(board, f"line {i} of {path}") for i, board in enumerate(puzzles, 1)]
    return _boards(puzzles, full)


def rrn_boards(path: Path) -> Boards:
    """Read RRN's csv: a puzzle and its solution, 81 characters each, a line.

    Raises
    ------
    InputError
        If a line is anything else, or its solution contradicts its givens.
    """
    puzzles, full = [], []
    for number, row in enumerate(csv.reader(_lines(path)), 1):
        where = f"line {number} of {path}"
        if len(row) != 2:
            raise InputError(f"{where} has {len(row)} columns; expected puzzle,solution.")
        puzzle, solution = (parse_board(text, 9, where) for text in row)
        puzzles.append(puzzle)
        full.append(solution)
    return _agreeing(_boards(puzzles, full), path)


def satnet_boards(folder: Path) -> Boards:
    """Read SATNet's features.pt and labels.pt, (N, 9, 9, 9) of 0 and 1 each.

    Raises
    ------
    InputError
        If they are missing or anything else.
    """
    parts = []
    for name in ("features.pt", "labels.pt"):
        try:
            value = torch.load(folder / name, map_location="cpu", weights_only=True)
        except Exception:
            raise InputError(
                f"{folder / name} cannot be read as a tensor; give the folder of SATNet's "
                "features.pt and labels.pt."
            ) from None
        if not isinstance(value, Tensor) or value.shape[1:] != (9, 9, 9):
            raise InputError(f"{folder / name} is no tensor of (N, 9, 9, 9) boards.")
        given = value > 0.5
        parts.append(torch.where(given.any(3), given.float().argmax(3) + 1, 0))
    if len(parts[0]) != len(parts[1]):
        raise InputError(f"{folder} has {len(parts[0])} puzzles, but {len(parts[1])} solutions.")
    puzzles, full = (part.flatten(1).to(torch.int8) for part in parts)
    return _agreeing(Boards(puzzles, full), folder)


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text().split()
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path} cannot be read as text; check the path.") from None
    if not lines:
        raise InputError(f"{path} is empty; expected one board a line.")
    return lines


def _boards(puzzles: list[list[int]], full: list[list[int]]) -> Boards:
    return Boards(torch.tensor(puzzles, dtype=torch.int8), torch.tensor(full, dtype=torch.int8))


def _agreeing(boards: Boards, path: Path) -> Boards:
    puzzles, full = boards
    side = math.isqrt(full.shape[1])
    lines = full[:, torch.tensor(units(side))].sort(2).values  # (N, units, side)
    faults = {
        "is no full board without a digit twice in a row, column or box": (
            (lines != torch.arange(1, side + 1)).flatten(1).any(1)
        ),
        "contradicts a given": ((puzzles > 0) & (puzzles != full)).any(1),
    }
    for fault, wrong in faults.items():
        if wrong.any():
            first = int(wrong.float().argmax())
            raise InputError(
                f"board {first + 1} of {path} has a solution that {fault}; take the file as it was "
                "published."
            )
    return boards
