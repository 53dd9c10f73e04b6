"""The residual energy of an MLP, with its gradient in closed form."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ired_interp.energy.modulated_mlp import Context, Layers, ModulatedMLP
from ired_interp.energy.residual import Coordinates, ResidualEnergy


class ResidualMLPContext(NamedTuple):
    """What E depends on besides y: the coordinates, the layers' modulation, and the linear path A x (B, d_y)."""

    at: Coordinates
    modulation: Context
    linear: Tensor


class ResidualMLPEnergy(ResidualEnergy, ModulatedMLP):
    """E = ‖y − √ᾱ_k h(x, y, k)‖²/(2σ_k) where h is the modulated MLP, plus a linear map of x if asked for.

    Parameters
    ----------
    condition_dim, solution_dim, landscapes
        As in `Energy`.
    width : int
        h, hidden units of each layer.
    linear : bool
        Add a linear path from x to the proposed solution, so that copying and adding cost no hidden
        units.
    homogeneity : float, optional
        p where the answer obeys f(c x) = c^p f(x); see `Moments`.
    """

    def __init__(
        self,
        condition_dim: int,
        solution_dim: int,
        width: int = 512,
        landscapes: int = 10,
        linear: bool = True,
        homogeneity: float | None = None,
    ) -> None:
        ModulatedMLP.__init__(self, condition_dim, solution_dim, width, landscapes)
        self._in_standard_units(homogeneity)
        self.linear = nn.Linear(condition_dim, solution_dim, bias=False) if linear else None
        if self.linear is not None:
            nn.init.zeros_(self.linear.weight)

    def condition(self, x: Tensor, k: Tensor) -> ResidualMLPContext:
        at = self.coordinates(x, k)
        linear = torch.zeros_like(self.moments.solution_mean)
        if self.linear is not None:
            linear = F.linear(at.condition, self.linear.weight)
        return ResidualMLPContext(at, self.modulation(at.condition, k), linear)

    def coordinates_of(self, context: ResidualMLPContext) -> Coordinates:
        return context.at

    def propose(self, context: ResidualMLPContext, y: Tensor) -> Tensor:
        return self._proposal(context, self._layers(context, y))

    def evaluate_with_gradient(
        self, context: ResidualMLPContext, y: Tensor
    ) -> tuple[Tensor, Tensor]:
        at, layers = context.at, self._layers(context, y)
        residual = y - at.signal * self._proposal(context, layers)
        pulled = self.pullback(context.modulation, layers, self.moments.solution_scale * residual)
        gradient = (residual - at.signal * self.input_gain(at) * pulled) / at.noise
        return residual.square().sum(1) / (2 * at.noise[:, 0]), gradient

    def _layers(self, context: ResidualMLPContext, y: Tensor) -> Layers:
        return self.layers(context.modulation, self.standardised(context.at, y))

    def _proposal(self, context: ResidualMLPContext, layers: Layers) -> Tensor:
        return self.moments.solution(layers.output + context.linear, context.at.scale)
