"""IRED as a LightningModule: an energy, its training objective, its inference."""

from dataclasses import replace

import torch
from torch import Tensor

from ired_interp.diffusion import Inference, Loss, Noise, Objective, Schedule, Solution, solve
from ired_interp.diffusion.rules import CONTINUOUS, Preset, check_steps
from ired_interp.energy import Energy
from ired_interp.energy.base import LandscapeIndex
from ired_interp.energy.checks import check_tensor
from ired_interp.energy.held import FixedEntries, HeldEnergy
from ired_interp.errors import InputError
from ired_interp.solver import LRSchedule, SolverModule
from ired_interp.tasks.base import Problems, Task
from ired_interp.tasks.batch import Batch


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
    task : Task | None
        What it is trained on: which entries problems give, how entries are weighed, which wrong
        answers there are, and how problems are solved.

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
        task: Task | None = None,
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
        for steps in test_steps:
            check_steps("model.test_steps", steps)
        self.energy = energy
        self.schedule = Schedule(energy.landscapes)
        self.objective, self.inference, self.test_steps = objective, inference, list(test_steps)
        self.value_range, self.task = value_range, task

    @property
    def adapts(self) -> bool:
        """Whether the energy must see problems before training."""
        return type(self.energy).adapt is not Energy.adapt

    def adapt(self, x: Tensor, y: Tensor) -> None:
        """Let the energy see problems x (N, d_x) with answers y (N, d_y)."""
        self.energy.adapt(x, y)

    def fixed(self, x: Tensor) -> FixedEntries | None:
        """Return the entries of solutions that problems x (B, d_x) give, None where none are."""
        return None if self.task is None else self.task.fixed(x)

    def free(self, energy: Energy | None = None) -> Energy:
        """Return the energy, or a copy of it, as a function of the entries that are not given.

        Parameters
        ----------
        energy : Energy | None
            With the module's landscapes; the module's own if None.

        Returns
        -------
        Energy
            Itself where the task gives none.
        """
        energy = self.energy if energy is None else energy
        if self.task is None or type(self.task).fixed is Task.fixed:
            return energy
        return HeldEnergy(energy, self.task.fixed, self.schedule)

    def weights_of_score(self, x: Tensor, y: Tensor, k: Tensor) -> Tensor | None:
        """Return weights (B, d_y) or (B, 1) of the score term's entries, None where all are 1."""
        of_entries = None if self.task is None else self.task.score_weights(x, y)
        by_landscape = self.objective.landscape_weights(self.schedule)
        if by_landscape is None:
            return of_entries
        rows = by_landscape.to(y.dtype)[k, None]
        return rows if of_entries is None else rows * of_entries

    def settled(self, inference: Inference, value_range: float | None = None) -> Inference:
        """Return inference settings with what they leave to preset and task.

        Parameters
        ----------
        inference : Inference
            The settings.
        value_range : float | None
            Bound on the entries of answers; that of the training problems if None.

        Returns
        -------
        Inference
            The same, complete.
        """
        published = CONTINUOUS if self.task is None else self.task.published
        bound = self.value_range if value_range is None else value_range
        return inference.within(bound, published)

    @property
    def landscapes(self) -> int:
        """K."""
        return self.energy.landscapes

    @property
    def step_counts(self) -> list[int]:
        """Inner step counts: the inference's own first, then those that tests compare.

        Of reverse diffusion, which takes none, 0.
        """
        if not self.inference.gradient_descent:
            return [0]
        return list(dict.fromkeys([self.inference.steps, *self.test_steps]))

    def energy_and_gradient(self, x: Tensor, y: Tensor, k: LandscapeIndex) -> tuple[Tensor, Tensor]:
        """Return E(x, y, k) (B,) and ∇_y E (B, d_y); k is an int or (B,) integers."""
        return self.energy.energy_and_gradient(x, y, k)

    @torch.no_grad()
    def solve(
        self,
        x: Tensor,
        steps: int | None = None,
        preset: Preset | Inference = "corrected",
        start: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Solution:
        """Solve problems by annealed minimisation.

        Parameters
        ----------
        x : Tensor
            (B, d_x) conditions.
        steps : int | None
            T, inner steps per landscape; the task's if None (5 unless it says otherwise).
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
        if steps is None:
            steps = 5 if self.task is None else self.task.steps
        settings = preset if isinstance(preset, Inference) else Inference(preset, steps)
        check_tensor("x", x, self)
        shape = (len(x), self.energy.solution_size(x))
        if start is None:
            start = torch.randn(shape, generator=generator, device=x.device, dtype=x.dtype)
        if start.shape != shape:
            raise InputError(f"start has shape {tuple(start.shape)}; expected {shape}.")
        return self._solve(x, start, self.settled(settings), generator)

    def _solve(
        self, x: Tensor, start: Tensor, settings: Inference, generator: torch.Generator | None
    ) -> Solution:
        found = solve(self.free(), self.schedule, x, start, settings, generator)
        fixed = self.fixed(x)
        if fixed is None:
            return found
        # The published code leaves the last jump's scale in y.
        scale = self.schedule.signal[0] if settings.preset == "published" else torch.ones(())
        whole = fixed.value.to(start.dtype)
        trajectory = torch.where(fixed.mask, whole, found.trajectory)
        y = fixed.hold(found.y, scale.to(start))
        return replace(found, y=y, trajectory=trajectory)

    def noise(self, count: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw a landscape and the noise of each problem, and what the contrast needs."""
        return Noise.draw(count, self.solution_dim, self.landscapes, generator)

    def loss(self, x: Tensor, y: Tensor, *noise: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the objective and its parts."""
        k, eps, contrast_eps, *wrong = noise
        loss = self.training_loss(x, y, Noise(k, eps, contrast_eps), *wrong)
        parts = {"loss": loss.total.detach(), "score": loss.score, "contrast": loss.contrast}
        return loss.total, parts

    def training_loss(
        self, x: Tensor, y: Tensor, noise: Noise, wrong: Tensor | None = None
    ) -> Loss:
        """Return the objective on problems x (B, d_x), answers y and wrong ones (B, d_y)."""
        weights = self.weights_of_score(x, y, noise.k)
        return self.objective(self.free(), self.schedule, x, y, noise, weights, wrong)

    def wrong_answers(self, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor | None:
        """Draw the task's wrong answers (B, d_y) for the contrast, None where it has none."""
        return None if self.task is None else self.task.wrong_answers(Problems(x, y), generator)

    def loss_inputs(
        self, batch: Batch, generator: torch.Generator | None = None
    ) -> tuple[Tensor, ...]:
        """Return problems, answers and noise, and wrong answers where the task gave them."""
        wrong = () if batch.wrong is None else (batch.wrong,)
        return *super().loss_inputs(batch, generator), *wrong

    def predict(
        self, x: Tensor, start: Tensor, steps: int, value_range: float, generator: torch.Generator
    ) -> Tensor:
        """Solve by the configured inference, with `steps` inner steps."""
        settings = self.settled(replace(self.inference, steps=steps), value_range)
        return self.solve(x, preset=settings, start=start, generator=generator).y
