"""`ired probe`: measure trained models; model and data come from the checkpoint alone."""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ired_interp.callbacks import ProbeCallback
from ired_interp.checkpoint import Checkpoint, read_checkpoint
from ired_interp.commands.options import CommandParser
from ired_interp.config import SentenceParser, build, build_data, check_order, one_line, read_yaml
from ired_interp.errors import InputError
from ired_interp.lightning_cli import quiet
from ired_interp.measure import measure
from ired_interp.module import IREDModule, SolverModule
from ired_interp.probes import BY_NAME, HessianSpectrum, Probe, Snapshot, SubspaceDrift
from ired_interp.probes.subspace_tracker import tracking
from ired_interp.ranks import Ranks, process_group
from ired_interp.results.run import default_name
from ired_interp.stopping import defer_signals, interruptible
from ired_interp.tasks.base import VARIANTS, Problems
from ired_interp.tasks.data import TaskData
from ired_interp.terminal import log

_DESCRIPTION = """Measure a trained model's landscapes. Which probes: those named by --probes; else those of --config files (a list
`probes:`, or callbacks as in callbacks/*.yaml); else those that ran during training; else hessian_spectrum. The tasks of an srun or torchrun
share out the problems."""


def main(command: str, arguments: list[str]) -> int:
    """Run the command; at a signal it keeps what it has of a Lanczos run, with which the same command goes on."""
    quiet()
    with defer_signals(), interruptible(), process_group() as ranks:
        options = parse(arguments)
        check_order(options.config)
        failed = 0
        with ranks.raise_on_all():
            checkpoints: list[Checkpoint | None] = [read_checkpoint(path) for path in options.ckpt]
        if len(set(ranks.all_gather_object(tuple(c.digest for c in checkpoints if c)))) > 1:
            raise InputError(
                "the tasks read different checkpoints, as when a training saves; start again."
            )
        shared: dict[str, Probe] = {}
        for checkpoint in checkpoints or [None]:
            failed += _measure(checkpoint, options, shared, ranks)
    return 1 if failed else 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command's options."""
    parser = CommandParser(prog="ired probe", description=_DESCRIPTION)
    parser.add_argument(
        "--ckpt",
        nargs="+",
        default=[],
        metavar="FILE|RUN",
        help="checkpoints, or run folders (their newest)",
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
        choices=list(BY_NAME),
        help="probes with their default settings",
    )
    parser.add_argument("--weights", choices=["average", "raw"], default="average")
    parser.add_argument(
        "--problems", type=int, default=32, help="problems measured on (default 32)"
    )
    parser.add_argument("--variant", choices=VARIANTS, default="same", help="their distribution")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 …")
    parser.add_argument(
        "--output", metavar="FOLDER", help="where results go (default: the checkpoint's run folder)"
    )
    options = parser.parse_args(arguments)
    if options.problems < 1:
        raise InputError(f"--problems is {options.problems}; it must be at least 1.")
    if not options.ckpt and not options.config:
        raise InputError("nothing to probe: give --ckpt with a checkpoint or a run folder.")
    return options


def _measure(
    checkpoint: Checkpoint | None,
    options: argparse.Namespace,
    shared: dict[str, Probe],
    ranks: Ranks,
) -> int:
    """Probes of equal settings are `shared` by all checkpoints, so that one which follows a drift meets them all."""
    with ranks.raise_on_all():
        module, data = restore(checkpoint, options)
        device = _device(options.device, ranks)
        x, y, *_ = data.evaluation_batch("probe", options.variant, 0, options.problems, device)
        digest, step = (checkpoint.digest, checkpoint.step) if checkpoint else (None, 0)
        alone = Snapshot(
            module.eval().to(device), Problems(x, y), data.task, step, options.weights, digest
        )
        probes = chosen_probes(checkpoint, options)
    _check_devices(device, ranks)
    folder, origin = (
        _folder(checkpoint, options),
        {"problems": options.problems, "variant": options.variant},
    )
    if checkpoint is None or checkpoint.run is None or options.output:
        origin["checkpoint"] = digest  # results of several models may meet in this folder
    failed = 0
    for probe in probes:
        probe = shared.setdefault(
            json.dumps([probe.label, probe.settings()], sort_keys=True), tracking(probe)
        )
        if probe.parallel:
            failed += _measure_one(probe, replace(alone, ranks=ranks), folder, origin)
            continue
        with ranks.raise_on_all():
            if ranks.first:
                failed += _measure_one(probe, alone, folder, origin)
    return failed


def _measure_one(probe: Probe, snapshot: Snapshot, folder: Path, origin: dict[str, Any]) -> bool:
    log(f"measuring {probe.label} on {len(snapshot.batch.x)} problems")
    path, result = measure(probe, snapshot, folder, origin)
    failed = "failed" in result.attrs
    if snapshot.ranks.first and not failed:
        print(probe.summary(result), end="", flush=True)
    log(f"written to {path}")
    return failed


def restore(
    checkpoint: Checkpoint | None, options: argparse.Namespace
) -> tuple[IREDModule, TaskData]:
    """The model with its weights and the data: those of the checkpoint, or of --config without one."""
    given = _merged(options.config)
    if checkpoint is None:
        module, data = build(given)
        if any(p.requires_grad for p in module.parameters()):
            raise InputError(
                "this model has weights to be trained, but no --ckpt says which; name a checkpoint or a run."
            )
    else:
        module, own = checkpoint.build()
        if own is None and "data" not in given:
            raise InputError(
                f"{checkpoint.path} is a published checkpoint and names no data; add --config with its task."
            )
        chosen = build_data(given) if "data" in given else own
        assert chosen is not None
        data = chosen
        _check_fit(checkpoint, module, own, data)
        checkpoint.load_into(module, options.weights)
    if not isinstance(module, IREDModule):
        raise InputError(
            f"{type(module).__name__} has no energy to probe; give a checkpoint of an IREDModule."
        )
    return module, data


def _check_fit(
    checkpoint: Checkpoint, module: SolverModule, own: TaskData | None, data: TaskData
) -> None:
    task = data.task
    if own is not None and own.task.name != task.name:
        raise InputError(
            f"{checkpoint.path} was trained on {own.task.name}, but --config says {task.name}; leave it out."
        )
    dims = (module.condition_dim, module.solution_dim)
    if dims != (task.condition_dim, task.solution_dim):
        raise InputError(
            f"{checkpoint.path} takes problems of {dims[0]} and answers of {dims[1]} entries, but the task of --config has "
            f"{task.condition_dim} and {task.solution_dim}; give the configuration it was trained with."
        )


def _merged(files: list[str]) -> dict[str, Any]:
    return {key: value for file in files for key, value in read_yaml(file).items()}


def chosen_probes(checkpoint: Checkpoint | None, options: argparse.Namespace) -> list[Probe]:
    """The probes that the options name, or the checkpoint's configuration."""
    if options.probes:
        return [_default(BY_NAME[name], len(options.ckpt)) for name in options.probes]
    named = [probe for file in options.config for probe in configured_probes(read_yaml(file))]
    if named:
        return named
    trained_with = configured_probes(checkpoint.config) if checkpoint and checkpoint.config else []
    return trained_with or [HessianSpectrum()]


def _default(kind: type[Probe], checkpoints: int) -> Probe:
    return SubspaceDrift(axis="training") if kind is SubspaceDrift and checkpoints > 1 else kind()


def configured_probes(config: dict[str, Any]) -> list[Probe]:
    """The probes that a configuration names: in its list `probes`, and those of its callbacks."""
    trainer = config.get("trainer") or {}
    entries = trainer.get("callbacks+", trainer.get("callbacks")) or []
    entries = entries if isinstance(entries, list) else [entries]
    names = {cls.__name__ for cls in ProbeCallback.__subclasses__()}
    mine = [entry for entry in entries if str(entry.get("class_path")).rsplit(".", 1)[-1] in names]
    parser = SentenceParser()
    parser.add_argument("--callbacks", type=list[ProbeCallback], default=[])
    parser.add_argument("--probes", type=list[Probe], default=[])
    built = parser.instantiate(
        parser.parse_object({"callbacks": mine, "probes": config.get("probes") or []})
    )
    return [callback.probe for callback in built.callbacks] + built.probes


def _folder(checkpoint: Checkpoint | None, options: argparse.Namespace) -> Path:
    if options.output:
        return Path(options.output)
    if checkpoint is not None and checkpoint.run is not None:
        return checkpoint.run.results
    if checkpoint is not None:
        return checkpoint.path.parent / "results"
    return Path("runs") / "probe" / default_name() / "results"


def _device(name: str, ranks: Ranks) -> torch.device:
    """The device to measure on; several ranks of one host take its GPUs in turn."""
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
    if chosen == "cuda" and ranks.count > 1 and torch.cuda.is_available():
        chosen = f"cuda:{ranks.local % torch.cuda.device_count()}"  # SLURM may show each task one GPU, or all of them
    try:
        device = torch.device(chosen)
        torch.empty(0, device=device)
        if device.type == "cuda" and device.index is not None:
            torch.cuda.set_device(device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"--device {name} cannot be used ({one_line(str(error))}); choose auto, cpu or cuda."
        ) from None
    return device


def _check_devices(device: torch.device, ranks: Ranks) -> None:
    """NCCL takes one rank on a GPU, and none without."""
    gpu = str(torch.cuda.get_device_properties(device).uuid) if device.type == "cuda" else None
    gpus = ranks.all_gather_object(gpu)
    if any(gpus) and (None in gpus or len(set(gpus)) < ranks.count):
        raise InputError(
            f"{ranks.count} tasks have {len(set(gpus) - {None})} GPUs between them; give each its own (--gpus-per-task=1), or choose "
            "--device cpu."
        )
