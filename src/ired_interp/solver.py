"""What every trained model shares: loss, optimiser, validation. Nothing here knows of probes."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, get_args

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from ired_interp.compilation import Loss, compiled
from ired_interp.errors import InputError
from ired_interp.metrics import ProblemError, Ratio
from ired_interp.random import restart, stream
from ired_interp.registry import Registered
from ired_interp.tasks.base import Task
from ired_interp.tasks.batch import Batch
from ired_interp.tasks.data import TaskData

LRSchedule = Literal["constant", "linear", "cosine"]
_DECAYS: dict[LRSchedule, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "linear": lambda done: 1 - done,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
}
_MOMENTS = 20_000  # problems whose moments a model takes


class SolverModule(Registered, LightningModule, ABC):
    """What is trained on problems with solutions and then solves others: IRED, the baselines.

    Parameters
    ----------
    condition_dim, solution_dim : int
        d_x and d_y.
    lr, betas : float, tuple[float, float]
        Of Adam.
    lr_schedule : {"constant", "linear", "cosine"}
        "constant", or decay to 0 over the run's steps, "linear" or as a "cosine".
    warmup_steps : int
        Steps over which the learning rate rises to its full value.
    compile : bool
        Compile the loss with torch.compile (20 to 60 s at the start). On GPUs `ired fit` then
        replays whole steps as a CUDA graph, between those at which something is logged, saved,
        measured or validated.
    seed : int
        Of the noise drawn in training; the noise of batch i depends on (seed, i) alone.
    """

    def __init__(
        self,
        condition_dim: int,
        solution_dim: int,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        lr_schedule: LRSchedule = "constant",
        warmup_steps: int = 0,
        compile: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not 0 < lr < math.inf:
            raise InputError(f"model.lr is {lr}; a learning rate must be positive, and finite.")
        if not all(0 <= beta < 1 for beta in betas):
            raise InputError(
                f"model.betas is {list(betas)}; expected two numbers from 0 to below 1."
            )
        if lr_schedule not in get_args(LRSchedule):
            raise InputError(
                f"model.lr_schedule is {lr_schedule!r}; choose one of "
                f"{', '.join(get_args(LRSchedule))}."
            )
        if warmup_steps < 0:
            raise InputError(f"model.warmup_steps is {warmup_steps}; it must be 0 or more.")
        self.condition_dim, self.solution_dim = condition_dim, solution_dim
        self.lr, self.betas, self.lr_schedule = lr, betas, lr_schedule
        self.warmup_steps, self.compile_loss, self.seed = warmup_steps, compile, seed
        self.errors: dict[tuple[str, int], ProblemError] = {}
        self.measures: dict[tuple[str, int, str], Ratio] = {}
        self._loss: Loss | None = None
        self.replayed = False  # whether steps are recorded whole, as `ReplayedSteps` does

    @abstractmethod
    def noise(self, count: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Return the random tensors of a training step on `count` problems."""

    @abstractmethod
    def loss(self, x: Tensor, y: Tensor, *noise: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the scalar to minimise, and what to log of it."""

    @abstractmethod
    def predict(
        self, x: Tensor, start: Tensor, steps: int, value_range: float, generator: torch.Generator
    ) -> Tensor:
        """Solve problems x (B, d_x) from a start (B, d_y), by `steps` inner steps.

        Entries of the solutions (B, d_y) lie within ±value_range.
        """

    @property
    def step_counts(self) -> list[int]:
        """Inner step counts: the first is used for validation, all are compared by `ired test`."""
        return [0]

    @property
    def adapts(self) -> bool:
        """Whether `adapt` does anything."""
        return type(self).adapt is not SolverModule.adapt

    def adapt(self, x: Tensor, y: Tensor) -> None:
        """Learn before training what the model must know of problems x and answers y."""

    def loss_inputs(
        self, batch: Batch, generator: torch.Generator | None = None
    ) -> tuple[Tensor, ...]:
        """Return the arguments of `loss` for a batch: problems, answers, and this rank's noise.

        The noise is that of the batch's number, unless it is drawn from a generator.
        """
        if generator is None:
            generator = self.restart_noise(torch.Generator(self.device), batch.number)
        noise = self.noise(batch.whole, generator)
        return batch.x, batch.y, *(batch.share(tensor) for tensor in noise)

    def restart_noise(self, generator: torch.Generator, number: int) -> torch.Generator:
        """Put a generator where the noise of a batch begins, and return it."""
        return restart(generator, self.seed, "noise", number)

    def setup(self, stage: str) -> None:
        """Let a model that will be trained see problems of its kind."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if stage == "fit" and self.adapts and isinstance(data, TaskData):
            problems = data.draw(_MOMENTS, "cpu", 0, data.train_variant, "moments", training=True)
            self.adapt(problems.x.to(self.device), problems.y.to(self.device))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of a batch; its parts are logged where a step's logs are due."""
        total, parts = self.step_loss(*self.loss_inputs(batch))
        self.log_parts(parts)
        return total

    def log_parts(self, parts: dict[str, Tensor]) -> None:
        """Log the parts of the loss of the step that is made, where a step's logs are due."""
        updates = self.trainer.global_step + 1
        if updates % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            # Not by self.log, which reaches the loggers after the step's end, where the run is
            # saved: what ended it there would lose this.
            values = {
                f"train/{name}": self.trainer.strategy.reduce(value, reduce_op="mean")
                for name, value in parts.items()
            }
            for logger in self.loggers:
                logger.log_metrics({name: float(value) for name, value in values.items()}, updates)
                logger.save()

    def step_loss(self, *inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what `loss` does, as it is trained: compiled, where that is asked for."""
        if self._loss is None:
            plain, device = self.loss, self.device
            self._loss = compiled(plain, device, self.replayed) if self.compile_loss else plain
        return self._loss(*inputs)

    def weights(self) -> Sequence[Tensor]:
        """Return the parameters to train.

        Raises
        ------
        InputError
            If there are none.
        """
        weights = [p for p in self.parameters() if p.requires_grad]
        if not weights:
            raise InputError(
                f"this {type(self).__name__} has no weights to train; use `ired test` or `ired "
                "probe` with its configuration."
            )
        return weights

    def configure_optimizers(self) -> Any:
        """Return Adam, with the schedule of its learning rate."""
        optimizer = torch.optim.Adam(self.weights(), lr=self.lr, betas=self.betas)
        if self.lr_schedule == "constant" and not self.warmup_steps:
            return optimizer
        steps, decay = self.trainer.max_steps, _DECAYS[self.lr_schedule]

        def factor(step: int) -> float:
            rise = (step + 1) / self.warmup_steps if self.warmup_steps else 1.0
            return min(1.0, rise) * decay(min(1.0, step / steps))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        plan = {"scheduler": scheduler, "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": plan}

    def on_validation_epoch_start(self) -> None:
        """Begin the errors of a validation."""
        self._start_errors(self.step_counts[:1])

    def on_test_epoch_start(self) -> None:
        """Begin the errors of a test."""
        self._start_errors(self.step_counts)

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Score a batch with the first inner step count."""
        self._score(batch, self.step_counts[:1])

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Score a batch with every inner step count."""
        self._score(batch, self.step_counts, rollouts=True)

    def on_validation_epoch_end(self) -> None:
        """Log errors, and the task's first measure, over the problems of all ranks."""
        for (variant, _), error in self.errors.items():
            self.log(f"val/error/{variant}", error.compute()[0], sync_dist=True)
        first = next((name for *_, name in self.measures), None)
        for (variant, _, name), measure in self.measures.items():
            if name == first:
                self.log(f"val/{name}/{variant}", measure.compute()[0], sync_dist=True)
        # Loggers take the value "step" as the place of what is logged with it: updates done.
        self.log("step", float(self.trainer.global_step), sync_dist=True)

    def _start_errors(self, step_counts: list[int]) -> None:
        variants = self.trainer.datamodule.variants  # type: ignore[attr-defined]
        self.errors = {
            (v, steps): ProblemError().to(self.device) for v in variants for steps in step_counts
        }
        self.measures = {}

    def _score(self, batch: Batch, step_counts: list[int], rollouts: bool = False) -> None:
        task: Task = self.trainer.datamodule.task  # type: ignore[attr-defined]
        value_range = task.value_range(batch.variant)
        for steps in step_counts:
            generator = stream(self.device, 0, "start", batch.split, batch.variant, batch.number)
            shape = (batch.whole, batch.y.shape[1])
            start = torch.randn(shape, generator=generator, device=self.device)
            place = (batch.share(start), steps, value_range, generator)
            solve = partial(_predictions, self, place)
            solution = solve(batch.x)
            answer = task.nearest_answer(batch.x, batch.y, solution)
            self.errors[batch.variant, steps].update(solution, answer)
            measures = task.measures(batch.x, batch.y, solution)
            if rollouts:
                measures |= task.rollout_measures(batch.x, solve)
            for name, measure in measures.items():
                key = (batch.variant, steps, name)
                if key not in self.measures:
                    self.measures[key] = Ratio(measure.part[:1].numel()).to(self.device)
                self.measures[key].update(*measure)


def _predictions(
    model: SolverModule, place: tuple[Tensor, int, float, torch.Generator], x: Tensor
) -> Tensor:
    return model.predict(x, *place)
