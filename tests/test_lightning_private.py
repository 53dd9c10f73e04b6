"""Lightning's private parts are as lightning_private takes them to be; no other module uses any.

A failure here after an upgrade means: read what Lightning changed, mend that one module, and add
the version to its first line and to the bound in pyproject.toml.
"""

import ast
import inspect
import re
import signal
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning.pytorch
import pytest
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger

from conftest import ROOT
from ired_interp import lightning_private
from ired_interp.callbacks import WeightAveraging
from ired_interp.lightning_private import (
    HookedCLI,
    averaged_module,
    averages_taken,
    leave_signals_alone,
    name_wandb_run,
    never_skip_fit,
    open_wandb_run,
    release_wandb_run,
    set_tensorboard_folder,
    validate_last_step,
    validation_due,
    wandb_arguments,
)

PRIVATE = re.compile(r"_[a-z]\w*")


def trainer(folder: Path, *callbacks: Callback, **settings: Any) -> Trainer:
    quiet: dict[str, Any] = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "default_root_dir": folder,
    }
    return Trainer(callbacks=list(callbacks), **quiet, **settings)


class Recorder(Callback):
    """Keeps which steps validation was said to be due after, and those it came after."""

    def __init__(self) -> None:
        self.due: list[int] = []
        self.validated: list[int] = []
        self.handler: Any = None
        self.ended = 0

    def on_train_batch_end(self, trainer: Trainer, *rest: Any) -> None:
        self.handler = signal.getsignal(signal.SIGTERM)
        if validation_due(trainer):
            self.due.append(trainer.global_step)

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.validated.append(trainer.global_step)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.ended += 1


def test_the_installed_version_is_one_that_was_seen_and_the_bound_ends_with_its_series():
    seen = re.findall(r"\d+\.\d+\.\d+", lightning_private.__doc__ or "")
    assert version("lightning") in seen
    assert f'"lightning>={seen[0]},<2.7"' in (ROOT / "pyproject.toml").read_text()


def test_validation_is_due_exactly_after_the_steps_that_it_follows(tmp_path: Path):
    spy = Recorder()
    trainer(tmp_path, spy, max_steps=10, val_check_interval=3, limit_val_batches=1).fit(
        BoringModel()
    )
    assert spy.due == spy.validated == [3, 6, 9]


def test_the_last_step_is_validated_once_whatever_the_interval(tmp_path: Path):
    validated = []
    for steps, interval in ((10, 3), (9, 3), (2, 3)):
        spy = Recorder()
        trained = trainer(
            tmp_path, spy, max_steps=steps, val_check_interval=interval, limit_val_batches=1
        )
        validate_last_step(trained)
        trained.fit(BoringModel())
        assert spy.due == spy.validated
        validated.append(spy.validated)
    assert validated == [[3, 6, 9, 10], [3, 6, 9], [2]]


def test_a_fit_with_no_step_left_still_begins_and_ends(tmp_path: Path):
    ends = []
    for patch in (lambda trainer: None, never_skip_fit):
        spy = Recorder()
        trained = trainer(tmp_path, spy, max_steps=0)
        patch(trained)
        trained.fit(BoringModel())
        ends.append(spy.ended)
    assert ends == [0, 1]


def test_signals_keep_the_handlers_that_they_had(tmp_path: Path):
    before = signal.getsignal(signal.SIGTERM)
    kept = []
    for patch in (lambda trainer: None, leave_signals_alone):
        spy = Recorder()
        trained = trainer(tmp_path, spy, max_steps=1, limit_val_batches=0)
        patch(trained)
        trained.fit(BoringModel())
        kept.append(spy.handler == before)
    assert kept == [False, True]
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_averaged_module_is_a_copy_whose_updates_are_counted(tmp_path: Path):
    averaging = WeightAveraging(0.5, 1)
    assert averaged_module(averaging) is None
    assert averages_taken(averaging) == 0
    module = BoringModel()
    trainer(tmp_path, averaging, max_steps=4, limit_val_batches=0).fit(module)
    assert isinstance(averaged_module(averaging), BoringModel)
    assert averaged_module(averaging) is not module
    assert averages_taken(averaging) == 4


def test_tensorboard_writes_into_the_folder_set_later(tmp_path: Path):
    logger = TensorBoardLogger(".", name="", version="events")
    set_tensorboard_folder(logger, str(tmp_path))
    logger.log_metrics({"loss": 1.0}, 1)
    logger.finalize("success")
    assert list((tmp_path / "events").glob("events.*"))


def test_a_wandb_logger_begins_its_run_with_what_was_set_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import wandb

    begun: list[dict[str, Any]] = []

    class Run:
        id = "from-wandb"

    monkeypatch.setattr(wandb, "run", None)
    monkeypatch.setattr(wandb, "init", lambda **keywords: (begun.append(keywords), Run())[1])
    logger = WandbLogger(project="p")
    assert "anonymous" in wandb_arguments(logger)
    name_wandb_run(logger, "experiment/run", str(tmp_path), "identity")
    wandb_arguments(logger)["mode"] = "offline"
    assert (logger.name, logger.save_dir, logger.version) == ("p", str(tmp_path), "identity")
    assert open_wandb_run(logger) is None
    run = logger.experiment
    assert open_wandb_run(logger) is run
    expected = {"name": "experiment/run", "dir": str(tmp_path), "id": "identity", "mode": "offline"}
    assert expected.items() <= begun[0].items()
    assert release_wandb_run(logger) is run
    assert open_wandb_run(logger) is None
    assert logger.version == "from-wandb"
    assert logger.experiment is not run


def test_the_cli_calls_its_named_hooks_and_dumps_a_commands_settings():
    calls = []

    class Hooked(HookedCLI):
        def make_trainer(self, config: dict[str, Any], callbacks: list[Any]) -> Trainer:
            calls.append("make_trainer")
            return super().make_trainer({**config, "logger": False}, callbacks)

        def run_command(self, name: str) -> None:
            calls.append(name)

    cli = Hooked(BoringModel, args=["fit", "--trainer.max_steps", "3"], save_config_callback=None)
    assert calls == ["make_trainer", "fit"]
    assert "max_steps: 3" in cli.dump_command("fit", cli.config["fit"])
    for name in ("_instantiate_trainer", "_run_subcommand"):
        hooked, own = (inspect.signature(getattr(c, name)) for c in (HookedCLI, LightningCLI))
        assert list(hooked.parameters) == list(own.parameters)


def test_no_other_module_uses_a_private_part_of_lightning():
    folder = Path(lightning.pytorch.__file__).parents[1]
    theirs = {
        name
        for file in folder.rglob("*.py")
        for name in re.findall(r"(?:self\.|def |class )(_[a-z]\w*)", file.read_text())
    }
    found = []
    for file in sorted((ROOT / "src" / "ired_interp").rglob("*.py")):
        tree = ast.parse(file.read_text())
        own = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)}
        own |= {
            n.attr
            for n in ast.walk(tree)
            if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)
        }
        lightnings = "lightning" in file.read_text()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lightning."):
                found += [(file.name, a.name) for a in node.names if a.name.startswith("_")]
            if (
                lightnings
                and isinstance(node, ast.Attribute)
                and PRIVATE.fullmatch(node.attr)
                and node.attr in theirs - own
            ):
                found.append((file.name, node.attr))
    assert {name for name, _ in found} == {"lightning_private.py"}, found
