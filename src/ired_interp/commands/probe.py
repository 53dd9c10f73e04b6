"""`ired probe`: measure trained models; model and data come from the checkpoint alone."""

import argparse
from pathlib import Path
from typing import Any

import torch

from ired_interp.callbacks import ProbeCallback
from ired_interp.checkpoint import Checkpoint, read_checkpoint
from ired_interp.config import SentenceParser, build, check_order, read_yaml
from ired_interp.errors import InputError
from ired_interp.lightning_cli import quiet
from ired_interp.measure import measure
from ired_interp.module import IREDModule, SolverModule
from ired_interp.probes import BY_NAME, HessianSpectrum, Probe, Snapshot
from ired_interp.results import Run
from ired_interp.tasks.base import VARIANTS, Problems
from ired_interp.tasks.data import TaskData
from ired_interp.terminal import say

_DESCRIPTION = """Measure a trained model's landscapes. Which probes: those named by --probes; else those of --config files (a list
`probes:`, or callbacks as in callbacks/*.yaml); else those that ran during training; else hessian_spectrum."""


def main(command: str, arguments: list[str]) -> int:
    """Run the command."""
    quiet()
    options = _parse(arguments)
    check_order(options.config)
    failed = 0
    for checkpoint in [read_checkpoint(path) for path in options.ckpt] or [None]:
        failed += _measure(checkpoint, options)
    return 1 if failed else 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = _Parser(prog="ired probe", description=_DESCRIPTION)
    parser.add_argument("--ckpt", nargs="+", default=[], metavar="FILE|RUN", help="checkpoints, or run folders (their newest)")
    parser.add_argument("--config", action="append", default=[], metavar="FILE", help="probes, or data for a published checkpoint")
    parser.add_argument("--probes", nargs="+", default=[], choices=list(BY_NAME), help="probes with their default settings")
    parser.add_argument("--weights", choices=["average", "raw"], default="average")
    parser.add_argument("--problems", type=int, default=32, help="problems measured on (default 32)")
    parser.add_argument("--variant", choices=VARIANTS, default="same", help="their distribution")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 …")
    parser.add_argument("--output", metavar="FOLDER", help="where results go (default: the checkpoint's run folder)")
    options = parser.parse_args(arguments)
    if options.problems < 1:
        raise InputError(f"--problems is {options.problems}; it must be at least 1.")
    if not options.ckpt and not options.config:
        raise InputError("nothing to probe: give --ckpt with a checkpoint or a run folder.")
    return options


def _measure(checkpoint: Checkpoint | None, options: argparse.Namespace) -> int:
    module, data = _restore(checkpoint, options)
    folder = _home(checkpoint, options)
    device = _device(options.device)
    x, y, *_ = data.evaluation_batch("probe", options.variant, 0, options.problems, device)
    digest, step = (checkpoint.digest, checkpoint.step) if checkpoint else (None, 0)
    snapshot = Snapshot(module.eval().to(device), Problems(x, y), data.task, step, options.weights, digest)
    origin = {"problems": options.problems, "variant": options.variant}
    failed = 0
    for probe in _probes(checkpoint, options):
        path, result = measure(probe, snapshot, folder, origin)
        if "failed" in result.attrs:
            failed += 1
        else:
            print(probe.summary(result), end="")
        say(f"written to {path}")
    return failed


def _restore(checkpoint: Checkpoint | None, options: argparse.Namespace) -> tuple[IREDModule, TaskData]:
    config = {key: value for file in options.config for key, value in read_yaml(file).items()}
    if checkpoint is None:
        module, data = _built(config)
        if any(p.requires_grad for p in module.parameters()):
            raise InputError("this model has weights, but no --ckpt says which; name a checkpoint or a run.")
    else:
        module, own = checkpoint.build()
        if own is None and "data" not in config:
            raise InputError(f"{checkpoint.path} is a published checkpoint, which names no data; add --config with its task.")
        data = own or _built(config)[1]
        given = build({**checkpoint.config, "data": config["data"]})[1] if own and "data" in config else data
        for candidate in (given,):
            _check_fit(module, candidate)
        data = given
        checkpoint.load_into(module, options.weights)
    if not isinstance(module, IREDModule):
        raise InputError(f"{type(module).__name__} has no energy to probe; give a checkpoint of an IREDModule.")
    return module, data
