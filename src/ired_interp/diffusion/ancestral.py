"""Reverse diffusion: a draw of the answer by ancestral sampling from predicted noise."""

from collections.abc import Callable

import torch
from torch import Tensor

from ired_interp.diffusion.schedule import Schedule


def ancestral_sample(
    predict_noise: Callable[[Tensor, int], Tensor],
    schedule: Schedule,
    y: Tensor,
    bound: float,
    generator: torch.Generator | None,
) -> Tensor:
    """Sample down the landscapes K − 1 … 0.

    Parameters
    ----------
    predict_noise : (y_k (B, d_y), k) to ε̂ (B, d_y).
    y : (B, d_y) start, N(0, I).
    bound : predicted answers are kept within ±bound.

    Returns
    -------
    (K, B, d_y) predicted answer of each landscape, K − 1 first.

    References
    ----------
    Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic Models", 2020, Algorithm 2 and eq. 6–7.
    """
    answers = []
    for k in reversed(range(schedule.landscapes)):
        answer = schedule.inverse_signal[k] * y - schedule.noise_to_signal[k] * predict_noise(y, k)
        answer = answer.clamp(-bound, bound)
        answers.append(answer)
        if k > 0:
            beta, previous = schedule.beta[k], schedule.noise[k - 1].square()
            variance = schedule.noise[k].square()
            mean = (
                schedule.signal[k - 1] * beta * answer + (1 - beta).sqrt() * previous * y
            ) / variance
            eps = torch.randn(y.shape, generator=generator, device=y.device, dtype=y.dtype)
            y = mean + (beta * previous / variance).sqrt() * eps
    return torch.stack(answers)
