"""`ired probe`: measure trained models; model and data come from the checkpoint alone."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import torch

from ired_interp.checkpoint import Checkpoint, read_checkpoint
from ired_interp.class_paths import modules_named
from ired_interp.commands.options import CommandParser
from ired_interp.commands.probing import chosen_measurements, restore, snapshot
from ired_interp.config import check_order, configuration_file
from ired_interp.device import automatic_device, usable_device
from ired_interp.errors import InputError
from ired_interp.lightning_cli import quiet
from ired_interp.measure import Measurement, measure
from ired_interp.probes import Probe, Snapshot
from ired_interp.probes.subspace_tracker import tracking
from ired_interp.ranks import Ranks, process_group
from ired_interp.results import Which
from ired_interp.results.run import default_name
from ired_interp.stopping import defer_signals, interruptible
from ired_interp.terminal import log
from ired_interp.user_modules import look_beside

_DESCRIPTION = """Measure a trained model's landscapes. Which probes: those named by --probes; else
those of --config files (a list `probes:`, or callbacks as in callbacks/*.yaml); else what the
callbacks of the run measured in training; else hessian_spectrum_y. Callbacks say with which
--weights, how many --problems and which --variant, unless these are given. The tasks of an srun or
torchrun share out the problems."""


def main(command: str, arguments: list[str]) -> int:
    """Run the command; at a signal it keeps what it has of a Lanczos run, to go on from.

    Raises
    ------
    InputError
        If an option, a file or the model is refused.
    """
    quiet()
    with defer_signals(), interruptible(), process_group() as ranks:
        options = parse(arguments)
        check_order(options.config)
        failed = 0
        with ranks.raise_on_all():
            checkpoints: list[Checkpoint | None] = [
                read_checkpoint(path, options.which, options.modules) for path in options.ckpt
            ]
        if len(set(ranks.all_gather_object(tuple(c.digest for c in checkpoints if c)))) > 1:
            raise InputError(
                "the tasks read different checkpoints, as when a training saves; start again."
            )
        shared: dict[str, Measurement] = {}
        for checkpoint in checkpoints or [None]:
            failed += _measure(checkpoint, options, shared, ranks)
    return 1 if failed else 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command's options.

    Raises
    ------
    InputError
        If one does not exist, or there is nothing to probe.
    """
    parser = CommandParser(prog="ired probe", description=_DESCRIPTION)
    parser.add_argument(
        "--ckpt",
        nargs="+",
        default=[],
        metavar="FILE|RUN",
        help="checkpoints, or run folders",
    )
    parser.add_argument(
        "--which",
        choices=get_args(Which),
        help="checkpoint of a run folder: the best by validation (where there is one), or the last",
    )
    parser.add_argument(
        "--config",
        action="append",
        default=[],
        metavar="FILE",
        help="probes, or data for a published checkpoint",
    )
    parser.add_argument(
        "--probes",
        nargs="+",
        default=[],
        metavar="NAME",
        help="probes with their default settings, or as 'NAME: {SETTING: VALUE}'",
    )
    parser.add_argument(
        "--modules",
        nargs="+",
        default=[],
        metavar="NAME",
        help="modules of your own whose classes a checkpoint may name",
    )
    parser.add_argument("--weights", choices=["average", "raw"], help="default: average")
    parser.add_argument("--problems", type=int, help="how many to measure on (default: 32)")
    parser.add_argument("--variant", help="their distribution (default: same)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 …")
    parser.add_argument(
        "--output", metavar="FOLDER", help="where results go (default: the checkpoint's run folder)"
    )
    options = parser.parse_args(arguments)
    if options.problems is not None and options.problems < 1:
        raise InputError(f"--problems is {options.problems}; it must be at least 1.")
    if not options.ckpt and not options.config:
        raise InputError("nothing to probe: give --ckpt with a checkpoint or a run folder.")
    if options.output and Path(options.output).exists() and not Path(options.output).is_dir():
        raise InputError(f"--output {options.output} is no folder; name a folder for results.")
    options.config = [configuration_file(name) for name in options.config]
    look_beside(options.config)
    options.modules = modules_named(options.modules, options.config)
    return options


def _measure(
    checkpoint: Checkpoint | None,
    options: argparse.Namespace,
    shared: dict[str, Measurement],
    ranks: Ranks,
) -> int:
    """Equal measurements are `shared` by the checkpoints: one that follows a drift sees all."""
    with ranks.raise_on_all():
        module, data = restore(checkpoint, options)
        device = _device(options.device, ranks)
        module.to(device)
        if options.variant is not None:
            data.task.check_variant(options.variant)
        chosen = chosen_measurements(checkpoint, options)
        for measurement in chosen:
            measurement.check(module)
            data.task.check_variant(measurement.variant)
            data.task.check_count(measurement.problems, f"{measurement.probe.label}, --problems")
    _check_devices(device, ranks)
    if checkpoint is not None:
        log(checkpoint.sentence)
    failed = 0
    for measurement in chosen:
        probe = tracking(measurement.probe)
        measurement = shared.setdefault(measurement.identity, replace(measurement, probe=probe))
        origin = dict(measurement.origin)
        if checkpoint is None or checkpoint.run is None or options.output:
            # Results of several models may meet in this folder.
            origin["checkpoint"] = checkpoint.digest if checkpoint else None
        place = (measurement.probe, _folder(checkpoint, options), origin)
        with ranks.raise_on_all():
            alone = snapshot(checkpoint, module, data, measurement)
        if measurement.probe.parallel:
            failed += _measure_one(replace(alone, ranks=ranks), *place)
            continue
        with ranks.raise_on_all():
            if ranks.first:
                failed += _measure_one(alone, *place)
    return failed


def _measure_one(snapshot: Snapshot, probe: Probe, folder: Path, origin: dict[str, Any]) -> bool:
    log(
        f"measuring {probe.label} on {origin['problems']} problems ({origin['variant']}), "
        f"{snapshot.weights} weights"
    )
    path, result = measure(probe, snapshot, folder, origin)
    failed = "failed" in result.attrs
    if snapshot.ranks.first and not failed:
        print(probe.summary(result), end="", flush=True)
    log(f"written to {path}")
    return failed


def _folder(checkpoint: Checkpoint | None, options: argparse.Namespace) -> Path:
    if options.output:
        return Path(options.output)
    if checkpoint is not None and checkpoint.run is not None:
        return checkpoint.run.results
    if checkpoint is not None:
        return checkpoint.path.parent / "results"
    return Path("runs") / "probe" / default_name() / "results"


def _device(name: str, ranks: Ranks) -> torch.device:
    """Find the device to measure on; several ranks of one host take its GPUs in turn.

    Raises
    ------
    InputError
        If it cannot be used.
    """
    chosen = automatic_device() if name == "auto" else name
    if chosen == "cuda" and ranks.count > 1 and torch.cuda.is_available():
        # SLURM may show each task one GPU, or all of them.
        chosen = f"cuda:{ranks.local % torch.cuda.device_count()}"
    device = usable_device(chosen)
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    return device


def _check_devices(device: torch.device, ranks: Ranks) -> None:
    """Refuse what NCCL does: more than one rank on a GPU, and one without.

    Raises
    ------
    InputError
        If the ranks have too few GPUs.
    """
    gpu = str(torch.cuda.get_device_properties(device).uuid) if device.type == "cuda" else None
    gpus = ranks.all_gather_object(gpu)
    if any(gpus) and (None in gpus or len(set(gpus)) < ranks.count):
        raise InputError(
            f"{ranks.count} tasks have {len(set(gpus) - {None})} GPUs between them; give each its "
            "own (--gpus-per-task=1), or choose "
            "--device cpu."
        )
