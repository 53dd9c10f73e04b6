"""The LightningDataModule: a seeded, resumable stream of problems, and fixed sets to evaluate."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from lightning.pytorch import LightningDataModule

from ired_interp.errors import InputError
from ired_interp.random import restart, stream
from ired_interp.tasks.base import Problems, Task, Variant
from ired_interp.tasks.batch import Batch
from ired_interp.tasks.training_stream import TrainingStream

_EVALUATION_BATCH = 2000
_MOST_EVALUATED = 10_000_000  # problems, which settle an error to 1/3000 of its spread
_FINITE_EVERY = 100  # training batches, the first among them

Generators = tuple[torch.Generator, torch.Generator]  # of training problems, of wrong answers


class EvaluationSet:
    """A fixed set of problems in batches.

    Parameters
    ----------
    data : TaskData
        Draws the problems.
    split, variant : str
        Name of the set, and its distribution.
    count : int
        Problems in all.
    device : torch.device
        Where.
    part, parts : int
        This rank takes every parts-th problem.
    """

    def __init__(
        self,
        data: "TaskData",
        split: str,
        variant: Variant,
        count: int,
        device: torch.device,
        part: int = 0,
        parts: int = 1,
    ) -> None:
        self._data, self._device, self._split, self._variant = data, device, split, variant
        self._sizes, self._part, self._parts = _sizes(count), part, parts

    def __len__(self) -> int:
        return len(self._sizes)

    def __iter__(self) -> Iterator[Batch]:
        for number, size in enumerate(self._sizes):
            x, y, *_ = self._data.evaluation_batch(
                self._split, self._variant, number, size, self._device
            )
            rows = slice(self._part, None, self._parts)
            yield Batch(
                x[rows], y[rows], self._split, self._variant, number, size, self._part, self._parts
            )


class TaskData(LightningDataModule):
    """Problems of one task, drawn on the training device.

    Batch i of a run is a function of (seed, i) alone: the same whatever came before, however many
    workers or devices share it (ranks take every world-size-th row), and after a resume. The sets
    to validate and test on do not depend on the seed, so that runs can be compared.

    Parameters
    ----------
    task : Task
        What is drawn.
    batch_size : int
        Problems per step, over all devices together.
    train : str
        Distribution trained on, one of the task's variants ("same", "harder", …).
    evaluate : list of str
        Distributions validated and tested on.
    validation_problems, test_problems : int
        Sizes of these sets.
    seed : int
        Of the training stream.

    Raises
    ------
    InputError
        If a size is not positive, or a variant does not exist.
    """

    def __init__(
        self,
        task: Task,
        batch_size: int = 2048,
        train: Variant = "same",
        evaluate: list[Variant] = ["same", "harder"],  # noqa: B006  (jsonargparse reads the default)
        validation_problems: int = 2000,
        test_problems: int = 20_000,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value, most in (
            ("batch_size", batch_size, math.inf),
            ("validation_problems", validation_problems, _MOST_EVALUATED),
            ("test_problems", test_problems, _MOST_EVALUATED),
        ):
            if not 1 <= value <= most:
                raise InputError(
                    f"data.{name} is {value}; it must be at least 1"
                    + (f", and at most {most}." if value > most else ".")
                )
        for variant in (train, *evaluate):
            task.check_variant(variant)
        if not evaluate or len(set(evaluate)) < len(evaluate):
            raise InputError(
                f"data.evaluate is {list(evaluate)}; name at least one of "
                f"{', '.join(task.variants)}, each once."
            )
        if not 0 <= seed < 2**63:
            raise InputError(f"data.seed is {seed}; expected 0 to 2^63 − 1.")
        self.task = task
        self.batch_size, self.seed = batch_size, seed
        self.train_variant, self.variants = train, list(evaluate)
        self.validation_problems, self.test_problems = validation_problems, test_problems
        task.check_count(batch_size, "data.batch_size")

    def draw(
        self,
        count: int,
        device: torch.device | str,
        seed: int,
        variant: Variant,
        *names: int | str,
        training: bool = False,
    ) -> Problems:
        """Draw problems, and check what was drawn.

        Parameters
        ----------
        count : int
            How many, B.
        device : torch.device or str
            Where.
        seed : int
            Of the draw, together with its names.
        variant : str
            Their distribution.
        names : int or str
            What the draw is for; equal seed, variant and names give equal problems.
        training : bool
            Draw problems to train on, where the task sets some apart for tests.

        Returns
        -------
        Problems
            x (B, d_x) and y (B, d_y).

        Raises
        ------
        InputError
            If the task has no such variant, or yields shapes or values that do not fit.
        """
        self.task.check_variant(variant)
        generator = stream(device, seed, *names, variant)
        where = f"variant {variant}, {names}"
        return self._drawn(count, generator, variant, where, finite=True, training=training)

    def _drawn(
        self,
        count: int,
        generator: torch.Generator,
        variant: Variant,
        where: str,
        finite: bool,
        training: bool,
        part: int = 0,
        parts: int = 1,
    ) -> Problems:
        """Draw from a generator, and check; looking for values that are no numbers waits.

        Shares are of problems to train on.

        Raises
        ------
        InputError
            If shapes or values do not fit.
        """
        if parts > 1:
            problems = self.task.sample_share(count, generator, variant, part, parts)
        elif training:
            problems = self.task.sample_training(count, generator, variant)
        else:
            problems = self.task.sample(count, generator, variant)
        count = len(range(part, count, parts))
        widths = self.task.sizes(variant)
        for what, tensor, width in zip(("x", "y"), problems, widths, strict=True):
            if tensor.shape != (count, width):
                raise InputError(
                    f"task {self.task.name} drew {what} of shape {tuple(tensor.shape)} where "
                    f"({count}, {width}) was declared; correct its sample() or its condition_dim "
                    "and solution_dim."
                )
            if finite and not tensor.isfinite().all():
                raise InputError(
                    f"task {self.task.name} drew {what} with NaN or infinite values ({where}); "
                    "correct its sample()."
                )
        return problems

    def training_batch(
        self, index: int, device: torch.device, part: int = 0, parts: int = 1
    ) -> Batch:
        """Draw batch `index` of the training stream, or this rank's share of it."""
        generators = torch.Generator(device), torch.Generator(device)
        self.restart_training(generators, index)
        finite = index == 0 or (index + 1) % _FINITE_EVERY == 0
        return self.draw_training(generators, index, part, parts, finite)

    def restart_training(self, generators: Generators, index: int) -> None:
        """Put generators where batch `index` of the training stream begins."""
        problems, wrong = generators
        restart(problems, self.seed, "train", index, self.train_variant)
        restart(wrong, self.seed, "wrong", index)

    def draw_training(
        self,
        generators: Generators,
        index: int,
        part: int = 0,
        parts: int = 1,
        finite: bool = False,
    ) -> Batch:
        """Draw a training batch, or a rank's share of it.

        Parameters
        ----------
        generators : two torch.Generator
            Of problems and of wrong answers, on the device to draw on.
        index : int
            Number of the batch, which it is labelled with.
        part, parts : int
            This rank, and how many there are.
        finite : bool
            Also look for values that are no numbers, which waits for the device.

        Returns
        -------
        Batch
            The batch.
        """
        variant, where = self.train_variant, f"training batch {index}"
        asked = (self.batch_size, generators[0], variant, where, finite, True)
        wrong = None
        if type(self.task).wrong_answers is Task.wrong_answers:
            x, y = self._drawn(*asked, part, parts)
        else:
            problems = self._drawn(*asked)
            drawn = self.task.wrong_answers(problems, generators[1])
            wrong = None if drawn is None else drawn[part::parts]
            x, y = (tensor[part::parts] for tensor in problems)
        return Batch(x, y, "train", variant, index, self.batch_size, part, parts, wrong)

    def evaluation_batch(
        self, split: str, variant: Variant, index: int, size: int, device: torch.device | str
    ) -> Batch:
        """Draw `size` problems, batch `index` of a set such as "test", the same for every run."""
        return Batch(
            *self.draw(size, device, 0, variant, split, index), split, variant, index, size
        )

    def train_dataloader(self) -> TrainingStream:
        """Return the stream of this rank.

        Raises
        ------
        InputError
            If the ranks cannot share a batch evenly, or the run has no number of steps.
        """
        trainer = self._running_trainer()
        parts = trainer.world_size
        if self.batch_size % parts:
            raise InputError(
                f"data.batch_size is {self.batch_size}, which {parts} devices cannot share evenly; "
                f"make it a multiple of {parts}."
            )
        length = trainer.max_steps * trainer.accumulate_grad_batches
        if length < 0:
            raise InputError("trainer.max_steps is not set; give the number of training steps.")
        device, part = trainer.strategy.root_device, trainer.global_rank

        def draw(index: int) -> Batch:
            return self.training_batch(index, device, part, parts)

        return TrainingStream(draw, device, length)

    def val_dataloader(self) -> list[EvaluationSet]:
        """Return one set a variant to validate on."""
        return self._evaluation("validation", self.validation_problems)

    def test_dataloader(self) -> list[EvaluationSet]:
        """Return one set a variant to test on."""
        return self._evaluation("test", self.test_problems)

    def _evaluation(self, split: str, count: int) -> list[EvaluationSet]:
        trainer = self._running_trainer()
        place = (trainer.strategy.root_device, trainer.global_rank, trainer.world_size)
        return [EvaluationSet(self, split, variant, count, *place) for variant in self.variants]

    def _running_trainer(self) -> Any:
        assert self.trainer is not None, (
            "a TaskData's loaders belong to a Trainer; use draw() without one"
        )
        return self.trainer


def _sizes(count: int) -> list[int]:
    full, rest = divmod(count, _EVALUATION_BATCH)
    return [_EVALUATION_BATCH] * full + ([rest] if rest else [])
