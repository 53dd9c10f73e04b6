"""Reverse diffusion: a draw of the solution by ancestral sampling from predicted noise."""

from collections.abc import Callable

import torch
from torch import Tensor

from ired_interp.schedule import Schedule


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
    predict_noise : callable
        (y_k (B, d_y), k) to ε̂ (B, d_y).
    schedule : Schedule
        Of K landscapes.
    y : Tensor (B, d_y)
        Start, N(0, I).
    bound : float
        Predicted solutions are kept within ±bound.
    generator : torch.Generator, optional
        Of the noise.

    Returns
    -------
    Tensor (K, B, d_y)
        Predicted solution of each landscape, K − 1 first.

    References
    ----------
    Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic Models", 2020, Algorithm 2 and eq. 6–7.
    """
    solutions = []
    for k in reversed(range(schedule.landscapes)):
        noise = predict_noise(y, k)
        solution = schedule.inverse_signal[k] * y - schedule.noise_to_signal[k] * noise
        solution = solution.clamp(-bound, bound)
        solutions.append(solution)
        if k > 0:
            beta, previous = schedule.beta[k], schedule.noise[k - 1].square()
            variance = schedule.noise[k].square()
            mean = (
                schedule.signal[k - 1] * beta * solution + (1 - beta).sqrt() * previous * y
            ) / variance
            eps = torch.randn(y.shape, generator=generator, device=y.device, dtype=y.dtype)
            y = mean + (beta * previous / variance).sqrt() * eps
    return torch.stack(solutions)
