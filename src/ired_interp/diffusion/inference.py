"""Annealed minimisation: from noise down the K landscapes to a solution."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ired_interp.diffusion.ancestral import ancestral_sample
from ired_interp.diffusion.rules import Descent, Inference
from ired_interp.energy import Energy
from ired_interp.schedule import Schedule


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
        y = energy.hold(context, y)
        if settings.jump:
            noise = energy.evaluate_with_gradient(context, y)[1]
            solution = schedule.inverse_signal[k] * y - schedule.noise_to_signal[k] * noise
            y = energy.hold(context, signal * solution.clamp(-rule.bound, rule.bound))
        iterates = descend(energy, context, y, signal, step, settings.steps, rule)
        solution = rule.clamp_final(iterates[-1].y, signal) / signal
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
