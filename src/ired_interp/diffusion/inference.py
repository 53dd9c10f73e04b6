"""Annealed minimisation: from noise down the K landscapes to a solution."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from ired_interp.diffusion.ancestral import ancestral_sample
from ired_interp.diffusion.schedule import Schedule
from ired_interp.energy import Energy
from ired_interp.errors import InputError

Preset = Literal["corrected", "published"]


@dataclass(frozen=True)
class Inference:
    """How `solve` minimises.

    Parameters
    ----------
    preset : str
        "corrected", this project's rules, or "published", the authors' code to the letter
        (solutions kept within ±2, factor 2 from the second inner step on, NaN energies accepted,
        the last jump's scale left in y).
    steps : int
        T, inner steps per landscape.
    jump : bool
        Begin each landscape with the jump y ← √ᾱ_k ŷ to the predicted solution ŷ.
    gradient_descent : bool
        False replaces the inner steps by ancestral sampling (reverse diffusion), the first row of
        the paper's ablation.
    later_factor : float, optional
        Factor on η_k from the second inner step of a landscape on; None takes the preset's (1 or
        2).
    bound : float, optional
        Solutions are kept within ±bound; None takes the preset's: 2 where "published", else the
        value range of the problems at hand.

    Raises
    ------
    InputError
        If a setting does not exist, or is out of range.
    """

    preset: Preset = "corrected"
    steps: int = 5
    jump: bool = True
    gradient_descent: bool = True
    later_factor: float | None = None
    bound: float | None = None

    def __post_init__(self) -> None:
        if self.preset not in ("corrected", "published"):
            raise InputError(
                f"inference preset {self.preset!r} does not exist; choose 'corrected' or "
                "'published'."
            )
        if self.steps < 0:
            raise InputError(f"inference.steps is {self.steps}; it must be 0 or more.")
        if self.bound is not None and not self.bound > 0:
            raise InputError(
                f"inference.bound is {self.bound}; it must be positive ('.inf' for no bound)."
            )

    @property
    def descent(self) -> "Descent":
        """The rule of the inner steps; without a bound where none is set."""
        published = self.preset == "published"
        return Descent(
            later_factor=(2.0 if published else 1.0)
            if self.later_factor is None
            else self.later_factor,
            bound=(2.0 if published else math.inf) if self.bound is None else self.bound,
            accept_nan=published,
        )

    def within(self, value_range: float | None) -> "Inference":
        """Return the settings for answers that lie within ±value_range (None: not known)."""
        if self.bound is not None or self.preset == "published" or value_range is None:
            return self
        return replace(self, bound=value_range)


@dataclass(frozen=True)
class Descent:
    """The rule of the inner steps: step factor, bound on y/√ᾱ_k, acceptance of NaN energies."""

    later_factor: float = 1.0
    bound: float = math.inf
    accept_nan: bool = False

    def clamp(self, y: Tensor, signal: Tensor) -> Tensor:
        """Keep y (B, d_y) within ±bound·√ᾱ_k, √ᾱ_k given per row as (B, 1)."""
        if self.bound == math.inf:
            return y
        limit = self.bound * signal
        return torch.maximum(torch.minimum(y, limit), -limit)

    def accepts(self, new: Tensor, old: Tensor) -> Tensor:
        """Tell the rows (B,) whose new energy is kept."""
        return ~(new > old) if self.accept_nan else (new <= old) & new.isfinite()


class Iterate(NamedTuple):
    """A state of the inner minimisation.

    Attributes
    ----------
    y : Tensor (B, d_y)
        Where it stands.
    energy : Tensor (B,)
        Energies there.
    accepted : Tensor (B,)
        Which rows the last step moved.
    """

    y: Tensor
    energy: Tensor
    accepted: Tensor


def descend(
    energy: Energy, context: Any, y: Tensor, signal: Tensor, step: Tensor, steps: int, rule: Descent
) -> list[Iterate]:
    """Take inner steps in fixed landscapes; a row moves only where its energy does not rise.

    The gradient at a candidate is taken along with its energy, so that the accept test costs no
    evaluation of its own.

    Parameters
    ----------
    energy : Energy
        What to minimise.
    context : Any
        `energy.condition(x, k)`.
    y : Tensor (B, d_y)
        Start.
    signal, step : Tensor (B, 1)
        √ᾱ_k and η_k of each row.
    steps : int
        T.
    rule : Descent
        Step factors, bound and acceptance.

    Returns
    -------
    list of Iterate
        T + 1 of them, the start first.
    """
    if steps == 0:
        current = energy.evaluate(context, y)
        return [Iterate(y, current, torch.ones_like(current, dtype=torch.bool))]
    current, gradient = energy.evaluate_with_gradient(context, y)
    iterates = [Iterate(y, current, torch.ones_like(current, dtype=torch.bool))]
    for i in range(steps):
        size = step if i == 0 else rule.later_factor * step
        moved = rule.clamp(y - size * gradient, signal)
        last = i == steps - 1
        new, new_gradient = (
            (energy.evaluate(context, moved), gradient)
            if last
            else energy.evaluate_with_gradient(context, moved)
        )
        accepted = rule.accepts(new, current)
        y = torch.where(accepted[:, None], moved, y)
        current = torch.where(accepted, new, current)
        gradient = torch.where(accepted[:, None], new_gradient, gradient)
        iterates.append(Iterate(y, current, accepted))
    return iterates


@dataclass(frozen=True)
class Solution:
    """What `solve` returns.

    Attributes
    ----------
    y : Tensor (B, d_y)
        The solution.
    trajectory : Tensor (K, B, d_y)
        The solution as of each landscape, K − 1 first, 0 last.
    energies : Tensor (K, T + 1, B)
        Energy after each inner step, the start of the landscape first.
    accepted : Tensor (K, T, B)
        Which inner steps moved.
    """

    y: Tensor
    trajectory: Tensor
    energies: Tensor
    accepted: Tensor


class LandscapeMinimisation(NamedTuple):
    """One landscape of a minimisation.

    Attributes
    ----------
    k : int
        Its index.
    iterates : list of Iterate
        T + 1 of them.
    solution : Tensor (B, d_y)
        ŷ that it ends with.
    """

    k: int
    iterates: list[Iterate]
    solution: Tensor


def anneal(
    energy: Energy, schedule: Schedule, x: Tensor, y: Tensor, settings: Inference
) -> Iterator[LandscapeMinimisation]:
    """Visit the landscapes K − 1 … 0 by gradient descent, handing out each one's iterates.

    Parameters
    ----------
    energy : Energy
        What to minimise.
    schedule : Schedule
        Of K landscapes.
    x : Tensor (B, d_x)
        Problems.
    y : Tensor (B, d_y)
        Start.
    settings : Inference
        How.

    Yields
    ------
    LandscapeMinimisation
        Of each landscape.

    References
    ----------
    Du, Mao, Tenenbaum, "Learning Iterative Reasoning through Energy Diffusion", ICML 2024
    (arXiv 2406.11179), Algorithm 2, with the jump of the published code.
    """
    rule = settings.descent
    for k in reversed(range(schedule.landscapes)):
        rows = torch.full((len(y),), k, device=y.device)
        signal, step = schedule.signal[rows, None], schedule.step[rows, None]
        context = energy.condition(x, rows)
        if settings.jump:
            noise = energy.evaluate_with_gradient(context, y)[1]
            solution = schedule.inverse_signal[k] * y - schedule.noise_to_signal[k] * noise
            y = signal * solution.clamp(-rule.bound, rule.bound)
        iterates = descend(energy, context, y, signal, step, settings.steps, rule)
        solution = rule.clamp(iterates[-1].y, signal) / signal
        yield LandscapeMinimisation(k, iterates, solution)
        y = schedule.signal[k - 1] * solution


def solve(
    energy: Energy,
    schedule: Schedule,
    x: Tensor,
    start: Tensor,
    settings: Inference,
    generator: torch.Generator | None = None,
) -> Solution:
    """Solve problems x (B, d_x) from a start (B, d_y); see `Solution` and `Inference`."""
    if not settings.gradient_descent:
        return _sample(energy, schedule, x, start, settings, generator)
    solutions, energies, accepted = [], [], []
    for landscape in anneal(energy, schedule, x, start, settings):
        solutions.append(landscape.solution)
        energies.append(torch.stack([iterate.energy for iterate in landscape.iterates]))
        accepted.append(torch.stack([iterate.accepted for iterate in landscape.iterates])[1:])
    y = solutions[-1]
    if settings.preset == "published":
        y = schedule.signal[0] * y
    return Solution(y, torch.stack(solutions), torch.stack(energies), torch.stack(accepted))


def _sample(
    energy: Energy,
    schedule: Schedule,
    x: Tensor,
    start: Tensor,
    settings: Inference,
    generator: torch.Generator | None,
) -> Solution:
    energies = []

    def predict_noise(y: Tensor, k: int) -> Tensor:
        current, gradient = energy.energy_and_gradient(x, y, k)
        energies.append(current)
        return gradient

    solutions = ancestral_sample(predict_noise, schedule, start, settings.descent.bound, generator)
    every = torch.stack(energies)[:, None]
    return Solution(
        solutions[-1], solutions, every, torch.ones_like(every, dtype=torch.bool)[:, :0]
    )
