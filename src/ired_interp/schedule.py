"""The noise schedule: how much signal and noise each landscape holds, and its inner step size."""

import math

import torch
from torch import Tensor, nn

from ired_interp.errors import InputError

MOST_LANDSCAPES = 4000  # as Nichol & Dhariwal have at most


class Schedule(nn.Module):
    """Cosine schedule over K landscapes, computed in float64 and kept in float32.

    Parameters
    ----------
    landscapes : int
        K.

    Attributes
    ----------
    signal : Tensor (K,)
        √ᾱ_k.
    noise : Tensor (K,)
        σ_k = √(1 − ᾱ_k).
    step : Tensor (K,)
        η_k = β_k/σ_k, the inner step size.
    beta : Tensor (K,)
        β_k.
    inverse_signal : Tensor (K,)
        1/√ᾱ_k.
    noise_to_signal : Tensor (K,)
        σ_k/√ᾱ_k.

    Raises
    ------
    InputError
        If there is no landscape, or there are more than MOST_LANDSCAPES.

    References
    ----------
    Nichol & Dhariwal, "Improved Denoising Diffusion Probabilistic Models", 2021, eq. 17, s = 0.008.

    Examples
    --------
    >>> schedule = Schedule(landscapes=10)
    >>> (schedule.signal.square() + schedule.noise.square()).round(decimals=5).unique()
    tensor([1.])
    """

    signal: Tensor
    noise: Tensor
    step: Tensor
    beta: Tensor
    inverse_signal: Tensor
    noise_to_signal: Tensor

    def __init__(self, landscapes: int = 10) -> None:
        super().__init__()
        if not 1 <= landscapes <= MOST_LANDSCAPES:
            raise InputError(
                f"a schedule of {landscapes} landscapes was asked for; choose 1 to "
                f"{MOST_LANDSCAPES}, the longest of its reference."
            )
        self.landscapes = landscapes
        u = torch.linspace(0, 1, landscapes + 1, dtype=torch.float64)
        f = torch.cos((u + 0.008) / 1.008 * math.pi / 2).square()
        beta = (1 - f[1:] / f[:-1]).clamp(0, 0.999)
        alpha_bar = torch.cumprod(1 - beta, 0)
        noise = (1 - alpha_bar).sqrt()
        constants = {
            "signal": alpha_bar.sqrt(),
            "noise": noise,
            "step": beta / noise,
            "beta": beta,
            "inverse_signal": alpha_bar.rsqrt(),
            "noise_to_signal": (1 / alpha_bar - 1).sqrt(),
        }
        for name, value in constants.items():
            self.register_buffer(name, value.float(), persistent=False)

    def noised(self, y: Tensor, k: Tensor, eps: Tensor) -> Tensor:
        """Return √ᾱ_k y + σ_k ε for y, ε (B, d_y) and k (B,)."""
        return self.signal[k, None] * y + self.noise[k, None] * eps
