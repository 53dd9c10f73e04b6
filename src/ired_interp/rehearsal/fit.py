"""Rehearse `ired fit`."""

import shutil
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import torch

from ired_interp.callbacks import ProbeCallback
from ired_interp.checkpoint import load, read_checkpoint
from ired_interp.class_paths import modules_of
from ired_interp.commands.fit import resuming
from ired_interp.commands.options import take_option
from ired_interp.commands.probe import parse
from ired_interp.errors import InputError
from ired_interp.files import read_yaml
from ired_interp.module import IREDModule
from ired_interp.rehearsal import gpu, memory
from ired_interp.rehearsal.fault import Fault
from ired_interp.rehearsal.imports import import_named
from ired_interp.rehearsal.miniature import STEPS, MiniatureFit
from ired_interp.rehearsal.probe import measured
from ired_interp.rehearsal.task import TaskRehearsal, Trial
from ired_interp.results import Run, open_run
from ired_interp.results.store import read_result


class FitRehearsal(TaskRehearsal):
    """The dry run of `ired fit`."""

    def checks(self, thorough: bool) -> Iterator[Trial]:
        """Yield the checks in their order."""
        yield Trial("configuration", self.configuration)
        if self.resumed is not None:
            yield Trial("checkpoint", self.checkpoint)
        yield from self.contract(
            list(dict.fromkeys([*self.data.variants, self.data.train_variant]))
        )
        yield Trial("training", self.training)
        if any(isinstance(callback, ProbeCallback) for callback in self.cli.trainer.callbacks):  # type: ignore[attr-defined]
            yield Trial("probe", self.probe)
        if thorough:
            yield Trial("memory", self.memory)
            yield Trial("gpu", self.gpu)

    def configuration(self) -> str:
        """Check that the configuration builds and that ranks can share its batch.

        Raises
        ------
        Fault
            If the batch cannot be shared, or no step is asked for.
        """
        resumed, self.options = take_option(self.arguments, "--resume")
        self.resumed = None if resumed is None else open_run(resumed)
        if self.resumed is not None:
            self.options = resuming(self.resumed, self.options)
        refused: InputError | SystemExit | None = None
        try:
            self.cli = self.miniature("training")
        except (InputError, SystemExit) as error:
            refused = error
        if refused is not None:
            import_named(
                self.options
            )  # not while handling the refusal, which would become the context of its error
            raise refused
        self.facts = facts = self.cli.facts
        self.module, self.data = self.cli.model, self.cli.datamodule
        self.module.weights()
        batch, steps = facts["batch_size"], facts["max_steps"]
        if batch % self.ranks:
            raise Fault(
                f"data.batch_size is {batch}, which {self.ranks} processes cannot share evenly",
                f"make it a multiple of {self.ranks}",
            )
        if steps < 1:
            raise Fault(f"trainer.max_steps is {steps}", "give the number of training steps")
        size = facts["trainable_parameters"]
        return (
            f"{type(self.module).__name__} of {size} parameters on {self.data.task.name}, "
            f"{steps} steps of {batch} problems"
        )

    def configuration_text(self) -> str | None:
        """Return the configuration of a training from its beginning."""
        return self.cli.dump() if self.resumed is None else None

    def miniature(self, place: str, batch: int | None = None, **settings: Any) -> MiniatureFit:
        """Return the command, made small, in a folder of its own."""
        run = Run(self.folder / place / "run")
        return MiniatureFit(
            self.options, run, self.resumed is not None, batch or 2 * self.ranks, **settings
        )

    def checkpoint(self) -> str:
        """Check that the run that is gone on with has a checkpoint and steps left.

        Raises
        ------
        Fault
            If all steps are done.
        """
        assert self.resumed is not None
        if not self.resumed.begun:
            self.step = 0
            return f"none, since training in {self.resumed.path} never began: from step 0"
        checkpoint = read_checkpoint(self.resumed.path, "last")
        checkpoint.load_into(deepcopy(self.module), "raw")
        checkpoint.load_into(self.module, "average")
        self.step, most = checkpoint.step, int(self.cli.settings.trainer.max_steps)
        if self.step >= most:
            raise Fault(
                f"{self.resumed.path} has done {self.step} of {most} steps",
                "give a larger --trainer.max_steps",
            )
        return f"{checkpoint.path} of step {self.step} loads weights-only and fits"

    def training(self) -> str:
        """Train a few steps with every callback, and load what was saved."""
        failures = self.train(self.cli)
        if (
            failures and self.cli.reduced
        ):  # a probe may refuse so few problems, and take as many as are configured
            self.cli = self.miniature("training-on-all", problems=None)
            failures = self.train(self.cli)
        if failures:
            raise failures[0]
        written = load(self.cli.run.path, which="last")
        results = [file.parent.name for file in self.cli.run.result_files()]
        measured = f"; measured {', '.join(dict.fromkeys(results))}" if results else ""
        return f"{STEPS} steps, loss finite, checkpoint of {type(written).__name__} loads{measured}"

    def train(self, cli: MiniatureFit) -> list[Exception]:
        """Train; what went wrong with measurements, or with what was given to them."""
        self.copy_resumed_state(cli)
        try:
            if isinstance(cli.model, IREDModule):
                for measurement in cli.configured:
                    measurement.check(cli.model)
            cli.fit()
        except InputError as error:
            return [error]
        reasons = []
        for file in cli.run.result_files():
            if "failed" in (attributes := read_result(file).attrs):
                reasons.append(
                    f"{file.parent.name} at step {attributes['step']} failed: "
                    f"{attributes['failed']}"
                )
        return [InputError(reason) for reason in reasons]

    def copy_resumed_state(self, cli: MiniatureFit) -> None:
        """Give a run that goes on a copy of what it left; the original is not touched."""
        if self.resumed is None:
            return
        for name in ("config.yaml", "checkpoints/last.ckpt", "subspaces", "gradients"):
            source, target = self.resumed.path / name, cli.run.path / name
            if source.is_dir():
                shutil.copytree(source, target)
            elif source.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
        cli.continue_after(self.step)

    def probe(self) -> str:
        """Measure the checkpoint by each probe of the callbacks."""
        run = self.cli.run
        checkpoint = read_checkpoint(run.path, "last", modules_of(read_yaml(run.config)))
        options = parse(["--ckpt", str(checkpoint.path), "--device", "cpu"])
        return measured([checkpoint], options, self.folder / "probe")

    def memory(self) -> str:
        """Check that memory does not grow from step to step."""
        entries = sum(self.cli.facts["dimensions"])
        rows = memory.rows_for(entries)
        cli = self.miniature(
            "memory", rows, steps=memory.WARM_UP + memory.REPEATED + 1, probing=False
        )
        self.copy_resumed_state(cli)
        watch = memory.MemoryWatch()
        cli.trainer.callbacks.append(watch)  # type: ignore[attr-defined]
        cli.fit()
        return memory.check_growth(watch.grown, rows, entries, "training steps")

    def gpu(self) -> str:
        """Measure how busy a GPU is with full batches."""
        if not torch.cuda.is_available():
            return "no GPU here to measure how busy it would be"
        batch = self.cli.facts["batch_size"] // self.ranks
        cli = self.miniature("gpu", batch, steps=10**9, probing=False, accelerator="gpu")
        watch = gpu.GpuWatch()
        cli.trainer.callbacks.append(watch)  # type: ignore[attr-defined]
        self.copy_resumed_state(cli)
        cli.fit()
        return gpu.advice(watch, batch, cli.model.compile_loss)
