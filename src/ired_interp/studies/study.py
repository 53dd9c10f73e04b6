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
from ired_interp.studies.quantity import Quantity, read_quantities


@dataclass(frozen=True)
class Study:
    """A question, and the trainings and measurements that answer it.

    Attributes
    ----------
    name : str
        Of its file.
    folder : Path
        Where all its runs lie, beside those of other studies of the same experiment.
    question : str
        What the study answers, in a sentence or two.
    cells : tuple of Cell
        One for each training, place in its grid, and seed.
    answers : tuple of Quantity
        What answers the question, the first first.
    """

    name: str
    folder: Path
    question: str
    cells: tuple[Cell, ...]
    answers: tuple[Quantity, ...] = ()


@dataclass(frozen=True)
class _File:
    """The settings of a study's file; docs/studies.md explains them."""

    question: str
    trainings: dict[str, Any]
    experiment: str | None = None
    seeds: tuple[int, ...] = (0,)
    options: dict[str, Any] | None = None
    test: bool = True
    probes: list[Any] | None = None
    answers: list[Any] | None = None


@dataclass(frozen=True)
class _Training:
    """The settings of one training in it."""

    config: str | list[str]
    options: dict[str, Any] | None = None
    grid: dict[str, list[Any]] | None = None
    probes: list[Any] | None = None


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
    file = _checked(_File, _with_base(path), str(path))
    if not isinstance(file.trainings, dict) or not file.trainings:
        raise InputError(f"{path} names no trainings; write `trainings: {{NAME: {{config: …}}}}`.")
    seeds = file.seeds
    if not isinstance(seeds, list | tuple) or not seeds or not all(type(s) is int for s in seeds):
        raise InputError(f"{path} has seeds: {seeds!r}; expected a list of whole numbers.")
    folder = runs / _experiment(file.experiment, path)
    tests = [Step(("test",))] if file.test else []
    cells = []
    for title, content in file.trainings.items():
        training = _checked(_Training, content, f"{path}, training {title!r},")
        configs = [training.config] if isinstance(training.config, str) else training.config
        files = [_existing(config) for config in configs]
        where = f"{path}, training {title!r},"
        probes = _probes(file.probes, str(path)) + _probes(training.probes, where)
        named = (*files, *(s.arguments[-1] for s in probes if s.arguments[-2] == "--config"))
        for place in _places(training.grid or {}, where):
            label = " ".join([str(title), *(f"{_short(k)}={_plain(v)}" for k, v in place.items())])
            options = {**(file.options or {}), **(training.options or {}), **place}
            for seed in dict.fromkeys(seeds):
                fit = [word for one in files for word in ("--config", one)]
                fit += [word for k, v in options.items() for word in (f"--{k}", _plain(v))]
                fit += ["--seed_everything", str(seed)]
                run = Run(folder / f"{_safe(label)}-seed{seed}")
                steps = (Step(("fit", *fit)), *tests, *probes)
                cells.append(Cell(label, seed, run, named, steps, str(title), place))
    folders = [cell.run.path for cell in cells]
    if twice := next((f for f in folders if folders.count(f) > 1), None):
        raise InputError(f"{path} has two trainings in one folder, {twice}; name them apart.")
    answers = read_quantities(file.answers or [], list(file.trainings), str(path))
    return Study(path.stem, folder, str(file.question).strip(), tuple(cells), answers)


def _experiment(name: Any, path: Path) -> str:
    """Return the name of the folder that a study's runs lie in.

    Raises
    ------
    InputError
        If it is not the name of one folder.
    """
    if name is None:
        return path.stem
    if not isinstance(name, str) or Path(name).name != name or name.startswith("."):
        raise InputError(
            f"{path} has experiment: {name!r}; expected the name of one folder, as in `atlas`."
        )
    return name


def _with_base(path: Path) -> dict[str, Any]:
    """Read a study's file, put over the study that it names as its base, if any.

    Raises
    ------
    InputError
        If it is its own base.
    """
    files, contents = [path], [read_yaml(path)]
    while (base := contents[-1].pop("base", None)) is not None:
        files.append(find_configuration(str(base)))
        if files[-1] in files[:-1]:
            raise InputError(f"{path} is its own base, by way of {files[-1]}; remove a `base:`.")
        contents.append(read_yaml(files[-1]))
    merged = contents.pop()
    while contents:
        merged = _merged(merged, contents.pop())
    return merged


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Merge mappings key by key; null removes a key, and all else replaces what is below."""
    merged = {key: value for key, value in below.items() if above.get(key, value) is not None}
    for key, value in above.items():
        under = below.get(key)
        if isinstance(value, dict):
            merged[key] = _merged(under if isinstance(under, dict) else {}, value)
        elif value is not None:
            merged[key] = value
    return merged


def _probes(entries: Any, where: str) -> list[Step]:
    """Read what is measured: files of `ired probe --config`, and probes with their settings.

    Raises
    ------
    InputError
        If an entry is neither.
    """
    if not isinstance(entries, list | tuple | None):
        raise InputError(f"{where} has probes: {entries!r}; expected a list.")
    steps = []
    for entry in entries or ():
        if isinstance(entry, dict) and len(entry) == 1:
            ((name, settings),) = entry.items()
            steps.append(Step(("probe", "--probes", f"{name}: {json.dumps(settings or {})}")))
        elif isinstance(entry, str):
            steps.append(Step(("probe", "--config", _existing(entry))))
        else:
            raise InputError(
                f"{where} has a probe {entry!r}; expected a file, or a name with its settings as "
                "in `minimum: {starts: 8}`."
            )
    return steps


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
