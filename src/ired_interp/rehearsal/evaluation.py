"""Rehearse `ired test` and `ired validate`."""

from collections.abc import Iterator
from functools import partial

from ired_interp.commands.evaluate import start
from ired_interp.commands.options import take_option
from ired_interp.config import check_order
from ired_interp.errors import InputError
from ired_interp.lightning_cli import configuration_names, with_files
from ired_interp.rehearsal.contract import FEW
from ired_interp.rehearsal.miniature import MiniatureEvaluation
from ired_interp.rehearsal.task import TaskRehearsal, Trial


class EvaluationRehearsal(TaskRehearsal):
    """The dry run of `ired test` or `ired validate`."""

    def checks(self, thorough: bool) -> Iterator[Trial]:
        """Yield the checks in their order."""
        yield Trial("arguments", self.read_arguments)
        yield Trial("checkpoint", self.checkpoint)
        yield self.problems_check(self.data.variants)
        yield Trial("evaluation", self.evaluation)

    def read_arguments(self) -> str:
        """Check that the arguments parse.

        Raises
        ------
        InputError
            If the weights do not exist.
        """
        self.path, rest = take_option(self.arguments, "--ckpt")
        weights, rest = take_option(rest, "--weights")
        if weights not in (None, "average", "raw"):
            raise InputError(f"weights {weights!r} do not exist; choose 'average' or 'raw'.")
        check_order(configuration_names(with_files(rest)))
        return f"{weights or 'average'} weights of {self.path}" if self.path else "no --ckpt"

    def checkpoint(self) -> str:
        """Check that the checkpoint loads, and fits model and data."""
        self.cli = cli = start(
            self.command, self.arguments, partial(MiniatureEvaluation, self.folder / "evaluation")
        )
        self.module, self.data = cli.model, cli.datamodule
        cli.load_weights()
        checkpoint = cli.checkpoint
        self.facts = self.checkpoint_facts(checkpoint)
        if checkpoint is None:
            return "an energy without weights, which needs no checkpoint"
        return f"{checkpoint.path} of step {checkpoint.step} loads weights-only and fits"

    def evaluation(self) -> str:
        """Evaluate a few problems."""
        getattr(self.cli, self.command)()
        return f"errors and floors of {FEW} problems each of {', '.join(self.data.variants)}"
