"""The LightningCLI of `ired fit`, `validate` and `test`: one parser for all they configure."""

import logging
import warnings
from typing import Any, Literal

import torch
import torch.distributed as dist
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser

import ired_interp.callbacks  # noqa: F401  (its classes can be named in configurations)
from ired_interp.callbacks import ProbeCallback, RunProgress, WeightAveraging
from ired_interp.config import (
    SentenceParser,
    check_order,
    configuration_file,
    link_model_to_data,
    refuse_nulls,
    told_in_a_sentence,
)
from ired_interp.device import automatic_device
from ired_interp.errors import InputError
from ired_interp.lightning_private import HookedCLI, leave_signals_alone
from ired_interp.solver import SolverModule
from ired_interp.tasks.data import TaskData
from ired_interp.trainer_settings import check_places, check_processes, check_trainer
from ired_interp.yaml_bounds import check_option_values

_CONFIG = ("--config", "-c")
_TRAINER_DEFAULTS: dict[str, Any] = {
    "max_steps": 50_000,
    "gradient_clip_val": 1.0,
    "val_check_interval": 1000,
    "check_val_every_n_epoch": None,
    "num_sanity_val_steps": 0,
    "log_every_n_steps": 50,
    "enable_model_summary": False,
}


class Parser(SentenceParser, LightningArgumentParser):
    """Lightning's parser, with errors of one sentence."""


class IREDCLI(HookedCLI):
    """Parse one command's arguments, build model, data and trainer, and run its method."""

    def __init__(self, command: str, arguments: list[str]) -> None:
        self.command = command
        quiet()
        arguments = with_files(arguments)
        check_order(configuration_names(arguments))
        check_option_values(arguments)
        super().__init__(
            SolverModule,
            TaskData,
            subclass_mode_model=True,
            save_config_callback=None,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            parser_class=Parser,
            parser_kwargs={"prog": "ired", command: {"prog": f"ired {command}"}},
            trainer_defaults=_TRAINER_DEFAULTS,
            args=[command, *arguments],
        )
        if dist.is_initialized():  # a process that ends with a gloo group is at times aborted
            dist.destroy_process_group()

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Name the command alone, and what of its method is no option."""
        taken = {
            "model",
            "datamodule",
            "dataloaders",
            "train_dataloaders",
            "val_dataloaders",
            "ckpt_path",
            "weights_only",
        }
        return {self.command: taken | {"verbose"}}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add where runs lie, how they are saved, and the averaging of weights."""
        parser.add_argument(
            "--experiment",
            type=str,
            default="default",
            help="folder below --runs for runs that belong together",
        )
        parser.add_argument(
            "--name",
            type=str | None,
            default=None,
            help="the run's folder; the date and time by default",
        )
        parser.add_argument("--runs", type=str, default="runs", help="where runs are kept")
        parser.add_argument(
            "--save_every", type=int, default=500, help="steps between saves of last.ckpt"
        )
        parser.add_argument(
            "--keep_best",
            type=int,
            default=1,
            help="checkpoints kept for their validation error, besides last.ckpt",
        )
        parser.add_argument(
            "--matmul_precision",
            type=Literal["highest", "high", "medium"],
            default="highest",
            help="of float32 products on a GPU; high is TF32, medium bfloat16 "
            "(torch.set_float32_matmul_precision)",
        )
        parser.add_argument(
            "--stop_on_collapse",
            type=bool,
            default=False,
            help="end training where the validation error collapses: above that of trivial answers "
            "after it was lower, or by half",
        )
        parser.add_lightning_class_args(WeightAveraging, "weight_averaging")
        link_model_to_data(parser)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, and refuse what would fail or do nothing once training has begun."""
        super().parse_arguments(parser, args)
        settings = self.settings
        refuse_nulls(settings)
        check_places(settings)
        check_trainer(settings)

    def instantiate_classes(self) -> None:
        """Build model, data and trainer; what they refuse is an InputError."""
        with told_in_a_sentence():
            super().instantiate_classes()

    def after_instantiate_classes(self) -> None:
        """Refuse processes that would wait for others in vain."""
        check_processes(self.trainer)

    def before_instantiate_classes(self) -> None:
        """Set how exact products of float32 matrices are."""
        torch.set_float32_matmul_precision(self.settings.matmul_precision)

    @property
    def settings(self) -> Any:
        """The command's parsed configuration."""
        return self.config[self.command]

    def dump(self, **trainer: Any) -> str:
        """Return the resolved configuration as YAML, from which the same run can be started.

        Settings of the trainer are replaced by those given.
        """
        settings = self.settings.clone()
        for name, value in trainer.items():
            settings.trainer[name] = value
        return self.dump_command(self.command, settings)

    def make_trainer(self, config: dict[str, Any], callbacks: list[Any]) -> Trainer:
        """Build the Trainer, with the command's own callbacks and places.

        Signals are not its business: Lightning's own handler only notes SIGTERM, which a test
        would never look for.
        """
        progress = RunProgress(live=config.get("enable_progress_bar") is not False)
        config["enable_progress_bar"] = False  # Lightning's own
        config["callbacks"] = [
            *callbacks,
            *_as_list(config.get("callbacks")),
            progress,
            *self.own_callbacks(),
        ]
        _refuse_twice(config["callbacks"])
        if config.get("accelerator") in (None, "auto"):
            automatic_device()  # which Lightning chooses, too, but without a word
        trainer = Trainer(**{**config, **self.trainer_paths(config["logger"])})
        leave_signals_alone(trainer)
        return trainer

    def own_callbacks(self) -> list[Any]:
        """Callbacks that the command adds after the configured ones."""
        return []

    def trainer_paths(self, logger: Any) -> dict[str, Any]:
        """Trainer arguments that say where things are written; by default nowhere."""
        return {"logger": False, "enable_checkpointing": False}


def configuration_names(arguments: list[str]) -> list[str]:
    """Return the values of `--config value` or `--config=value`, in order."""
    values = []
    for position, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in _CONFIG:
            values += [value] if equals else arguments[position + 1 : position + 2]
    return values


def with_files(arguments: list[str]) -> list[str]:
    """Return the arguments with each configuration's name replaced by the file that it means.

    Raises
    ------
    InputError
        If a name means none.
    """
    replaced: list[str] = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if replaced and replaced[-1] in _CONFIG:
            replaced.append(configuration_file(argument))
        elif equals and name in _CONFIG:
            replaced.append(f"{name}={configuration_file(value)}")
        else:
            replaced.append(argument)
    return replaced


def _refuse_twice(callbacks: list[Any]) -> None:
    """Refuse callbacks that make the same measurement at the same steps.

    Raises
    ------
    InputError
        If there are such.
    """
    measured = set()
    for callback in callbacks:
        if isinstance(callback, ProbeCallback):
            key = (callback.every_n_steps, callback.measurement.identity)
            if key in measured:
                raise InputError(
                    f"callback {type(callback).__name__} is configured twice with the same "
                    "settings; leave one out."
                )
            measured.add(key)


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


def quiet() -> None:
    """Keep Lightning's advice that does not apply here off the screen."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*args parameter is intended to run from within Python.*",
        ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
        ".*srun. command is available on your system but is not used.*",
        ".*`torch.jit.script` is deprecated.*",
        ".*instantiate_classes.*was deprecated.*",
        ".*GPU available but not used.*",
        ".*running without CUDA graph capture.*",  # as steps do that are not replayed
        "The AccumulateGrad node's stream does not match.*",  # as DDP's never does in Lightning
        ".*Checkpoint directory .* exists and is not empty.*",
        "(?s).*import path denylist.*",  # of a class that is refused in any case
    ):
        warnings.filterwarnings("ignore", message=message)
