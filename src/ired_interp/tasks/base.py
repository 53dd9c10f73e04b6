"""The contract of every task: problems x with answers y*, drawn in batches on a device."""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from ired_interp.errors import InputError
from ired_interp.registry import Registered
from ired_interp.schedule import Schedule

Variant = Literal["same", "harder"]
VARIANTS: tuple[Variant, ...] = ("same", "harder")


class Problems(NamedTuple):
    """Problems: conditions x with their answers y*.

    Attributes
    ----------
    x : Tensor (B, d_x)
        Conditions.
    y : Tensor (B, d_y)
        Answers, the true solutions.
    """

    x: Tensor
    y: Tensor


class Posterior(NamedTuple):
    """What x says of y: p(y | x) = N(mean, basis · diag(variances) · basisᵀ).

    Attributes
    ----------
    mean : Tensor (B, d_y)
        The most probable solution of each problem.
    basis : Tensor (d_y, d_y)
        Orthonormal directions, as columns.
    variances : Tensor (d_y,)
        Along them; zero where x fixes y.
    """

    mean: Tensor
    basis: Tensor
    variances: Tensor

    def curvature(self, schedule: Schedule) -> Tensor:
        """Eigenvalues of the Hessian in y of a perfectly trained energy, along `basis`.

        Parameters
        ----------
        schedule : Schedule
            Of K landscapes.

        Returns
        -------
        Tensor (K, d_y)
            σ_k/(ᾱ_k s + σ_k²) for each variance s, in float64; the energy's unit is that whose
            gradient is E[ε | y_k].
        """
        signal, noise = (s.double()[:, None] for s in (schedule.signal, schedule.noise))
        return noise / (signal.square() * self.variances.double() + noise.square())


class Task(Registered, ABC):
    """A family of problems.

    Attributes
    ----------
    name : str
        What it is called in messages and results.
    condition_dim, solution_dim : int
        d_x and d_y, entries of a problem and of its solution.
    """

    condition_dim: int
    solution_dim: int

    @abstractmethod
    def sample(self, count: int, generator: torch.Generator, variant: Variant = "same") -> Problems:
        """Draw problems.

        Parameters
        ----------
        count : int
            How many, B.
        generator : torch.Generator
            The only source of randomness; the problems lie on its device.
        variant : str
            "same", or "harder": the shifted distribution on which generalisation is measured.

        Returns
        -------
        Problems
            x (B, d_x) and y (B, d_y).
        """

    @abstractmethod
    def value_range(self, variant: Variant) -> float:
        """Return a bound on the entries of answers, or one exceeded less than once in a million."""

    @property
    def exact_rank(self) -> int | None:
        """The rank of every answer as a square matrix where it is exactly known, else None."""
        return None

    def posterior(self, x: Tensor) -> Posterior | None:
        """Return the posterior of y given x (B, d_x) where it is Gaussian or a point, else None."""
        return None

    def trivial(self, x: Tensor) -> dict[str, Tensor]:
        """Solutions (B, d_y) that need no learning, by name, to read an error against."""
        return {}

    def known_floors(self, variant: Variant) -> dict[str, float]:
        """Mean squared errors known from elsewhere for exactly these parameters, by name."""
        return {}


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


def check_variant(variant: str) -> None:
    """Refuse a variant that does not exist.

    Parameters
    ----------
    variant : str
        Its name.

    Raises
    ------
    InputError
        Unless it is "same" or "harder".
    """
    if variant not in VARIANTS:
        raise InputError(
            f"data variant {variant!r} does not exist; choose from {', '.join(VARIANTS)}."
        )


def point(mean: Tensor) -> Posterior:
    """Return the posterior of a task with one solution (B, d_y) per problem."""
    d = mean.shape[1]
    return Posterior(mean, torch.eye(d, dtype=mean.dtype, device=mean.device), mean.new_zeros(d))
