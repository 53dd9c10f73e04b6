"""The training objective: denoising score matching plus a contrast of energies."""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ired_interp.diffusion.inference import descend
from ired_interp.diffusion.rules import Descent
from ired_interp.energy import Energy
from ired_interp.errors import InputError
from ired_interp.schedule import Schedule

Negatives = Literal["corrected", "published"]
Weighting = Literal["noise", "answer"]


class Noise(NamedTuple):
    """Random numbers of a training step.

    Attributes
    ----------
    k : Tensor (B,)
        Landscapes.
    eps : Tensor (B, d_y)
        ε of the score term.
    contrast_eps : Tensor (B, d_y)
        ε′ of the contrastive term.
    """

    k: Tensor
    eps: Tensor
    contrast_eps: Tensor

    @classmethod
    def draw(
        cls, count: int, solution_dim: int, landscapes: int, generator: torch.Generator
    ) -> "Noise":
        """Draw for `count` problems, on the generator's device."""
        device = generator.device
        k = torch.randint(landscapes, (count,), generator=generator, device=device)
        eps, contrast_eps = torch.randn(2, count, solution_dim, generator=generator, device=device)
        return cls(k, eps, contrast_eps)


class Loss(NamedTuple):
    """Scalars: total = score + weight · contrast."""

    total: Tensor
    score: Tensor
    contrast: Tensor


@dataclass(frozen=True)
class Objective:
    """Score term + w · contrastive term (Du et al. 2024, Algorithm 1).

    Parameters
    ----------
    contrast_weight : float
        w; 0 leaves the contrastive term out (paper's ablation, last column).
    negative_steps : int
        Inner steps from the corrupted start to the negative; this and the rest do nothing for tasks
        that give wrong answers themselves.
    negative_noise : float
        Noise of that start, in units of σ_k.
    negative_bound : float
        Negatives are kept within ±this value (as solutions), as in the published code.
    negatives : {"corrected", "published"}
        "published" is the authors' code to the letter: factor 2 on the second inner step, and
        every row kept within the bound of the batch's first row, whatever its landscape.
    weighting : {"noise", "answer"}
        What squared errors of the score count as: errors of the noise, in every landscape alike; or
        "answer", where there is more noise than signal, errors of the answer, which are σ_k²/ᾱ_k
        times as large. Of the noise, an error of the answer hardly counts in smooth landscapes,
        where an energy in residual form must find the answer from the problem alone.

    Raises
    ------
    InputError
        If one of them is negative or no number, the bound is not positive, or there are no such
        negatives or weighting.

    References
    ----------
    Salimans & Ho, "Progressive distillation for fast sampling of diffusion models", 2022, for the
    weighting by the answer ("truncated SNR").
    """

    contrast_weight: float = 0.5
    negative_steps: int = 2
    negative_noise: float = 3.0
    negative_bound: float = 2.0
    negatives: Negatives = "corrected"
    weighting: Weighting = "noise"

    def __post_init__(self) -> None:
        for name in ("contrast_weight", "negative_steps", "negative_noise"):
            if not 0 <= (value := getattr(self, name)) < math.inf:
                raise InputError(f"objective has {name}={value}; expected a number of at least 0.")
        for name, known in (("negatives", Negatives), ("weighting", Weighting)):
            if (choice := getattr(self, name)) not in get_args(known):
                raise InputError(
                    f"objective.{name} is {choice!r}; choose one of {', '.join(get_args(known))}."
                )
        if not self.negative_bound > 0:
            raise InputError(
                f"objective has negative_bound={self.negative_bound}; it must be positive."
            )

    def landscape_weights(self, schedule: Schedule) -> Tensor | None:
        """Return the weights (K,) of the landscapes in the score term, None where all are 1."""
        if self.weighting == "noise":
            return None
        return schedule.noise_to_signal.square().clamp(min=1)

    def __call__(
        self,
        energy: Energy,
        schedule: Schedule,
        x: Tensor,
        y: Tensor,
        noise: Noise,
        weights: Tensor | None = None,
        wrong: Tensor | None = None,
    ) -> Loss:
        """Compute the loss.

        Parameters
        ----------
        energy : Energy
            E.
        schedule : Schedule
            Of its landscapes.
        x, y : Tensor (B, d_x), Tensor (B, d_y)
            Problems and answers.
        noise : Noise
            Random numbers.
        weights : Tensor (B, d_y) or (B, 1), optional
            Of the entries in the score term.
        wrong : Tensor (B, d_y), optional
            Wrong answers that the contrast turns away from; found by inner steps without them.

        Returns
        -------
        Loss
            Means over problems, and of the score term over all d_y entries.
        """
        context = energy.condition(x, noise.k)
        gradient = energy.evaluate_with_gradient(context, schedule.noised(y, noise.k, noise.eps))[1]
        squares = (gradient - noise.eps).square()
        score = (squares if weights is None else weights * squares).mean()
        if self.contrast_weight == 0:
            return Loss(score, score.detach(), torch.zeros_like(score))
        positive = schedule.noised(y, noise.k, noise.contrast_eps)
        if wrong is None:
            negative = self.negative(energy, schedule, context, y, noise)
        else:
            negative = schedule.noised(wrong, noise.k, noise.contrast_eps)
        contrast = F.softplus(
            energy.evaluate(context, positive) - energy.evaluate(context, negative)
        ).mean()
        return Loss(score + self.contrast_weight * contrast, score.detach(), contrast.detach())

    @torch.no_grad()
    def negative(
        self, energy: Energy, schedule: Schedule, context: object, y: Tensor, noise: Noise
    ) -> Tensor:
        """Find noised wrong solutions (B, d_y): a corrupted start, improved by a few steps."""
        signal, step = schedule.signal[noise.k, None], schedule.step[noise.k, None]
        start = schedule.noised(y, noise.k, self.negative_noise * noise.contrast_eps)
        published = self.negatives == "published"
        rule = Descent(later_factor=2.0 if published else 1.0, bound=self.negative_bound)
        bounded = signal[:1].expand_as(signal) if published else signal
        found = descend(energy, context, start, bounded, step, self.negative_steps, rule)[-1].y
        solution = (found / signal).clamp(-self.negative_bound, self.negative_bound)
        return schedule.noised(solution, noise.k, noise.contrast_eps)
