"""Residual energies: the distance of y from the solution that a network proposes."""

from abc import abstractmethod
from typing import Any, NamedTuple

from torch import Tensor

from ired_interp.energy.base import Energy
from ired_interp.energy.moments import Moments
from ired_interp.energy.proposal import Level, distance, level_of
from ired_interp.schedule import Schedule


class Coordinates(NamedTuple):
    """The coordinates in which the network sees a row's problem.

    Attributes
    ----------
    condition : Tensor (B, d_x)
        x in standard units.
    scale : Tensor (B, 1)
        By which a solution of this row is larger than one of a training problem.
    signal, noise : Tensor (B, 1)
        √ᾱ_k and σ_k.
    """

    condition: Tensor
    scale: Tensor
    signal: Tensor
    noise: Tensor


class ResidualEnergy(Energy):
    """E(x, y, k) = ‖y − √ᾱ_k h_θ(x, y, k)‖² / (2σ_k), with a network h that proposes the solution.

    A perfectly trained energy of a task with one answer f(x) has h = f: its gradient is
    (y − √ᾱ_k f)/σ_k and its Hessian I/σ_k. Nothing that the network says is divided by √ᾱ_k on the
    way to a solution, so an error in the smoothest landscape, where √ᾱ is .005, stays an error of
    its own size.

    The network sees x and y in the standard units of the training problems (see `Moments`), and
    gives the solution in them. With `homogeneity` p, h(x, y, k) = c^p h(x/c, y/c^p, k) for the size
    c of x.

    A subclass gives `propose` and `coordinates_of`, and sets `moments` and `schedule` by
    `_in_standard_units`.

    References
    ----------
    Salimans & Ho, "Should EBMs model the energy or the score?", 2021.
    Karras et al., "Elucidating the design space of diffusion-based generative models", 2022, for
    the scaling of inputs and outputs.
    """

    moments: Moments
    schedule: Schedule

    def _in_standard_units(self, homogeneity: float | None, entrywise: bool = True) -> None:
        self.moments = Moments(self.condition_dim, self.solution_dim, homogeneity, entrywise)
        self.schedule = Schedule(self.landscapes)

    def adapt(self, x: Tensor, y: Tensor) -> None:
        """Take the moments of problems x (N, d_x) with answers y (N, d_y)."""
        self.moments.adapt(x, y)

    def coordinates(self, x: Tensor, k: Tensor) -> Coordinates:
        """Find the coordinates of rows x (B, d_x) in landscapes k (B,)."""
        condition, scale = self.moments.condition(x), self.moments.scale(x)
        return Coordinates(condition, scale, *level_of(self.schedule, k, x))

    def standardised(self, at: Coordinates, y: Tensor) -> Tensor:
        """Give y (B, d_y) mean 0 and variance 1 over noised training problems."""
        centred = y / at.scale - at.signal * self.moments.solution_mean
        return centred * self.input_gain(at)

    def input_gain(self, at: Coordinates) -> Tensor:
        """1/deviation (B, d_y) of the entries of y = √ᾱ_k y* + σ_k ε."""
        variance = (at.signal * self.moments.solution_scale).square() + at.noise.square()
        return variance.rsqrt()

    @abstractmethod
    def propose(self, context: Any, y: Tensor) -> Tensor:
        """h(x, y, k) (B, d_y), the proposed solution; `context` is what `condition` returned."""

    @abstractmethod
    def coordinates_of(self, context: Any) -> Coordinates:
        """Return the coordinates that a context holds."""

    def evaluate(self, context: Any, y: Tensor) -> Tensor:
        """‖y − √ᾱ_k h‖²/(2σ_k) (B,)."""
        at = self.coordinates_of(context)
        return distance(y, self.propose(context, y), Level(at.signal, at.noise))
