"""Rehearse `ired probe`."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ired_interp.callbacks.configured import configured_measurements
from ired_interp.checkpoint import Checkpoint, read_checkpoint
from ired_interp.commands.probe import parse
from ired_interp.commands.probing import chosen_measurements, restore, snapshot
from ired_interp.config import check_order
from ired_interp.errors import InputError
from ired_interp.files import read_yaml
from ired_interp.measure import Measurement, measure
from ired_interp.module import IREDModule
from ired_interp.probes.subspace_tracker import tracking
from ired_interp.rehearsal import memory
from ired_interp.rehearsal.contract import FEW
from ired_interp.rehearsal.fault import Fault
from ired_interp.rehearsal.task import TaskRehearsal, Trial


class ProbeRehearsal(TaskRehearsal):
    """The dry run of `ired probe`."""

    def checks(self, thorough: bool) -> Iterator[Trial]:
        """Yield the checks in their order."""
        yield Trial("arguments", self.read_arguments)
        yield Trial("checkpoint", self.checkpoint)
        yield from self.contract(self.variants)
        yield Trial("probes", self.probes)
        if thorough:
            yield Trial("memory", self.memory)
            yield Trial("gpu", lambda: "a probe's share of a GPU is not measured beforehand")

    def read_arguments(self) -> str:
        """Check that the arguments parse and that the probes they name can be built.

        Raises
        ------
        Fault
            If the device does not exist.
        """
        self.options = options = parse(self.arguments)
        check_order(options.config)
        try:
            device = torch.device("cpu" if options.device == "auto" else options.device)
        except RuntimeError:
            raise Fault(
                f"--device {options.device} does not exist", "choose auto, cpu or cuda"
            ) from None
        for file in options.config:
            configured_measurements(read_yaml(file))
        return f"accepted, on device {device.type}"

    def checkpoint(self) -> str:
        """Check that every checkpoint loads, and fits model and data."""
        options = self.options
        self.checkpoints: list[Checkpoint | None] = [
            read_checkpoint(path, options.which, options.modules) for path in options.ckpt
        ]
        for checkpoint in self.checkpoints or [None]:
            self.module, self.data = restore(checkpoint, options)
        last = self.checkpoints[-1] if self.checkpoints else None
        chosen = chosen_measurements(last, options)
        self.variants = list(dict.fromkeys(measurement.variant for measurement in chosen))
        self.facts = self.checkpoint_facts(last)
        files = ", ".join(f"{c.path} of step {c.step}" for c in self.checkpoints if c)
        return (
            f"{files} loads weights-only and fits"
            if files
            else "an energy without weights, which needs no checkpoint"
        )

    def probes(self) -> str:
        """Let each probe measure a few problems."""
        return measured(self.checkpoints or [None], self.options, self.folder / "probe")

    def memory(self) -> str:
        """Check that memory does not grow over evaluations of energy and gradient."""
        assert isinstance(self.module, IREDModule)
        module = self.module.eval()
        entries = module.condition_dim + module.solution_dim
        rows = memory.rows_for(entries)
        x, y, *_ = self.data.evaluation_batch("probe", self.variants[0], 0, rows, "cpu")
        grown = memory.growth(lambda: module.energy_and_gradient(x.clone(), y.clone(), 0))
        return memory.check_growth(grown, rows, entries, "evaluations of energy and gradient")


def measured(
    checkpoints: Sequence[Checkpoint | None], options: argparse.Namespace, folder: Path
) -> str:
    """Measure every checkpoint as `ired probe` does, on a few problems and with small probes.

    Raises
    ------
    InputError
        If a measurement fails.
    """
    shared: dict[str, Measurement] = {}
    labels = []
    for checkpoint in checkpoints:
        module, data = restore(checkpoint, options)
        for measurement in chosen_measurements(checkpoint, options):
            measurement.check(module)
            small = measurement.small(FEW)
            probe = tracking(small.probe)
            small = shared.setdefault(small.identity, replace(small, probe=probe))
            probe = small.probe
            for one in dict.fromkeys([small, replace(small, problems=measurement.problems)]):
                looked_at = snapshot(checkpoint, module, data, one)
                _, result = measure(probe, looked_at, folder, one.origin, survive=True)
                if "failed" not in result.attrs:
                    break  # else it may take as many problems as were asked for
            if "failed" in result.attrs:
                raise InputError(f"{probe.label} failed: {result.attrs['failed']}")
            probe.summary(result)
            labels.append(probe.label)
    return f"{', '.join(dict.fromkeys(labels))} measured and summed up"
