"""The contract of every task: problems x with answers y*, drawn in batches on a device."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from ired_interp.diffusion.rules import CONTINUOUS, Published
from ired_interp.energy.held import FixedEntries
from ired_interp.errors import InputError
from ired_interp.memory import refuse_beyond_memory
from ired_interp.registry import Registered
from ired_interp.schedule import Schedule
from ired_interp.tasks.posterior import ExactPosterior, Posterior

Variant = str  # one of a task's `variants`
Solve = Callable[[Tensor], Tensor]
Pictured = dict[str, tuple[tuple[str, ...], Tensor]]  # by name: dims and values
WrongAnswers = Literal["corrected", "published"]


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


class Measure(NamedTuple):
    """A share or mean over problems: mean over C classes of Σ_problems part / Σ_problems whole.

    Attributes
    ----------
    part, whole : Tensor (B,) or (B, C)
        Of each problem (and class); a class that no problem has is left out.
    """

    part: Tensor
    whole: Tensor


class Task(Registered, ABC):
    """A family of problems.

    Dimensions, `sample` and `value_range` are all that a task must have.

    Attributes
    ----------
    name : str
        What it is called in messages and results.
    condition_dim, solution_dim : int
        d_x and d_y, entries of a problem and of its solution, of the variant "same".
    variants : tuple of str
        Its distributions, "same" first.
    steps : int
        T, inner steps per landscape with which its problems are solved unless told otherwise.
    posterior_is_cheap : bool
        Whether the exact energy is scored beside a model on a whole test set.
    matrix_solutions : bool
        Whether solutions of n² entries are n × n matrices, with a rank.
    published : Published
        The constants with which the authors' code solves them.
    """

    condition_dim: int
    solution_dim: int
    variants: ClassVar[tuple[str, ...]] = ("same", "harder")
    steps: ClassVar[int] = 5
    posterior_is_cheap: ClassVar[bool] = True
    matrix_solutions: ClassVar[bool] = True
    published: ClassVar[Published] = CONTINUOUS

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
            "same", or another of `variants`: a shifted distribution on which generalisation is
            measured.

        Returns
        -------
        Problems
            x (B, d_x) and y (B, d_y).
        """

    def sample_training(
        self, count: int, generator: torch.Generator, variant: Variant = "same"
    ) -> Problems:
        """Draw problems to train on, as `sample`; others where some are set apart for tests."""
        return self.sample(count, generator, variant)

    def sample_share(
        self, count: int, generator: torch.Generator, variant: Variant, part: int, parts: int
    ) -> Problems:
        """Return rows part, part + parts, … of `sample_training`; a task may answer these alone."""
        x, y = self.sample_training(count, generator, variant)
        return Problems(x[part::parts], y[part::parts])

    @abstractmethod
    def value_range(self, variant: Variant) -> float:
        """Return a bound on the entries of answers, or one exceeded less than once in a million."""

    def sizes(self, variant: Variant) -> tuple[int, int]:
        """Return d_x and d_y of a variant; those of "same" unless its problems differ in size."""
        return self.condition_dim, self.solution_dim

    def check_variant(self, variant: Variant) -> None:
        """Refuse a variant that the task has not.

        Parameters
        ----------
        variant : str
            Its name.

        Raises
        ------
        InputError
            Unless it is one of `variants`.
        """
        if variant not in self.variants:
            raise InputError(
                f"data variant {variant!r} does not exist; task {self.name} has "
                f"{', '.join(self.variants)}."
            )

    def fixed(self, x: Tensor) -> FixedEntries | None:
        """Return the entries of solutions that problems x (B, d_x) give, None where none are."""
        return None

    def score_weights(self, x: Tensor, y: Tensor) -> Tensor | None:
        """Return weights (B, d_y) of the score term's entries; None is 1 where nothing is given."""
        fixed = self.fixed(x)
        return None if fixed is None else (~fixed.mask).to(y.dtype)

    def wrong_answers(self, problems: Problems, generator: torch.Generator) -> Tensor | None:
        """Draw wrong answers (B, d_y) for the contrast; None lets inner steps find them."""
        return None

    def nearest_answer(self, x: Tensor, y: Tensor, solution: Tensor) -> Tensor:
        """Return the right answer (B, d_y) nearest to solutions; y where each problem has one."""
        return y

    def measures(self, x: Tensor, y: Tensor, solution: Tensor) -> dict[str, Measure]:
        """Say how good solutions (B, d_y) are besides their squared error, always by equal names.

        Parameters
        ----------
        x, y : Tensor (B, d_x), Tensor (B, d_y)
            Problems and answers.
        solution : Tensor (B, d_y)
            What was found.

        Returns
        -------
        dict of str to Measure
            By name; the first is logged at every validation.
        """
        return {}

    def rollout_measures(self, x: Tensor, solve: Solve) -> dict[str, Measure]:
        """Say how far a solver comes that acts on its solutions and solves again, in tests alone.

        Parameters
        ----------
        x : Tensor (B, d_x)
            Problems.
        solve : callable
            Problems (B, d_x) to solutions (B, d_y).

        Returns
        -------
        dict of str to Measure
            By name; here nothing.
        """
        return {}

    def pictured(self, x: Tensor, y: Tensor, solutions: Tensor) -> Pictured:
        """Return what a person would look at: problems, answers, and solutions along inference.

        Parameters
        ----------
        x, y : Tensor (B, d_x), Tensor (B, d_y)
            Problems and answers.
        solutions : Tensor (K, B, d_y)
            As of each landscape visited.

        Returns
        -------
        dict of str to (dims, Tensor)
            Small integers, kept with a trajectory; dims begin with "landscape", "pictured" (for K
            and B) or "pictured". Here nothing.
        """
        return {}

    @property
    def exact_rank(self) -> int | None:
        """The rank of every answer as a square matrix where it is exactly known, else None."""
        return None

    def visible(self, x: Tensor) -> Tensor | None:
        """Return which entries of solutions problems x (B, d_x) show, None where they show none.

        Unlike `fixed` ones they are not held: a model must find for itself that they are certain,
        and the Hessian of a perfect one is diag(1/σ_k) in their rows and columns.
        """
        return None

    def eigenvectors(self, x: Tensor) -> Tensor | None:
        """Return vectors (B, n, n), columns that x and its answer have as eigenvectors.

        Orthonormal, those of the answer's largest eigenvalues first; None where there are none.
        """
        return None

    def posterior(self, x: Tensor) -> ExactPosterior | None:
        """Return the posterior of y given x (B, d_x) where it is known in closed form, else None.

        A Gaussian or a single point (`Posterior`), finitely many answers (`FinitePosterior`), or
        anything else that has the methods of `ExactPosterior`.
        """
        return None

    def log_posterior(self, x: Tensor, y: Tensor, k: Tensor, schedule: Schedule) -> Tensor:
        """Compute log p(y_k | x) + const, the constant being that of each problem and landscape.

        Parameters
        ----------
        x : Tensor (B, d_x)
            Problems.
        y : Tensor (B, d_y)
            Noised answers y_k = √ᾱ_k y* + σ_k ε.
        k : Tensor (B,)
            Landscapes.
        schedule : Schedule
            Of them.

        Returns
        -------
        Tensor (B,)
            −E/σ_k of the energy E of a perfect model.

        Raises
        ------
        InputError
            If the posterior is not known.
        """
        posterior = self.posterior(x)
        if posterior is None:
            raise InputError(f"the posterior of task {self.name} is not known in closed form.")
        energy = posterior.energy(posterior.at(schedule, k, y.dtype), y)
        return -energy / schedule.noise[k].to(y.dtype)

    def trivial(self, x: Tensor) -> dict[str, Tensor]:
        """Solutions (B, d_y) that need no learning, by name, to read an error against."""
        return {}

    def known_floors(self, variant: Variant) -> dict[str, float]:
        """Mean squared errors known from elsewhere for exactly these parameters, by name."""
        return {}

    def check_count(self, count: int, what: str) -> None:
        """Refuse to draw more problems at once than memory holds.

        Parameters
        ----------
        count : int
            Problems drawn at once.
        what : str
            What they are, in the message.

        Raises
        ------
        InputError
            If they take more than the memory of this machine.
        """
        entries = self.condition_dim + self.solution_dim
        refuse_beyond_memory(4 * count * entries, f"{what}: {count} problems of {entries} entries")


def point(mean: Tensor) -> Posterior:
    """Return the posterior of a task with one solution (B, d_y) per problem."""
    d = mean.shape[1]
    return Posterior(mean, torch.eye(d, dtype=mean.dtype, device=mean.device), mean.new_zeros(d))
