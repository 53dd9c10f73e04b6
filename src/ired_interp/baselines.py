"""The baselines of the paper's first table, trained and tested with the same commands as IRED."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ired_interp.diffusion import Schedule
from ired_interp.diffusion.ancestral import ancestral_sample
from ired_interp.energy import MLPEnergy
from ired_interp.module import SolverModule


class DiffusionModule(SolverModule):
    """Conditional diffusion, of which the energy's network predicts the noise itself.

    Solutions are drawn by ancestral sampling.

    Parameters
    ----------
    condition_dim, solution_dim : int
        From the task.
    width, landscapes : int
        Of the network and the schedule.
    lr, betas, lr_schedule, compile, seed
        As in `SolverModule`.
    """

    name = "diffusion"

    def __init__(
        self,
        condition_dim: int,
        solution_dim: int,
        width: int = 512,
        landscapes: int = 10,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        lr_schedule: Literal["constant", "linear"] = "constant",
        compile: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(condition_dim, solution_dim, lr, betas, lr_schedule, compile, seed)
        self.network = MLPEnergy(condition_dim, solution_dim, width, landscapes)
        self.schedule = Schedule(landscapes)

    def noise(self, count: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw a landscape k and the noise ε of each problem."""
        k = torch.randint(
            self.schedule.landscapes, (count,), generator=generator, device=generator.device
        )
        return k, torch.randn(
            count, self.solution_dim, generator=generator, device=generator.device
        )

    def loss(self, x: Tensor, y: Tensor, *noise: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean squared error of the predicted noise."""
        k, eps = noise
        loss = (self._predict_noise(x, self.schedule.noised(y, k, eps), k) - eps).square().mean()
        return loss, {"loss": loss.detach()}

    @torch.no_grad()
    def predict(
        self, x: Tensor, start: Tensor, steps: int, value_range: float, generator: torch.Generator
    ) -> Tensor:
        """Sample solutions; `steps` is not used, as there is one a landscape."""

        def predict_noise(y: Tensor, k: int) -> Tensor:
            return self._predict_noise(x, y, torch.full((len(y),), k, device=y.device))

        return ancestral_sample(predict_noise, self.schedule, start, value_range, generator)[-1]

    def _predict_noise(self, x: Tensor, y: Tensor, k: Tensor) -> Tensor:
        return self.network.output(self.network.condition(x, k), y)


class FeedForwardModule(SolverModule):
    """One pass from problem to solution: a four-layer MLP trained on squared error.

    Parameters
    ----------
    condition_dim, solution_dim : int
        From the task.
    width : int
        Hidden units of each layer.
    lr, betas, lr_schedule, compile, seed
        As in `SolverModule`.
    """

    name = "feed_forward"

    def __init__(
        self,
        condition_dim: int,
        solution_dim: int,
        width: int = 512,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        lr_schedule: Literal["constant", "linear"] = "constant",
        compile: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(condition_dim, solution_dim, lr, betas, lr_schedule, compile, seed)
        self.network = nn.Sequential(
            nn.Linear(condition_dim, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, solution_dim),
        )

    def noise(self, count: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw nothing: training is deterministic."""
        return ()

    def loss(self, x: Tensor, y: Tensor, *noise: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean squared error of the solution."""
        loss = F.mse_loss(self.network(x), y)
        return loss, {"loss": loss.detach()}

    @torch.no_grad()
    def predict(
        self, x: Tensor, start: Tensor, steps: int, value_range: float, generator: torch.Generator
    ) -> Tensor:
        """Solve in one pass; start and steps are not used."""
        solution: Tensor = self.network(x)
        return solution
