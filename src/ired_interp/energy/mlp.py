"""The published energy of the continuous tasks, E = ‖o‖² (Du et al. 2024), with its gradient in closed form."""

from torch import Tensor

from ired_interp.diffusion.schedule import Schedule
from ired_interp.energy.modulated_mlp import Context, ModulatedMLP


class MLPEnergy(ModulatedMLP):
    """E = ‖o(x, y, k)‖² of a four-layer MLP over [x; y] whose middle layers are scaled and shifted per landscape.

    Parameter names and shapes are those of the published implementation, so its weights load.

    Parameters
    ----------
    condition_dim, solution_dim, landscapes
        As in `Energy`.
    width : int
        h, hidden units of each layer.
    scale_condition : bool
        Show the network √ᾱ_k x in place of x. The first layer is the same for every landscape, and a
        perfect gradient depends on y − √ᾱ_k f(x): with the condition scaled alike, one matrix is
        right for all k. Off in published weights.

    References
    ----------
    Du, Mao, Tenenbaum, "Learning Iterative Reasoning through Energy Diffusion", ICML 2024
    (arXiv 2406.11179).
    """

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

    def condition(self, x: Tensor, k: Tensor) -> Context:
        if self.schedule is not None:
            x = self.schedule.signal[k, None].to(x.dtype) * x
        return self.modulation(x, k)

    def output(self, context: Context, y: Tensor) -> Tensor:
        """The MLP's output o (B, d_y), before it is squared."""
        return self.layers(context, y).output

    def evaluate(self, context: Context, y: Tensor) -> Tensor:
        return self.output(context, y).square().sum(1)

    def evaluate_with_gradient(self, context: Context, y: Tensor) -> tuple[Tensor, Tensor]:
        layers = self.layers(context, y)
        gradient = self.pullback(context, layers, 2 * layers.output)
        return layers.output.square().sum(1), gradient
