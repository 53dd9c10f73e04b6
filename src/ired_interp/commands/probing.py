"""What `ired probe` measures, and of what; its rehearsal measures the same."""

import argparse
from dataclasses import replace
from typing import Any

from ired_interp.baselines import AnswerEnergy, with_energy
from ired_interp.callbacks.configured import configured_measurements, measuring
from ired_interp.checkpoint import Checkpoint
from ired_interp.class_paths import check_class_paths
from ired_interp.config import SentenceParser, build, build_data
from ired_interp.errors import InputError
from ired_interp.files import read_yaml
from ired_interp.measure import Measurement
from ired_interp.module import IREDModule
from ired_interp.probes import HessianSpectrumY, Probe, Snapshot, SubspaceDrift
from ired_interp.solver import SolverModule
from ired_interp.tasks.base import Problems
from ired_interp.tasks.data import TaskData
from ired_interp.terminal import log
from ired_interp.yaml_bounds import load_yaml

_OF_MEASUREMENTS = ("weights", "problems", "variant")  # and not of their probes


def restore(
    checkpoint: Checkpoint | None, options: argparse.Namespace
) -> tuple[IREDModule, TaskData]:
    """Build the model and the data: those of the checkpoint, or of --config without one.

    Parameters
    ----------
    checkpoint : Checkpoint, optional
        What to restore.
    options : argparse.Namespace
        Of the command.

    Returns
    -------
    IREDModule and TaskData
        The model with its averaged weights, and the data.

    Raises
    ------
    InputError
        If there is no such model, or checkpoint, model and data do not fit each other.
    """
    given = _merged(options.config)
    if checkpoint is None:
        module, data = build(given)
        if any(p.requires_grad for p in module.parameters()):
            raise InputError(
                "this model has weights to be trained, but no --ckpt says which; name a "
                "checkpoint or a run."
            )
    else:
        module, own = checkpoint.build()
        if own is None and "data" not in given:
            raise InputError(
                f"{checkpoint.path} is a published checkpoint and names no data; add --config "
                "with its task."
            )
        chosen = build_data(given) if "data" in given else own
        assert chosen is not None
        data = chosen
        _check_fit(checkpoint, module, own, data)
        checkpoint.load_into(module, "average")
    model = with_energy(module)
    if model is None:
        raise InputError(
            f"{type(module).__name__} has no energy to probe; give a checkpoint of an IREDModule."
        )
    return model, data


def _check_fit(
    checkpoint: Checkpoint, module: SolverModule, own: TaskData | None, data: TaskData
) -> None:
    task = data.task
    if own is not None and own.task.name != task.name:
        raise InputError(
            f"{checkpoint.path} was trained on {own.task.name}, but --config says {task.name}; "
            "leave it out."
        )
    if isinstance(module, IREDModule) and module.energy.any_size:
        return
    dims = (module.condition_dim, module.solution_dim)
    if dims != (task.condition_dim, task.solution_dim):
        raise InputError(
            f"{checkpoint.path} takes problems of {dims[0]} and answers of {dims[1]} entries, but "
            "the task of --config has "
            f"{task.condition_dim} and {task.solution_dim}; give the configuration it was trained "
            "with."
        )


def _merged(files: list[str]) -> dict[str, Any]:
    return {key: value for file in files for key, value in read_yaml(file).items()}


def snapshot(
    checkpoint: Checkpoint | None, module: IREDModule, data: TaskData, measurement: Measurement
) -> Snapshot:
    """Take what a measurement looks at: its problems, and the module with its weights.

    Parameters
    ----------
    checkpoint : Checkpoint, optional
        Where weights come from; without it the module stays as it is.
    module : IREDModule
        The model, on the device to measure on.
    data : TaskData
        Where problems come from.
    measurement : Measurement
        Which of them.

    Returns
    -------
    Snapshot
        Of the module itself, not of a copy.

    Raises
    ------
    InputError
        If the checkpoint does not fit the module.
    """
    if checkpoint is not None:
        energy = module.energy
        trained = energy.model if isinstance(energy, AnswerEnergy) else module
        checkpoint.load_into(trained, measurement.weights)
    x, y, *_ = data.evaluation_batch(
        "probe", measurement.variant, 0, measurement.problems, module.device
    )
    digest, step = (checkpoint.digest, checkpoint.step) if checkpoint else (None, 0)
    return Snapshot(
        module.eval(),
        Problems(x, y),
        data.task,
        step,
        measurement.weights,
        digest,
        optimizer=checkpoint.optimizer if checkpoint else None,
    )


def chosen_measurements(
    checkpoint: Checkpoint | None, options: argparse.Namespace
) -> list[Measurement]:
    """Choose what the options name, else what the run's own callbacks measured, else one default.

    Parameters
    ----------
    checkpoint : Checkpoint, optional
        What is measured.
    options : argparse.Namespace
        Of the command; weights, problems and variant that are given hold for every measurement.

    Returns
    -------
    list of Measurement
        At least one.

    Raises
    ------
    InputError
        If a class cannot be imported, a name is unknown or a setting is refused.
    """
    given = {
        name: value for name in _OF_MEASUREMENTS if (value := getattr(options, name)) is not None
    }
    named = [m for file in options.config for m in configured_measurements(read_yaml(file))]
    own = checkpoint_measurements(checkpoint) if checkpoint else []
    if options.probes:
        several = len(options.ckpt) > 1
        asked = [_named(text, several) for text in options.probes]
        return [replace(measurement, **given) for measurement in asked]
    chosen = named or own
    if not chosen:
        log(
            "no probe is named, and no callback measured in training: measuring the default, "
            f"{HessianSpectrumY.name}"
        )
        chosen = [Measurement(HessianSpectrumY())]
    return [replace(measurement, **given) for measurement in chosen]


def checkpoint_measurements(checkpoint: Checkpoint) -> list[Measurement]:
    """List what the callbacks of the run measured in training, as its checkpoint says.

    Parameters
    ----------
    checkpoint : Checkpoint
        Whose callbacks count only if they measure, and their classes are vouched for.

    Returns
    -------
    list of Measurement
        In their order.

    Raises
    ------
    InputError
        If one of them names a class that nobody vouches for, or a setting is not accepted.
    """
    if checkpoint.config is None:
        return []
    kept = measuring(checkpoint.config["trainer"]["callbacks"], checkpoint.named)
    check_class_paths(kept, checkpoint.named, f"checkpoint {checkpoint.path}")
    return configured_measurements({"trainer": {"callbacks": kept}})


def _named(text: str, several: bool) -> Measurement:
    """Read a probe's name, alone or with settings as in `minimum: {starts: 8, problems: 16}`.

    Raises
    ------
    InputError
        If there is no such probe, or it takes no such settings.
    """
    name, colon, rest = text.partition(":")
    kind = Probe.named(name.strip())
    settings = load_yaml(rest, f"--probes {text}") if colon else {}
    if not isinstance(settings, dict):
        raise InputError(
            f"--probes {text} gives no settings; write them as in 'minimum: {{starts: 8}}'."
        )
    if kind is SubspaceDrift and several:
        settings = {"axis": "training", **settings}
    own = {key: value for key, value in settings.items() if key not in _OF_MEASUREMENTS}
    about = {key: value for key, value in settings.items() if key in _OF_MEASUREMENTS}
    parser = SentenceParser()
    parser.add_argument("--probe", type=kind)
    parser.add_argument("--weights", type=str)
    parser.add_argument("--problems", type=int)
    parser.add_argument("--variant", type=str)
    path = f"{kind.__module__}.{kind.__qualname__}"
    parsed = parser.parse_object({"probe": {"class_path": path, "init_args": own}, **about})
    return Measurement(parser.instantiate(parsed).probe, **about)
