"""What x says of y: posteriors known in closed form, and the energy of a perfect model of them."""

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from ired_interp.schedule import Schedule


class ExactPosterior(Protocol):
    """A posterior p(y | x) of B problems whose noised density is known in closed form."""

    @property
    def mean(self) -> Tensor:
        """Mean solution (B, d_y) of each problem."""
        ...

    def curvature(self, schedule: Schedule) -> Tensor | None:
        """Eigenvalues (K, d_y) of the Hessian in y, where it is the same for every x and y."""
        ...

    def at(self, schedule: Schedule, k: Tensor, dtype: torch.dtype) -> Any:
        """Return what the energy depends on besides y, in landscapes k (B,)."""
        ...

    def energy(self, context: Any, y: Tensor) -> Tensor:
        """Return −σ_k log p(y_k | x) + const (B,) of noised answers y_k (B, d_y)."""
        ...


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

    def at(self, schedule: Schedule, k: Tensor, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """Return minimum (B, d_y), directions (d_y, d_y) and curvature along them (B, d_y)."""
        curvature = self.curvature(schedule).to(dtype)
        return schedule.signal[k, None] * self.mean, self.basis, curvature[k]

    def energy(self, context: tuple[Tensor, ...], y: Tensor) -> Tensor:
        """Half the curvature-weighted squared distance from the minimum (B,)."""
        minimum, basis, curvature = context
        return (((y - minimum) @ basis).square() * curvature).sum(1) / 2


class FinitePosterior(NamedTuple):
    """p(y | x) = Σ_j w_j δ(y − y_j): finitely many answers to each problem.

    Attributes
    ----------
    answers : Tensor (B, m, d_y)
        y_j.
    weights : Tensor (m,) or (B, m)
        w_j, positive; they sum to 1.
    """

    answers: Tensor
    weights: Tensor

    @property
    def mean(self) -> Tensor:
        """Mean answer (B, d_y)."""
        return (self.weights[..., None] * self.answers).sum(1)

    def curvature(self, schedule: Schedule) -> None:
        """Return nothing: the Hessian depends on where y stands."""
        return

    def at(self, schedule: Schedule, k: Tensor, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """Return √ᾱ_k y_j (B, m, d_y), log w_j and σ_k (B,), in landscapes k (B,)."""
        places = schedule.signal[k, None, None].to(dtype) * self.answers.to(dtype)
        return places, self.weights.to(dtype).log(), schedule.noise[k].to(dtype)

    def energy(self, context: tuple[Tensor, ...], y: Tensor) -> Tensor:
        """−σ log Σ_j w_j exp(−‖y − √ᾱ y_j‖²/(2σ²)) (B,)."""
        places, logs, noise = context
        squares = (y[:, None] - places).square().sum(2)
        return -noise * torch.logsumexp(logs - squares / (2 * noise.square())[:, None], 1)
