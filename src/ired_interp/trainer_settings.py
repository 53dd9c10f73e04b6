"""Settings of a run and its Trainer that would fail, hang or do nothing: refused at the start."""

import math
import os
import re
from typing import Any

from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.accelerators import CPUAccelerator

from ired_interp.errors import InputError

_LONGEST_NAME = 200  # bytes, of the 255 that file systems allow: temporary names are longer
_LARGEST_SEED = 2**32 - 1
_LARGE_BATCH = 16384  # where two H100s made 1.6 times the steps of one
_LEAST = {
    "max_steps": 1,
    "log_every_n_steps": 1,
    "accumulate_grad_batches": 1,
    "num_nodes": 1,
    "num_sanity_val_steps": -1,
}
_ONE_EPOCH = "the whole run is one epoch of trainer.max_steps steps"
# Settings that this program decides itself: the values that agree with it, and what to use instead.
_DECIDED: dict[str, tuple[tuple[Any, ...], str]] = {
    "default_root_dir": ((None,), "--runs, --experiment and --name say where a run lies"),
    "enable_checkpointing": ((None, True), "a run keeps checkpoints as --save_every says"),
    "barebones": ((False,), "a run logs and keeps checkpoints"),
    "fast_dev_run": ((False, 0), "give trainer.max_steps 3, or use `ired check`"),
    "overfit_batches": ((0, 0.0), "every batch is drawn anew"),
    "limit_train_batches": ((None,), _ONE_EPOCH),
    "max_epochs": ((None, -1), _ONE_EPOCH),
    "min_epochs": ((None,), _ONE_EPOCH),
    "check_val_every_n_epoch": ((None,), f"{_ONE_EPOCH}; give trainer.val_check_interval in steps"),
    "reload_dataloaders_every_n_epochs": ((0,), _ONE_EPOCH),
}


def check_trainer(settings: Any) -> None:
    """Refuse settings of training that are impossible, or that nothing heeds.

    Parameters
    ----------
    settings : Namespace
        A command's parsed configuration.

    Raises
    ------
    InputError
        If there is one.
    """
    seed = settings.seed_everything
    if not isinstance(seed, bool):
        _check("seed_everything", seed, 0 <= seed <= _LARGEST_SEED, f"0 to {_LARGEST_SEED}")
    _check("save_every", settings.save_every, settings.save_every >= 1, "at least 1 step")
    _check("keep_best", settings.keep_best, settings.keep_best >= -1, "0 or more, or -1 for all")
    trainer = settings.trainer
    for name, least in _LEAST.items():
        value = trainer.get(name)
        fits = value is None or value >= least
        _check(f"trainer.{name}", value, fits, f"at least {least}")
    for name, (agreeing, instead) in _DECIDED.items():
        if (value := trainer.get(name)) not in agreeing:
            raise InputError(f"trainer.{name} is {value}, which cannot be chosen here: {instead}.")
    clip = trainer.get("gradient_clip_val")
    fits = clip is None or 0 <= clip < math.inf
    _check("trainer.gradient_clip_val", clip, fits, "0 (for none) or a positive number")
    interval = trainer.get("val_check_interval")
    if isinstance(interval, int | float):
        fits = interval >= 1 if isinstance(interval, int) else 0 < interval <= 1
        expected = "a number of steps, or a share of the run from 0 to 1"
        _check("trainer.val_check_interval", interval, fits, expected)
    if (least_steps := trainer.get("min_steps")) is not None:
        fits = 0 <= least_steps <= trainer.max_steps
        _check(
            "trainer.min_steps", least_steps, fits, f"0 to trainer.max_steps {trainer.max_steps}"
        )


def check_places(settings: Any) -> None:
    """Refuse names of runs that no folder below --runs can have.

    Parameters
    ----------
    settings : Namespace
        A command's parsed configuration.

    Raises
    ------
    InputError
        If one is empty, too long, leads out of its folder, or holds what cannot be printed.
    """
    for option in ("name", "experiment"):
        if (value := settings.get(option)) is not None:
            parts = value.split("/") if option == "experiment" else [value]
            for part in parts:
                _check_name(option, value, part)
    if settings.runs is None or not settings.runs or "\0" in settings.runs:
        raise InputError(f"--runs is {settings.runs!r}; name the folder where runs are kept.")
    if settings.experiment is None:
        raise InputError("experiment is null; name the folder for runs that belong together.")


def _check_name(option: str, value: str, part: str) -> None:
    fits = (
        0 < len(part.encode(errors="replace")) <= _LONGEST_NAME
        and part.isprintable()
        and not part.startswith(".")
        and "/" not in part
        and not re.fullmatch("null|None|~", part)
    )
    shown = repr(value if len(value) <= 40 else f"{value[:39]}…")
    expected = f"a name of at most {_LONGEST_NAME} printable characters without / or leading dot"
    _check(option, shown, fits, expected)


def check_processes(trainer: Trainer) -> None:
    """Refuse processes that nobody starts, or far more of them than there are cores.

    Parameters
    ----------
    trainer : Trainer
        Built, not yet started.

    Raises
    ------
    InputError
        If there are such.
    """
    environment = getattr(trainer.strategy, "cluster_environment", None)
    alone = isinstance(environment, LightningEnvironment) and "NODE_RANK" not in os.environ
    if trainer.num_nodes > 1 and (environment is None or alone):
        raise InputError(
            f"trainer.num_nodes is {trainer.num_nodes}, but nothing has started this command on "
            "other nodes, for which it would wait; use `ired submit`, srun or torchrun."
        )
    most = max(16, os.cpu_count() or 1)
    if isinstance(trainer.accelerator, CPUAccelerator) and trainer.num_devices > most:
        raise InputError(
            f"trainer.devices is {trainer.num_devices}, a process each on the CPU; at most {most} "
            "make sense on this machine."
        )


def sharing_advice(device: str, processes: int, batch_size: int) -> str | None:
    """Say where a batch is too small for several GPUs to gain by sharing it.

    Parameters
    ----------
    device : str
        Type of the devices, "cuda" for GPUs.
    processes : int
        One a device.
    batch_size : int
        Problems a step, over all devices.

    Returns
    -------
    str or None
        A sentence; None where there is nothing to say.
    """
    if device != "cuda" or processes == 1 or batch_size >= _LARGE_BATCH:
        return None
    return (
        f"data.batch_size is {batch_size}, with which one GPU is likely to be about as fast as "
        f"{processes}, which wait for each other at every step; give --trainer.devices 1, or a "
        f"batch of {_LARGE_BATCH} or more"
    )


def _check(name: str, value: Any, fits: bool, expected: str) -> None:
    if not fits:
        raise InputError(f"{name} is {value}; expected {expected}.")
