"""What a study has done to a cell so far, kept on disk beside the runs."""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from ired_interp.errors import InputError
from ired_interp.files import atomic, read_yaml
from ired_interp.shipped import shipped
from ired_interp.studies.cell import Cell, Step


class Record:
    """The steps of a cell that are done, and the seconds that each took.

    It also holds what the training was begun with, so that a file that has changed since is
    noticed instead of mixing two studies.

    Parameters
    ----------
    cell : Cell
        Whose record it is.

    Raises
    ------
    InputError
        If the run was begun with other settings than the cell's.
    """

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        name = cell.run.path.name
        self.path = cell.run.path.parent / ".study" / f"{name}.json"
        self.log = self.path.with_suffix(".log")
        words = [_portable(word) for word in cell.steps[0].arguments]
        begun = {"fit": words, "configs": _digests(cell.configs)}
        self._content: dict[str, Any] = {**begun, "done": {}}
        if self.path.is_file():
            kept = json.loads(_portable(self.path.read_text()))
            if changed := [key for key in begun if kept[key] != begun[key]]:
                what = "settings" if "fit" in changed else "settings in its configuration files"
                raise InputError(
                    f"run {cell.run.path} was begun by this study with other {what}; name the "
                    f"training otherwise, or remove the run and {self.path} to make it again."
                )
            self._content = kept
        elif cell.run.path.exists():
            raise InputError(
                f"run {cell.run.path} exists, but was not begun by this study; rename the study's "
                "file or the training."
            )

    def begin(self) -> None:
        """Keep the record before the first step, so that the run is known as the study's."""
        if not self.path.is_file():
            self._write()

    def seconds(self, step: Step) -> float | None:
        """Return how long a step that is done took, in all its attempts; None if it is not done."""
        entry = self._content["done"].get(_key(step))
        return None if entry is None or not entry["ended"] else float(entry["seconds"])

    def add(self, step: Step, seconds: float, ended: bool) -> None:
        """Keep that a step ran for some seconds, and whether it is done with that."""
        before = self._content["done"].get(_key(step), {"seconds": 0.0})
        total = before["seconds"] + seconds
        self._content["done"][_key(step)] = {"seconds": total, "ended": ended}
        self._content.get("left_to", {}).pop(_key(step), None)
        self._write()

    def leave_to(self, step: Step, profile: str) -> None:
        """Keep that a step is left to a job of a profile."""
        self._content.setdefault("left_to", {})[_key(step)] = profile
        self._write()

    def left_to(self, step: Step) -> str | None:
        """Return the profile whose job a step is left to; None if it is left to none."""
        profile = self._content.get("left_to", {}).get(_key(step))
        return None if profile is None else str(profile)

    def take_back(self, step: Step) -> None:
        """Keep that no job makes a step any more."""
        if self._content.get("left_to", {}).pop(_key(step), None) is not None:
            self._write()

    def remaining(self) -> list[Step]:
        """Return the steps that are not done; all of them where the run is gone."""
        if not self._cell.run.config.is_file():
            return list(self._cell.steps)
        return [step for step in self._cell.steps if self.seconds(step) is None]

    def _write(self) -> None:
        with atomic(self.path) as temporary:
            temporary.write_text(json.dumps(self._content, indent=1))


def _key(step: Step) -> str:
    return _portable(" ".join(step.arguments))


def _portable(text: str) -> str:
    """Name files that come with the program as in any other place that it is installed at."""
    return text.replace(f"{shipped('')}/", "")


def _digests(configs: tuple[str, ...]) -> dict[str, str]:
    return {_portable(name): _digest(name, Path(name).read_bytes()) for name in configs}


@cache
def _digest(name: str, content: bytes) -> str:
    """Tell settings apart, whatever their comments; a file of the same content is parsed once."""
    settings = json.dumps(read_yaml(name), sort_keys=True, default=str)
    return hashlib.sha256(settings.encode()).hexdigest()[:16]
