"""IRED as a LightningModule: an energy, its training objective, its inference."""

from dataclasses import replace

import torch
from torch import Tensor

from ired_interp.diffusion import Inference, Noise, Objective, Schedule, Solution, solve
from ired_interp.diffusion.rules import Preset
from ired_interp.energy import Energy
from ired_interp.energy.base import LandscapeIndex
from ired_interp.errors import InputError
from ired_interp.solver import LRSchedule, SolverModule


class IREDModule(SolverModule):
    """Iterative reasoning through energy diffusion: learn E_θ(x, y, k), solve by minimising it.

    Parameters
    ----------
    energy : Energy
        E_θ; its dimensions come from the task.
    objective : Objective
        The training loss (`contrast_weight: 0` leaves the contrastive term out).
    inference : Inference
        How problems are solved (`steps: 1`, `gradient_descent: false`: the paper's ablations).
    test_steps : list[int]
        Inner step counts that `ired test` compares, besides `inference.steps`.
    lr, betas, lr_schedule, warmup_steps, compile, seed
        As in `SolverModule`.
    value_range : float | None
        Bound on the entries of the solutions it was trained on, within which `solve` keeps its own;
        comes from the task.

    References
    ----------
    Du, Mao, Tenenbaum, "Learning Iterative Reasoning through Energy Diffusion", ICML 2024 (arXiv
    2406.11179).
    """

    name = "ired"

    def __init__(
        self,
        energy: Energy,
        objective: Objective = Objective(),  # noqa: B008  (frozen)
        inference: Inference = Inference(),  # noqa: B008  (frozen)
        test_steps: list[int] = [5, 10, 20],  # noqa: B006  (jsonargparse reads the default)
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        lr_schedule: LRSchedule = "constant",
        warmup_steps: int = 0,
        compile: bool = False,
        seed: int = 0,
        value_range: float | None = None,
    ) -> None:
        super().__init__(
            energy.condition_dim,
            energy.solution_dim,
            lr,
            betas,
            lr_schedule,
            warmup_steps,
            compile,
            seed,
        )
        self.energy = energy
        self.schedule = Schedule(energy.landscapes)
        self.objective, self.inference, self.test_steps = objective, inference, list(test_steps)
        self.value_range = value_range

    def adapt(self, x: Tensor, y: Tensor) -> None:
        """Let the energy see problems x (N, d_x) with answers y (N, d_y)."""
        self.energy.adapt(x, y)

    @property
    def landscapes(self) -> int:
        """K."""
        return self.energy.landscapes

    @property
    def step_counts(self) -> list[int]:
        """Inner step counts: the inference's own first, then those that tests compare."""
        return list(dict.fromkeys([self.inference.steps, *self.test_steps]))

    def energy_and_gradient(self, x: Tensor, y: Tensor, k: LandscapeIndex) -> tuple[Tensor, Tensor]:
        """Return E(x, y, k) (B,) and ∇_y E (B, d_y); k is an int or (B,) integers."""
        return self.energy.energy_and_gradient(x, y, k)

    @torch.no_grad()
    def solve(
        self,
        x: Tensor,
        steps: int = 5,
        preset: Preset | Inference = "corrected",
        start: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Solution:
        """Solve problems by annealed minimisation.

        Parameters
        ----------
        x : Tensor
            (B, d_x) conditions.
        steps : int
            T, inner steps per landscape.
        preset : Preset | Inference
            "corrected" or "published" (see `Inference`), or full settings, whose own step count
            then holds.
        start : Tensor | None
            (B, d_y) where to begin; drawn from N(0, I) if None.
        generator : torch.Generator | None
            Of the start, and of the noise of ancestral sampling.

        Returns
        -------
        Solution
            With y (B, d_y), trajectory (K, B, d_y), energies (K, T + 1, B), accepted (K, T, B).

        Raises
        ------
        InputError
            If a shape does not fit.
        """
        settings = preset if isinstance(preset, Inference) else Inference(preset, steps)
        settings = settings.within(self.value_range)
        if x.ndim != 2 or x.shape[1] != self.condition_dim:
            raise InputError(
                f"x has shape {tuple(x.shape)}, but this model takes (batch, {self.condition_dim})."
            )
        shape = (len(x), self.solution_dim)
        if start is None:
            start = torch.randn(shape, generator=generator, device=x.device, dtype=x.dtype)
        if start.shape != shape:
            raise InputError(f"start has shape {tuple(start.shape)}; expected {shape}.")
        return solve(self.energy, self.schedule, x, start, settings, generator)

    def noise(self, count: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw a landscape and the noise of each problem, and what the contrast needs."""
        return Noise.draw(count, self.solution_dim, self.landscapes, generator)

    def loss(self, x: Tensor, y: Tensor, *noise: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the objective and its parts."""
        loss = self.objective(self.energy, self.schedule, x, y, Noise(*noise))
        parts = {"loss": loss.total.detach(), "score": loss.score, "contrast": loss.contrast}
        return loss.total, parts

    def predict(
        self, x: Tensor, start: Tensor, steps: int, value_range: float, generator: torch.Generator
    ) -> Tensor:
        """Solve by the configured inference, with `steps` inner steps."""
        settings = replace(self.inference, steps=steps).within(value_range)
        return self.solve(x, preset=settings, start=start, generator=generator).y
