"""The folder of a run: where everything it made lies."""

import csv
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ired_interp.errors import InputError
from ired_interp.files import atomic, is_regular, read_regular

LAST = "last.ckpt"
_VERSION = re.compile(r"version_(\d+)")
_MOST_TEXT = 100_000  # bytes of modules.txt


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
        text = read_regular(self.modules, _MOST_TEXT, "list of modules' folders").decode(
            "utf-8", "replace"
        )
        folders = [Path(line) for line in text.splitlines() if "\0" not in line]
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
        return sorted(file for file in self.results.glob("*/*.nc") if is_regular(file))

    def metrics_files(self) -> list[Path]:
        """List the files of logged metrics, one for each time that training was begun, in order."""
        found = {
            int(match[1]): file
            for file in self.path.glob("metrics/version_*/metrics.csv")
            if (match := _VERSION.fullmatch(file.parent.name)) and is_regular(file)
        }
        single = self.path / "metrics.csv"
        return [found[version] for version in sorted(found)] + [single] * is_regular(single)

    def metrics(self) -> dict[int, dict[str, float]]:
        """Read the logged metrics by step (updates done).

        Where a resumed run logged a step again, the later value holds.
        """
        merged: dict[int, dict[str, float]] = {}
        for file in self.metrics_files():
            with file.open(newline="", errors="replace") as lines:
                rows = [row for row in csv.DictReader(lines) if (row.get("step") or "").isdecimal()]
            if rows:
                first = int(rows[0]["step"])
                merged = {step: values for step, values in merged.items() if step < first}
            for row in rows:
                values = {
                    key: number
                    for key, value in row.items()
                    if key
                    and key not in ("step", "epoch")
                    and (number := _number(value)) is not None
                }
                merged.setdefault(int(row["step"]), {}).update(values)
        return merged


def _number(text: str | None) -> float | None:
    """Read a number; None where there is none, as in a line that a full disk cut short."""
    try:
        return float(text) if text else None
    except ValueError:
        return None


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
        file
        for file in root.glob("**/config.yaml")
        if not file.parent.name.startswith(".") and is_regular(file)
    ]  # hidden: still being made
    return [Run(p.parent) for p in sorted(files, key=lambda p: p.stat().st_mtime)]
