"""The contract of every task: problems x with answers y*, drawn in batches on a device."""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from ired_interp.errors import InputError

Variant = Literal["same", "harder"]
VARIANTS: tuple[Variant, ...] = ("same", "harder")


class Problems(NamedTuple):
    """Conditions x (B, d_x) and their answers y* (B, d_y)."""

    x: Tensor
    y: Tensor


class Posterior(NamedTuple):
    """p(y | x) = N(mean, basis · diag(variances) · basisᵀ): mean (B, d_y), basis (d_y, d_y), variances (d_y,), zero where x fixes y."""

    mean: Tensor
    basis: Tensor
    variances: Tensor


class Task(ABC):
    """A family of problems. `n` sets the size; "harder" is the shifted distribution on which generalisation is measured."""

    name: ClassVar[str]
    condition_dim: int
    solution_dim: int

    @abstractmethod
    def sample(self, count: int, generator: torch.Generator, variant: Variant = "same") -> Problems:
        """Draw `count` problems on the generator's device."""

    @abstractmethod
    def value_range(self, variant: Variant) -> float:
        """A bound on the entries of true answers; where they have none, one that they exceed less than once in a million."""

    def posterior(self, x: Tensor) -> Posterior | None:
        """The exact posterior of y given x (B, d_x) where it is a Gaussian (or a point), else None."""
        return None

    def trivial(self, x: Tensor) -> dict[str, Tensor]:
        """Answers (B, d_y) that need no learning, by name."""
        return {}

    def known_floors(self, variant: Variant) -> dict[str, float]:
        """Mean squared errors known from elsewhere for exactly these parameters, by name."""
        return {}


class MatrixTask(Task):
    """A task on n × n matrices, flattened row by row."""

    conditions: ClassVar[int] = 1

    def __init__(self, n: int = 20) -> None:
        if n < 1:
            raise InputError(f"task {self.name} got n={n}; matrices need n of at least 1.")
        self.n = n
        self.condition_dim = self.conditions * n * n
        self.solution_dim = n * n


def check_variant(variant: str) -> None:
    """Raise an InputError unless `variant` is "same" or "harder"."""
    if variant not in VARIANTS:
        raise InputError(
            f"data variant {variant!r} does not exist; choose from {', '.join(VARIANTS)}."
        )


def point(mean: Tensor) -> Posterior:
    """The posterior of a task with one answer (B, d_y) per problem."""
    d = mean.shape[1]
    return Posterior(mean, torch.eye(d, dtype=mean.dtype, device=mean.device), mean.new_zeros(d))
