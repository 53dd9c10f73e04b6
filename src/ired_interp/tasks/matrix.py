"""Tasks on square matrices."""

from typing import ClassVar

from ired_interp.errors import InputError
from ired_interp.tasks.base import Task


class MatrixTask(Task):
    """A task on n × n matrices, flattened row by row.

    Parameters
    ----------
    n : int
        Rows and columns.

    Raises
    ------
    InputError
        If n is not positive.
    """

    conditions: ClassVar[int] = 1  # matrices that make up a problem

    def __init__(self, n: int = 20) -> None:
        if n < 1:
            raise InputError(f"task {self.name} got n={n}; matrices need n of at least 1.")
        self.n = n
        self.condition_dim = self.conditions * n * n
        self.solution_dim = n * n
