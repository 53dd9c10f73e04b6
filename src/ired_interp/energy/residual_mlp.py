"""The residual energy of an MLP, with closed-form derivatives."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ired_interp.energy.base import LandscapeIndex
from ired_interp.energy.mlp_hessian import Layers
from ired_interp.energy.modulated_mlp import ModulatedMLP, Modulation
from ired_interp.energy.residual import Coordinates, ResidualEnergy


class ResidualMLPContext(NamedTuple):
    """What E depends on besides y: coordinates, modulation, and the linear path A x (B, d_y)."""

    at: Coordinates
    modulation: Modulation
    linear: Tensor


class ResidualMLPEnergy(ResidualEnergy, ModulatedMLP):
    """E = ‖y − √ᾱ_k h(x, y, k)‖²/(2σ_k) where h is the modulated MLP, plus a linear map of x.

    Parameters
    ----------
    condition_dim : int
        d_x, entries of the condition x.
    solution_dim : int
        d_y, entries of the solution y.
    width : int
        h, hidden units of each layer.
    landscapes : int
        K, number of landscapes.
    linear : bool
        Give x a linear path to the proposed solution, so that copying and adding cost no hidden
        units.
    homogeneity : float | None
        p where the answer obeys f(c x) = c^p f(x); see `Moments`.

    Examples
    --------
    >>> energy = ResidualMLPEnergy(condition_dim=4, solution_dim=3, width=8)
    >>> x, y = torch.zeros(5, 4), torch.zeros(5, 3)
    >>> energy(x, y, 0).shape, energy.gradient(x, y, 0).shape, energy.hessian(x, y, 0).shape
    (torch.Size([5]), torch.Size([5, 3]), torch.Size([5, 3, 3]))
    """

    name = "residual_mlp"

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
        """Compute what x (B, d_x) and k (B,) say to the network."""
        at = self.coordinates(x, k)
        linear = torch.zeros_like(self.moments.solution_mean)
        if self.linear is not None:
            linear = F.linear(at.condition, self.linear.weight)
        return ResidualMLPContext(at, self.modulation(at.condition, k), linear)

    def coordinates_of(self, context: ResidualMLPContext) -> Coordinates:
        """Return the context's coordinates."""
        return context.at

    def propose(self, context: ResidualMLPContext, y: Tensor) -> Tensor:
        """h(x, y, k) (B, d_y)."""
        return self._proposal(context, self._layers(context, y))

    def evaluate_with_gradient(
        self, context: ResidualMLPContext, y: Tensor
    ) -> tuple[Tensor, Tensor]:
        """E (B,) and its gradient (B, d_y), by one pass forward and one back."""
        at, layers = context.at, self._layers(context, y)
        residual = y - at.signal * self._proposal(context, layers)
        cotangent = self.moments.solution_scale * residual
        pulled = self.pullback(context.modulation, layers, cotangent)
        gradient = (residual - at.signal * self.input_gain(at) * pulled) / at.noise
        return residual.square().sum(1) / (2 * at.noise[:, 0]), gradient

    @torch.no_grad()
    def hessian(self, x: Tensor, y: Tensor, k: LandscapeIndex, memory: float = 2**30) -> Tensor:
        """∇²_y E (B, d_y, d_y), exactly symmetric; arguments and errors as in `Energy.hessian`.

        With r = y − √ᾱ h and J = ∂h/∂y, σ H = I − √ᾱ (J + Jᵀ) + ᾱ JᵀJ − √ᾱ Σ_i r_i ∂²h_i/∂y².
        """
        context = self.condition(x, self._rows(x, y, k))
        at, layers = context.at, self._layers(context, y)
        weight, gain = at.signal / at.noise, self.input_gain(at)
        residual = y - at.signal * self._proposal(context, layers)
        # In the network's own input u = gain·y/scale + const, h = scale·(mean + s∘o(u)).
        inner = self.quadratic_hessian(
            context.modulation,
            layers,
            slope=-weight * residual / at.scale,
            bend=(at.signal * weight)[:, 0],
            memory=memory,
            tilt=-weight / gain,
            output_scale=self.moments.solution_scale,
        )
        result = inner * (gain[:, :, None] * gain[:, None, :])
        result.diagonal(dim1=1, dim2=2).add_(1 / at.noise)
        return result

    def _layers(self, context: ResidualMLPContext, y: Tensor) -> Layers:
        return self.layers(context.modulation, self.standardised(context.at, y))

    def _proposal(self, context: ResidualMLPContext, layers: Layers) -> Tensor:
        return self.moments.solution(layers.o + context.linear, context.at.scale)
