"""The baselines of the paper's first table, trained and tested with the same commands as IRED."""

from typing import Literal

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from ired_interp.diffusion.ancestral import ancestral_sample
from ired_interp.energy import Energy, MLPEnergy
from ired_interp.energy.checks import check_sizes
from ired_interp.energy.matrix import MatrixNetwork, condition_features, matrix_size
from ired_interp.energy.moments import Moments
from ired_interp.energy.proposal import Level, distance, level_of
from ired_interp.errors import InputError
from ired_interp.module import IREDModule
from ired_interp.schedule import Schedule
from ired_interp.solver import LRSchedule, SolverModule


class DiffusionModule(SolverModule):
    """Conditional diffusion, of which the energy's network predicts the noise itself.

    Solutions are drawn by ancestral sampling.

    Parameters
    ----------
    condition_dim, solution_dim : int
        From the task.
    width, landscapes : int
        Of the network and the schedule.
    lr, betas, lr_schedule, warmup_steps, compile, seed
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
        lr_schedule: LRSchedule = "constant",
        warmup_steps: int = 0,
        compile: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            condition_dim, solution_dim, lr, betas, lr_schedule, warmup_steps, compile, seed
        )
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
    """One pass from problem to solution, trained on squared error, in standard units.

    Parameters
    ----------
    condition_dim, solution_dim : int
        From the task.
    network : {"mlp", "matrix"}
        A four-layer MLP, or the network of `MatrixEnergy` without y and k.
    width : int
        Hidden units of each layer of the MLP.
    channels, hidden, blocks : int
        Sizes of the matrix network, as in `MatrixEnergy`.
    linear : bool
        Add a linear path from x to the solution.
    homogeneity : float | None
        As in `Moments`.
    lr, betas, lr_schedule, warmup_steps, compile, seed
        As in `SolverModule`.

    Raises
    ------
    InputError
        If there is no such network, or the problems are no matrices.
    """

    name = "feed_forward"

    def __init__(
        self,
        condition_dim: int,
        solution_dim: int,
        network: Literal["mlp", "matrix"] = "mlp",
        width: int = 512,
        channels: int = 24,
        hidden: int = 48,
        blocks: int = 4,
        linear: bool = False,
        homogeneity: float | None = None,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        lr_schedule: LRSchedule = "constant",
        warmup_steps: int = 0,
        compile: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(
            condition_dim, solution_dim, lr, betas, lr_schedule, warmup_steps, compile, seed
        )
        self.moments = Moments(
            condition_dim, solution_dim, homogeneity, entrywise=network != "matrix"
        )
        if network == "matrix":
            self.n, matrices = matrix_size(condition_dim, solution_dim, "the feed-forward network")
            self.network: nn.Module = MatrixNetwork(2 * matrices + 1, channels, hidden, blocks)
        elif network == "mlp":
            check_sizes(type(self).__name__, width=width)
            self.network = nn.Sequential(
                nn.Linear(condition_dim, width),
                nn.SiLU(),
                nn.Linear(width, width),
                nn.SiLU(),
                nn.Linear(width, width),
                nn.SiLU(),
                nn.Linear(width, solution_dim),
            )
        else:
            raise InputError(f"model.network is {network!r}; choose 'mlp' or 'matrix'.")
        self.linear = nn.Linear(condition_dim, solution_dim, bias=False) if linear else None
        if self.linear is not None:
            nn.init.zeros_(self.linear.weight)

    def adapt(self, x: Tensor, y: Tensor) -> None:
        """Take the moments of problems x (N, d_x) with answers y (N, d_y)."""
        self.moments.adapt(x, y)

    def noise(self, count: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw nothing: training is deterministic."""
        return ()

    def loss(self, x: Tensor, y: Tensor, *noise: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean squared error of the solution."""
        loss = F.mse_loss(self.answer(x), y)
        return loss, {"loss": loss.detach()}

    @torch.no_grad()
    def predict(
        self, x: Tensor, start: Tensor, steps: int, value_range: float, generator: torch.Generator
    ) -> Tensor:
        """Solve in one pass; start and steps are not used."""
        return self.answer(x)

    def answer(self, x: Tensor) -> Tensor:
        """Compute solutions (B, d_y) of problems x (B, d_x)."""
        standard = self.moments.condition(x)
        matrix = isinstance(self.network, MatrixNetwork)
        inputs = (condition_features(x, standard, self.n), None) if matrix else (standard,)
        output = self.network(*inputs)
        if self.linear is not None:
            output = output + self.linear(standard)
        return self.moments.solution(output, self.moments.scale(x))


class AnswerEnergy(Energy):
    """E(x, y, k) = ‖y − √ᾱ_k f(x)‖²/(2σ_k): in every landscape the answer f(x) is the minimum.

    So a probe of solutions measures a feed-forward network beside energies.

    Parameters
    ----------
    model : FeedForwardModule
        What answers; it is shared, not copied.
    """

    def __init__(self, model: FeedForwardModule) -> None:
        super().__init__(model.condition_dim, model.solution_dim)
        self.model, self.schedule = model, Schedule(self.landscapes)

    def condition(self, x: Tensor, k: Tensor) -> tuple[Level, Tensor]:
        """Return what the landscapes hold, and the answers."""
        return level_of(self.schedule, k, x), self.model.answer(x)

    def evaluate(self, context: tuple[Level, Tensor], y: Tensor) -> Tensor:
        """Return the scaled squared distance (B,) from the answer."""
        level, answer = context
        return distance(y, answer, level)


def with_energy(module: LightningModule) -> IREDModule | None:
    """Return a model that has an energy: itself, or that of a feed-forward network's answers.

    Parameters
    ----------
    module : LightningModule
        Any model.

    Returns
    -------
    IREDModule or None
        None of any other.
    """
    if isinstance(module, FeedForwardModule):
        return IREDModule(AnswerEnergy(module)).to(module.device)
    return module if isinstance(module, IREDModule) else None
