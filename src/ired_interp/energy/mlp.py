"""The published energy of the continuous tasks: ‖o‖² of an MLP, with closed-form derivatives."""

import torch
from torch import Tensor

from ired_interp.energy.base import LandscapeIndex
from ired_interp.energy.modulated_mlp import ModulatedMLP, Modulation
from ired_interp.schedule import Schedule


class MLPEnergy(ModulatedMLP):
    """E = ‖o(x, y, k)‖² of an MLP whose middle layers are scaled and shifted per landscape.

    Parameter names and shapes are those of the published implementation, so its weights load.

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
    scale_condition : bool
        Show the network √ᾱ_k x in place of x. The first layer is the same for every landscape, and
        a perfect gradient depends on y − √ᾱ_k f(x): with the condition scaled alike, one matrix is
        right for all k. Off in published weights.

    References
    ----------
    Du, Mao, Tenenbaum, "Learning Iterative Reasoning through Energy Diffusion", ICML 2024
    (arXiv 2406.11179).

    Examples
    --------
    >>> energy = MLPEnergy(condition_dim=4, solution_dim=3, width=8)
    >>> x, y = torch.zeros(5, 4), torch.zeros(5, 3)
    >>> energy(x, y, 0).shape, energy.gradient(x, y, 0).shape, energy.hessian(x, y, 0).shape
    (torch.Size([5]), torch.Size([5, 3]), torch.Size([5, 3, 3]))
    """

    name = "mlp"

    def __init__(
        self,
        condition_dim: int,
        solution_dim: int,
        width: int = 512,
        landscapes: int = 10,
        scale_condition: bool = False,
    ) -> None:
        super().__init__(condition_dim, solution_dim, width, landscapes)
        self.schedule = Schedule(landscapes) if scale_condition else None

    def condition(self, x: Tensor, k: Tensor) -> Modulation:
        """Compute the share of x in the first layer, and the modulation of landscapes k (B,)."""
        if self.schedule is not None:
            x = self.schedule.signal[k, None].to(x.dtype) * x
        return self.modulation(x, k)

    def output(self, context: Modulation, y: Tensor) -> Tensor:
        """Return the MLP's output o (B, d_y), before it is squared."""
        return self.layers(context, y).o

    def evaluate(self, context: Modulation, y: Tensor) -> Tensor:
        """‖o‖² (B,)."""
        return self.output(context, y).square().sum(1)

    def evaluate_with_gradient(self, context: Modulation, y: Tensor) -> tuple[Tensor, Tensor]:
        """‖o‖² (B,) and its gradient (B, d_y), by one pass forward and one back."""
        layers = self.layers(context, y)
        return layers.o.square().sum(1), self.pullback(context, layers, 2 * layers.o)

    @torch.no_grad()
    def hessian(self, x: Tensor, y: Tensor, k: LandscapeIndex, memory: float = 2**30) -> Tensor:
        """∇²_y E (B, d_y, d_y), exactly symmetric; arguments and errors as in `Energy.hessian`."""
        context = self.condition(x, self._rows(x, y, k))
        layers = self.layers(context, y)
        bend = y.new_full((len(y),), 2.0)
        return self.quadratic_hessian(context, layers, 2 * layers.o, bend, memory)
