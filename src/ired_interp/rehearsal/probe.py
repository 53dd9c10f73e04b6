"""Rehearse `ired probe`."""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from ired_interp.checkpoint import Checkpoint, read_checkpoint
from ired_interp.commands import probe as probe_command
from ired_interp.config import check_order
from ired_interp.errors import InputError
from ired_interp.measure import measure
from ired_interp.module import IREDModule
from ired_interp.probes import Probe, Snapshot
from ired_interp.probes.subspace_tracker import tracking
from ired_interp.rehearsal import memory
from ired_interp.rehearsal.contract import FEW
from ired_interp.rehearsal.fault import Fault
from ired_interp.rehearsal.miniature import shrink_probe
from ired_interp.rehearsal.task import TaskRehearsal, Trial
from ired_interp.tasks.base import Problems


class ProbeRehearsal(TaskRehearsal):
    def checks(self, thorough: bool) -> Iterator[Trial]:
        yield Trial("arguments", self.read_arguments)
        yield Trial("checkpoint", self.checkpoint)
        yield from self.contract([self.options.variant])
        yield Trial("probes", self.probes)
        if thorough:
            yield Trial("memory", self.memory)
            yield Trial("gpu", lambda: "a probe's share of a GPU is not measured beforehand")

    def read_arguments(self) -> str:
        self.options = options = probe_command.parse(self.arguments)
        check_order(options.config)
        try:
            device = torch.device("cpu" if options.device == "auto" else options.device)
        except RuntimeError:
            raise Fault(
                f"--device {options.device} does not exist", "choose auto, cpu or cuda"
            ) from None
        probe_command.chosen_probes(None, options)
        return f"{options.problems} {options.variant} problems on device {device.type}"

    def checkpoint(self) -> str:
        options = self.options
        self.checkpoints: list[Checkpoint | None] = [read_checkpoint(path) for path in options.ckpt]
        for checkpoint in self.checkpoints or [None]:
            self.module, self.data = probe_command.restore(checkpoint, options)
        last = self.checkpoints[-1] if self.checkpoints else None
        self.facts = self.checkpoint_facts(last)
        files = ", ".join(f"{c.path} of step {c.step}" for c in self.checkpoints if c)
        return (
            f"{files} loads weights-only and fits"
            if files
            else "an energy without weights, which needs no checkpoint"
        )

    def probes(self) -> str:
        return measured(self.checkpoints or [None], self.options, self.folder / "probe")

    def memory(self) -> str:
        assert isinstance(self.module, IREDModule)
        module = self.module.eval()
        entries = module.condition_dim + module.solution_dim
        rows = memory.rows_for(entries)
        x, y, *_ = self.data.evaluation_batch("probe", self.options.variant, 0, rows, "cpu")
        grown = memory.repeated(lambda: module.energy_and_gradient(x.clone(), y.clone(), 0))
        return memory.judge(grown, rows, entries, "evaluations of energy and gradient")


def measured(
    checkpoints: Sequence[Checkpoint | None], options: argparse.Namespace, folder: Path
) -> str:
    """Let the chosen probes measure every checkpoint as `ired probe` does, on a few problems."""
    shared: dict[str, Probe] = {}
    labels = []
    for checkpoint in checkpoints:
        module, data = probe_command.restore(checkpoint, options)
        for probe in probe_command.chosen_probes(checkpoint, options):
            shrink_probe(probe, module)
            probe = shared.setdefault(
                json.dumps([probe.label, probe.settings()], sort_keys=True), tracking(probe)
            )
            for count in dict.fromkeys([min(FEW, options.problems), options.problems]):
                x, y, *_ = data.evaluation_batch("probe", options.variant, 0, count, "cpu")
                step = checkpoint.step if checkpoint else 0
                digest = checkpoint.digest if checkpoint else None
                snapshot = Snapshot(
                    module.eval(), Problems(x, y), data.task, step, options.weights, digest
                )
                _, result = measure(probe, snapshot, folder, {"problems": count}, survive=True)
                if "failed" not in result.attrs:
                    break  # else it may take as many problems as were asked for
            if "failed" in result.attrs:
                raise InputError(f"{probe.label} failed: {result.attrs['failed']}")
            probe.summary(result)
            labels.append(probe.label)
    return f"{', '.join(dict.fromkeys(labels))} measured and summed up"
