"""The published energy of the continuous tasks: ‖o‖² of an MLP, with closed-form derivatives."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ired_interp.energy.base import Edit, LandscapeIndex
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

    def sites(
        self, context: Modulation, y: Tensor, edit: Edit | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Evaluate by way of named values between the layers, which may be replaced.

        Parameters
        ----------
        context : Modulation
            What `condition` returned.
        y : Tensor (B, d_y)
            Candidates.
        edit : callable, optional
            `edit(name, value)` returns what is gone on with in place of a site's value.

        Returns
        -------
        tuple of Tensor (B,) and dict of str to Tensor
            E, and the values gone on with, by site.

        Notes
        -----
        With s = silu and (γ, β) the modulation of a layer by the landscape, in order:

        ========== ============ ===========================================================
        site       shape        value
        ========== ============ ===========================================================
        `x_path`   (B, h)       share of x, and of the bias, in the first layer's input
        `y_path`   (B, h)       share of y in it
        `u1`, `h1` (B, h)       their sum, and s(u1)
        `mod2`     (2, B, h)    γ and β of layer 2
        `h2`       (B, h)       s(γ ∘ fc2(h1) + β)
        `mod3`     (2, B, h)    γ and β of layer 3
        `h3`       (B, h)       s(γ ∘ fc3(h2) + β)
        `o`        (B, d_y)     fc4(h3), of which E = ‖o‖²
        ========== ============ ===========================================================
        """
        found: dict[str, Tensor] = {}

        def at(name: str, value: Tensor) -> Tensor:
            found[name] = value if edit is None else edit(name, value)
            return found[name]

        x_path = at("x_path", context.first)
        y_path = at("y_path", F.linear(y, self.fc1.weight[:, self.condition_dim :]))
        h1 = at("h1", F.silu(at("u1", x_path + y_path)))
        gain2, shift2 = at("mod2", torch.stack([context.gain2, context.shift2]))
        h2 = at("h2", F.silu(self.fc2(h1) * gain2 + shift2))
        gain3, shift3 = at("mod3", torch.stack([context.gain3, context.shift3]))
        h3 = at("h3", F.silu(self.fc3(h2) * gain3 + shift3))
        return at("o", self.fc4(h3).to(y.dtype)).square().sum(1), found

    @torch.no_grad()
    def hessian(self, x: Tensor, y: Tensor, k: LandscapeIndex, memory: float = 2**30) -> Tensor:
        """∇²_y E (B, d_y, d_y), exactly symmetric; arguments and errors as in `Energy.hessian`."""
        context = self.condition(x, self._rows(x, y, k))
        layers = self.layers(context, y)
        bend = y.new_full((len(y),), 2.0)
        return self.quadratic_hessian(context, layers, 2 * layers.o, bend, memory)
