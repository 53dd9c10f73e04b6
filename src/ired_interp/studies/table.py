"""A study's answer in numbers: test errors with their spread over seeds, beside the floors."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from ired_interp.results.names import AS_GOOD, FEED_FORWARD, PERFECT
from ired_interp.results.opened import OpenedRun
from ired_interp.results.state import trained
from ired_interp.results.statement import Findings
from ired_interp.results.validation import read_validation
from ired_interp.studies.cell import Cell
from ired_interp.studies.study import Study


@dataclass
class Row:
    """What the seeds of one training reached.

    Attributes
    ----------
    label : str
        Of the training.
    feed_forward : bool
        Whether it answers in one pass, without an energy.
    errors : dict
        Distribution → test error of each seed.
    floors : dict
        (predictor, distribution) → error on the same problems.
    drift : list of float
        Last validation error over the lowest, of each seed.
    steps, seconds : list
        Updates done and time of training, of each seed.
    collapsed : list of int
        Seeds whose validation error collapsed.
    """

    label: str
    feed_forward: bool
    errors: dict[str, list[float]] = field(default_factory=dict)
    floors: dict[tuple[str, str], float] = field(default_factory=dict)
    drift: list[float] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    collapsed: list[int] = field(default_factory=list)

    def mean(self, variant: str) -> float:
        """Mean test error over seeds."""
        return float(np.mean(self.errors[variant]))


@dataclass
class Group:
    """The rows on one task, and what answers score that need no learning.

    Attributes
    ----------
    task : str
        Its name and settings.
    problems : int
        Test problems behind each error, the most of any training.
    rows : dict of str to Row
        By label.
    floors : dict
        (predictor, distribution) → error, on so many.
    """

    task: str
    problems: int
    rows: dict[str, Row] = field(default_factory=dict)
    floors: dict[tuple[str, str], float] = field(default_factory=dict)

    @property
    def variants(self) -> list[str]:
        """Distributions that were tested."""
        return list(dict.fromkeys(v for row in self.rows.values() for v in row.errors))


def study_page(study: Study, command: str, found: Findings, picture: str = "") -> str:
    """Return a study as Markdown: its question, the answers, a table for each task, how to repeat.

    Parameters
    ----------
    study : Study
        Of which what is done counts.
    command : str
        That makes it.
    found : Findings
        The answers.
    picture : str
        File beside the page that shows them; "" for none.

    Returns
    -------
    str
        The page.
    """
    groups = _groups(study)
    parts = [f"# {study.name}", study.question]
    parts += [f"![The answers of {study.name}]({picture})"] if picture else []
    parts += [statement.markdown() for statement in found.statements]
    if found.statements:
        parts += [found.legend, "## Test errors"]
    for group in groups:
        parts += [_sentences(group), _table(group)]
    if not groups:
        parts.append("No training of this study has been tested yet.")
    done = sum(len(row.steps) for group in groups for row in group.rows.values())
    parts.append(
        f"{done} of {len(study.cells)} trainings. Mean squared error per entry, mean ± standard "
        "deviation over seeds; last/best: validation error at the end over the lowest, worst seed. "
        f"Made by `{command}`."
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def _groups(study: Study) -> list[Group]:
    groups: dict[str, Group] = {}  # by all settings of the data: other ranks have other floors
    for cell in study.cells:
        if not cell.run.config.is_file():
            continue
        opened = OpenedRun(cell.run)
        tests = [series for series in opened.series if series.probe == "test_error"]
        if tests:
            _add(groups, cell, opened, tests[-1].last)
    return list(groups.values())


def _add(groups: dict[str, Group], cell: Cell, opened: OpenedRun, result: xr.Dataset) -> None:
    task = opened.config["data"]["task"]
    key = json.dumps([task, result.attrs["trained_on"]], sort_keys=True)
    problems = int(result.attrs["problems"])
    group = groups.setdefault(key, Group(_task_title(task), problems))
    most = group.problems = max(group.problems, problems)
    kind = opened.config["model"]["class_path"].rpartition(".")[2]
    row = group.rows.setdefault(cell.label, Row(cell.label, kind == FEED_FORWARD))
    first = result.isel(inner_steps=0)
    for variant in result["variant"].values:
        row.errors.setdefault(str(variant), []).append(float(first["error"].sel(variant=variant)))
        for predictor in result["predictor"].values:
            floor = float(result["floor"].sel(variant=variant, predictor=predictor))
            if math.isfinite(floor):
                row.floors[str(predictor), str(variant)] = floor
                if problems == most:
                    group.floors[str(predictor), str(variant)] = floor
    metrics = cell.run.metrics()
    row.steps.append(max(metrics, default=0))
    row.seconds.append(trained(cell.run)[0])
    validation = read_validation(cell.run)
    if validation is not None:
        courses = validation.courses.values()
        row.drift.append(max(c.error / c.best if c.best else 1.0 for c in courses))
        if any(s.collapse for c in courses for s in c.setbacks):
            row.collapsed.append(cell.seed)


def _task_title(task: dict[str, Any]) -> str:
    name = str(task["class_path"]).rpartition(".")[2]
    plain = {k: v for k, v in (task.get("init_args") or {}).items() if v is not None}
    return f"{name}, {', '.join(f'{k}={v}' for k, v in plain.items())}" if plain else name


def _table(group: Group) -> str:
    head = [group.task, *group.variants, "seeds", "steps", "minutes", "last/best"]
    lines = [head, ["---"] * len(head)]
    for row in group.rows.values():
        count = len(row.steps)
        lines.append(
            [
                row.label,
                *(_spread(row.errors.get(variant, [])) for variant in group.variants),
                str(count),
                str(max(row.steps)),
                f"{np.mean(row.seconds) / 60:.1f}",
                f"{max(row.drift):.3f}" if row.drift else "–",
            ]
        )
    for predictor in dict.fromkeys(name for name, _ in group.floors):
        floors = [group.floors.get((predictor, variant)) for variant in group.variants]
        cells = ["–" if floor is None else f"{floor:.4g}" for floor in floors]
        lines.append([f"*{predictor}*", *cells, "", "", "", ""])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "–"
    mean = float(np.mean(values))
    return f"{mean:.4g}" + (f" ± {np.std(values, ddof=1):.1g}" if len(values) > 1 else "")


def _sentences(group: Group) -> str:
    """Say where something simpler is as good, and what collapsed."""
    said = []
    for row in group.rows.values():
        if row.collapsed:
            seeds = ", ".join(map(str, row.collapsed))
            said.append(f"{row.label} **collapsed** (seed {seeds}).")
        for variant in row.errors:
            error = row.mean(variant)
            for (predictor, where), floor in row.floors.items():
                if predictor != PERFECT and where == variant and error >= AS_GOOD * floor:
                    said.append(
                        f"On {group.task} ({variant}), {row.label} is no better than "
                        f"“{predictor}”: {error:.4g} against {floor:.4g}."
                    )
            if row.feed_forward:
                continue
            for other in group.rows.values():
                if other.feed_forward and variant in other.errors:
                    best = other.mean(variant)
                    if error >= AS_GOOD * best:
                        said.append(
                            f"On {group.task} ({variant}), {other.label}, one feed-forward pass, "
                            f"is as good as {row.label}: {best:.4g} against {error:.4g}."
                        )
    return "\n".join(f"- {sentence}" for sentence in said)
