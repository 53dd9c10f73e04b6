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
    """Conditional diffusion: the energy's network predicts the noise itself, and answers are drawn by ancestral sampling.

    Parameters
    ----------
    condition_dim, solution_dim : from the task.
    width, landscapes : of the network and the schedule.
    lr, betas, lr_schedule, compile, seed : as in `SolverModule`.
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
        k = torch.randint(
            self.schedule.landscapes, (count,), generator=generator, device=generator.device
        )
        return k, torch.randn(
            count, self.solution_dim, generator=generator, device=generator.device
        )

    def loss(self, x: Tensor, y: Tensor, *noise: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        k, eps = noise
        loss = (self._predict(x, self.schedule.noised(y, k, eps), k) - eps).square().mean()
        return loss, {"loss": loss.detach()}

    @torch.no_grad()
    def answer(
        self, x: Tensor, start: Tensor, steps: int, value_range: float, generator: torch.Generator
    ) -> Tensor:
        def predict_noise(y: Tensor, k: int) -> Tensor:
            return self._predict(x, y, torch.full((len(y),), k, device=y.device))

        return ancestral_sample(predict_noise, self.schedule, start, value_range, generator)[-1]

    def _predict(self, x: Tensor, y: Tensor, k: Tensor) -> Tensor:
        return self.network.output(self.network.condition(x, k), y)


class FeedForwardModule(SolverModule):
    """One pass from problem to answer: a four-layer MLP trained on squared error.

    Parameters
    ----------
    condition_dim, solution_dim : from the task.
    width : hidden units of each layer.
    lr, betas, lr_schedule, compile, seed : as in `SolverModule`.
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
        return ()

    def loss(self, x: Tensor, y: Tensor, *noise: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        loss = F.mse_loss(self.network(x), y)
        return loss, {"loss": loss.detach()}

    @torch.no_grad()
    def answer(
        self, x: Tensor, start: Tensor, steps: int, value_range: float, generator: torch.Generator
    ) -> Tensor:
        solution: Tensor = self.network(x)
        return solution
