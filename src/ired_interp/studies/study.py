"""What a study's file says: the question, the grid of trainings, and what is measured of each."""

import itertools
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ired_interp.errors import InputError
from ired_interp.files import read_yaml
from ired_interp.results.run import Run
from ired_interp.shipped import find_configuration
from ired_interp.studies.cell import Cell, Step


@dataclass(frozen=True)
class Study:
    """A question, and the trainings and measurements that answer it.

    Attributes
    ----------
    name : str
        The folder below `runs` that all its runs lie in.
    question : str
        What the study answers, in a sentence or two.
    cells : tuple of Cell
        One for each training, place in its grid, and seed.
    """

    name: str
    question: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class _File:
    """The settings of a study's file; docs/studies.md explains them."""

    question: str
    trainings: dict[str, Any]
    seeds: tuple[int, ...] = (0,)
    options: dict[str, Any] | None = None
    test: bool = True
    probes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Training:
    """The settings of one training in it."""

    config: str | list[str]
    options: dict[str, Any] | None = None
    grid: dict[str, list[Any]] | None = None


def read_study(name: str, runs: Path) -> Study:
    """Read a study's file.

    Parameters
    ----------
    name : str
        Path of the file, or the name of one that comes with the program.
    runs : Path
        The folder that keeps runs.

    Raises
    ------
    InputError
        If the file, or a configuration that it names, does not exist, or says what no study can.
    """
    path = find_configuration(name)
    file = _checked(_File, read_yaml(path), str(path))
    if not isinstance(file.trainings, dict) or not file.trainings:
        raise InputError(f"{path} names no trainings; write `trainings: {{NAME: {{config: …}}}}`.")
    seeds = file.seeds
    if not isinstance(seeds, list | tuple) or not seeds or not all(type(s) is int for s in seeds):
        raise InputError(f"{path} has seeds: {seeds!r}; expected a list of whole numbers.")
    probes = [Step(("probe", "--config", _existing(probe))) for probe in file.probes]
    tests = [Step(("test",))] if file.test else []
    cells = []
    for title, content in file.trainings.items():
        training = _checked(_Training, content, f"{path}, training {title!r},")
        configs = [training.config] if isinstance(training.config, str) else training.config
        files = [_existing(config) for config in configs]
        for place in _places(training.grid or {}, f"{path}, training {title!r},"):
            label = " ".join([str(title), *(f"{_short(k)}={_plain(v)}" for k, v in place.items())])
            options = {**(file.options or {}), **(training.options or {}), **place}
            for seed in dict.fromkeys(seeds):
                fit = [word for one in files for word in ("--config", one)]
                fit += [word for k, v in options.items() for word in (f"--{k}", _plain(v))]
                fit += ["--seed_everything", str(seed)]
                run = Run(runs / path.stem / f"{_safe(label)}-seed{seed}")
                named = (*files, *(step.arguments[-1] for step in probes))
                steps = (Step(("fit", *fit)), *tests, *probes)
                cells.append(Cell(label, seed, run, named, steps))
    folders = [cell.run.path for cell in cells]
    if twice := next((f for f in folders if folders.count(f) > 1), None):
        raise InputError(f"{path} has two trainings in one folder, {twice}; name them apart.")
    return Study(path.stem, str(file.question).strip(), tuple(cells))


def _checked(kind: Any, content: Any, where: str) -> Any:
    if not isinstance(content, dict):
        raise InputError(f"{where} holds {content!r}; expected a mapping of settings.")
    known = [field.name for field in fields(kind)]
    if unknown := [key for key in content if key not in known]:
        raise InputError(f"{where} has no setting {unknown[0]!r}; there are {', '.join(known)}.")
    try:
        return kind(**content)
    except TypeError:
        missing = next(name for name in known if name not in content)
        raise InputError(f"{where} lacks `{missing}:`; write it.") from None


def _existing(config: Any) -> str:
    return str(find_configuration(str(config)))


def _places(grid: dict[str, list[Any]], where: str) -> list[dict[str, Any]]:
    for key, values in grid.items():
        if not isinstance(values, list) or not values:
            raise InputError(f"{where} has grid {key}: {values!r}; expected a list of values.")
    return [dict(zip(grid, choice, strict=True)) for choice in itertools.product(*grid.values())]


def _plain(value: Any) -> str:
    """Return a setting's value as the command line takes it."""
    return value if isinstance(value, str) else json.dumps(value)


def _short(key: str) -> str:
    return key.rpartition(".")[2]


def _safe(label: str) -> str:
    return "".join(c if c.isalnum() or c in "._+=" else "-" for c in label).strip("-.")
