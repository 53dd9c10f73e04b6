"""The folder of a run: where everything it made lies."""

import csv
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ired_interp.errors import InputError
from ired_interp.files import atomic

LAST = "last.ckpt"


@dataclass(frozen=True)
class Run:
    """The folder runs/<experiment>/<name>/, or of another Trainer's training.

    It holds config.yaml, checkpoints/, metrics/version_<n>/metrics.csv and results/<probe>/*.nc;
    where training imported modules of the user's own, modules.txt says from which folders. Of
    another training there are results/<probe>/*.nc, and metrics.csv where its logger writes that.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The file of the resolved configuration."""
        return self.path / "config.yaml"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def results(self) -> Path:
        """The folder of results."""
        return self.path / "results"

    @property
    def modules(self) -> Path:
        """Where it keeps from which folders training imported the user's own modules."""
        return self.path / "modules.txt"

    def write_module_folders(self, folders: Sequence[Path]) -> None:
        """Keep the folders of the user's own modules; nothing where there are none."""
        if folders:
            with atomic(self.modules) as temporary:
                temporary.write_text("".join(f"{folder.resolve()}\n" for folder in folders))

    def module_folders(self) -> list[Path]:
        """Return the folders kept, as far as they exist on this machine and outside of the run."""
        if not self.modules.is_file():
            return []
        folders = [Path(line) for line in self.modules.read_text().splitlines()]
        return [
            folder
            for folder in folders
            if folder.is_absolute()
            and folder.is_dir()
            and not folder.resolve().is_relative_to(self.path.resolve())
        ]

    def write_config(self, text: str) -> None:
        """Keep the resolved configuration."""
        with atomic(self.config) as temporary:
            temporary.write_text(text)

    @property
    def begun(self) -> bool:
        """Whether training has left anything: a checkpoint, metrics or results.

        A checkpoint is there from before the first step.
        """
        return (
            (self.checkpoints / LAST).is_file() or bool(self.metrics()) or bool(self.result_files())
        )

    def last_checkpoint(self) -> Path:
        """Return the newest checkpoint, preferring last.ckpt.

        Raises
        ------
        InputError
            If the run has none.
        """
        last = self.checkpoints / LAST
        if last.is_file():
            return last
        raise InputError(
            f"run {self.path} holds no checkpoint {last}; if training never began, start it: ired "
            f"fit --resume {self.path}; "
            "if the file was lost, start another run."
        )

    def result_files(self) -> list[Path]:
        """All results, by probe and step."""
        return sorted(self.results.glob("*/*.nc"))

    def metrics(self) -> dict[int, dict[str, float]]:
        """Read the logged metrics by step (updates done).

        Where a resumed run logged a step again, the later value holds.
        """
        merged: dict[int, dict[str, float]] = {}
        versions = sorted(
            self.path.glob("metrics/version_*/metrics.csv"),
            key=lambda p: int(p.parent.name.split("_")[1]),
        )
        versions += [file for file in [self.path / "metrics.csv"] if file.is_file()]
        for file in versions:
            with file.open(newline="") as lines:
                rows = [row for row in csv.DictReader(lines) if (row.get("step") or "").isdigit()]
            if rows:
                first = int(rows[0]["step"])
                merged = {step: values for step, values in merged.items() if step < first}
            for row in rows:
                values = {
                    key: float(value)
                    for key, value in row.items()
                    if key and key not in ("step", "epoch") and value
                }
                merged.setdefault(int(row["step"]), {}).update(values)
        return merged


def default_name() -> str:
    """Return a name for a run that was given none: the cluster's job, or the date and time."""
    job = os.environ.get("SLURM_JOB_ID")
    return f"job-{job}" if job else time.strftime("%Y-%m-%d_%H-%M-%S")


def open_run(path: str | Path) -> Run:
    """Return the run in a folder, or the results of another Trainer's training.

    Raises
    ------
    InputError
        If the folder does not exist or holds neither.
    """
    run = Run(Path(path))
    if run.config.is_file() or run.result_files():
        return run
    below = dict.fromkeys(
        str(file.parents[2]) for file in sorted(run.path.glob("**/results/*/*.nc"))
    )
    if below:
        raise InputError(
            f"{path} is not a run folder, but there are results below it; name one of "
            f"{', '.join(below)}."
        )
    raise InputError(
        f"{path} is not a run folder (it has no config.yaml and no results); `ired runs` lists the "
        "runs there are."
    )


def find_runs(root: Path) -> list[Run]:
    """Find the runs below a folder, oldest configuration first."""
    files = [
        p for p in root.glob("**/config.yaml") if not p.parent.name.startswith(".")
    ]  # hidden: still being made
    return [Run(p.parent) for p in sorted(files, key=lambda p: p.stat().st_mtime)]
