"""Weights & Biases: a view of the run, whose folder stays the record."""

import io
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import xarray as xr
import yaml
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from ired_interp.errors import InputError, RunError
from ired_interp.files import atomic
from ired_interp.lightning_private import (
    name_wandb_run,
    open_wandb_run,
    release_wandb_run,
    wandb_arguments,
)
from ired_interp.loggers.publish import distributions, scalars
from ired_interp.loggers.run_folder import RunFolderLogger
from ired_interp.results import Run
from ired_interp.results.export import tables
from ired_interp.terminal import log

RUN_ID_KEY = "wandb_run_id"  # in a checkpoint
_RUN_ID_FILE = "wandb-run-id"
_MOST_ROWS = 2000
_SECONDS = 120  # that W&B's servers are given to answer, so that a run never hangs on them

Mode = Literal["auto", "offline", "online", "disabled"]


class WandB(WandbLogger, RunFolderLogger):
    """Log metrics, and the results of probes as tables, histograms, images and scalars.

    Names are stable: `<result>/<variable>/k<landscape>` for scalars and histograms,
    `<result>/table/<dimensions>`, `<result>/figure`. All are plotted against `trainer/global_step`,
    updates done. Offline runs lie in wandb/ of the run's folder; send them with `wandb sync`.

    Parameters
    ----------
    project : str
        W&B project.
    entity : str | None
        Team or user; the account's default if None.
    mode : Mode
        "auto" is online when this machine is logged in to W&B and offline otherwise (the variable
        WANDB_MODE decides where it is set); "offline", "online"; "disabled" does nothing.
    tags : list[str] | None
        Of the W&B run.

    Raises
    ------
    InputError
        If the mode does not exist.
    """

    def __init__(
        self,
        project: str = "ired-interp",
        entity: str | None = None,
        mode: Mode = "auto",
        tags: list[str] | None = None,
    ) -> None:
        if mode not in ("auto", "offline", "online", "disabled"):
            raise InputError(
                f"W&B has no mode {mode!r}; choose 'auto', 'offline', 'online' or 'disabled'."
            )
        super().__init__(project=project, entity=entity, tags=tags)
        del wandb_arguments(self)["anonymous"]  # Lightning's, of which W&B warns
        self.mode = mode
        self.run: Run | None = None
        self._broken = False

    def set_run(self, run: Run, config: str) -> None:
        """Name the W&B run by the run's folder, and keep its files there."""
        self.run = run
        name = "/".join(run.path.absolute().parts[-2:])
        name_wandb_run(self, name, str(run.path), run_id(run))
        wandb_arguments(self).update(group=run.path.parent.name, config=yaml.safe_load(config))

    @property
    def experiment(self) -> Any:
        """The W&B run; begun when first asked for.

        Raises
        ------
        RunError
            If W&B does not answer and mode "online" insists on it.
        """
        if open_wandb_run(self) is None and int(getattr(rank_zero_only, "rank", 0)) == 0:
            self._begin(chosen_mode(self.mode))
        return super().experiment

    def _begin(self, mode: str) -> None:
        import wandb

        settings = wandb.Settings(init_timeout=_SECONDS, finish_timeout=_SECONDS, silent=True)
        wandb_arguments(self).update(mode=mode, settings=settings)
        if self.run is not None:
            keep_run_id(self.run, str(self.version))
        try:
            begun = super().experiment
        except wandb.errors.Error as error:
            if self.mode == "online":
                raise RunError(
                    f"W&B cannot be reached ({error}); check the login, or train with mode: auto "
                    "or offline."
                ) from None
            log(f"W&B cannot be reached ({error}); the run goes on offline")
            self._begin("offline")
        else:
            log(f"W&B {mode}: {begun.url if mode == 'online' else begun.dir}")

    @rank_zero_only
    def log_result(self, label: str, result: xr.Dataset, step: int, path: Path) -> None:
        """Log one result of a probe, all of it in one W&B step."""
        import wandb
        from PIL import Image

        from ired_interp.report.figures import figures_of_file

        content: dict[str, Any] = dict(scalars(label, result))
        for name, values in distributions(label, result).items():
            content[name] = wandb.Histogram(values.tolist())
        for dimensions, table in tables(result).items():
            if len(table) <= _MOST_ROWS:
                content[f"{label}/table/{dimensions}"] = wandb.Table(dataframe=table)
        figures = [figure for figure in figures_of_file(path) if figure.panels]
        for figure in figures[:1]:
            image = Image.open(io.BytesIO(figure.png()))
            content[f"{label}/figure"] = wandb.Image(image, caption=f"{figure.title}, step {step}")
        self.log_metrics(content, step)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log as Lightning does; a W&B that fails is said once and left alone."""
        experiment = (
            self.experiment
        )  # a login that does not hold is an error; what comes later is not
        if self._broken or experiment is None:
            return
        try:
            super().log_metrics(metrics, step)
        except Exception as error:
            self._break(error)

    @rank_zero_only
    def set_summary(self, name: str, value: str) -> None:
        """Set a value of the run's summary, which W&B shows in its table of runs."""
        experiment = self.experiment
        if self._broken or experiment is None:
            return
        try:
            experiment.summary[name] = value
        except Exception as error:
            self._break(error)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End the W&B run; a later use of this logger continues it."""
        if (run := release_wandb_run(self)) is None:
            return
        try:
            run.finish(exit_code=0 if status == "success" else 1)
        except Exception as error:
            self._break(error)

    def _break(self, error: Exception) -> None:
        self._broken = True
        log(
            f"W&B stopped taking data ({type(error).__name__}: {error}); metrics and results stay "
            "in the run's folder"
        )


def chosen_mode(mode: Mode) -> str:
    """Return what "auto" means here."""
    import wandb

    if mode != "auto":
        return mode
    if "WANDB_MODE" in os.environ:
        return os.environ["WANDB_MODE"]
    try:
        return "online" if wandb.login(prompt=False) else "offline"
    except wandb.errors.Error as error:
        log(f"W&B cannot be reached ({error}); the run goes on offline")
        return "offline"


def run_id(run: Run) -> str:
    """Return the id of this run at W&B, kept in its folder so that a run that goes on stays one."""
    file = run.path / _RUN_ID_FILE
    return file.read_text().strip() if file.is_file() else secrets.token_hex(6)


def keep_run_id(run: Run, identity: str) -> None:
    """Write the id into the run's folder, unless it has one."""
    file = run.path / _RUN_ID_FILE
    if not file.is_file():
        with atomic(file) as temporary:
            temporary.write_text(identity + "\n")
