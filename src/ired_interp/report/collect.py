"""What a report is about: groups of runs, and what was measured on them."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from os.path import commonprefix
from typing import Any

import xarray as xr

from ired_interp.errors import InputError
from ired_interp.results import OpenedRun, Series
from ired_interp.results.names import TESTS
from ired_interp.results.series import flatten

# Settings that change where or how often something is written, not what is learned.
_IRRELEVANT = (
    "seed_everything",
    "name",
    "runs",
    "experiment",
    "save_every",
    "keep_best",
    "stop_on_collapse",
    "trainer.logger",
    "trainer.callbacks",
)
_IRRELEVANT_TRAINER = (
    "trainer.log_every_n_steps",
    "trainer.val_check_interval",
    "trainer.enable_progress_bar",
    "trainer.devices",
)

_LONGEST = 26  # letters of a name in a legend


@dataclass(eq=False)
class Group:
    """Runs that agree in all settings but their seeds, shown as one series with its spread.

    No two of them have the same seeds: a run made twice is no replicate, but a group of its own.

    Attributes
    ----------
    name : str
        Short enough for a legend.
    repeats : str
        The group that has the same settings and seeds; "" where there is none.
    """

    index: int
    runs: list[OpenedRun]
    settings: dict[str, Any]
    differences: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    repeats: str = ""


@dataclass(eq=False)
class Section:
    """One measurement, as made on every run that has it."""

    probe: str
    weights: str
    settings: dict[str, Any]
    by_group: list[tuple[Group, list[Series]]]
    notes: list[str]

    def last(self) -> list[tuple[Group, list[xr.Dataset]]]:
        """Return the last result of each run."""
        read = [
            (group, [r for s in series if (r := self._read(s, s.steps[-1])) is not None])
            for group, series in self.by_group
        ]
        return [(group, results) for group, results in read if results]

    def over_steps(self, names: Sequence[str]) -> list[tuple[Group, list[xr.Dataset]]]:
        """Return some variables of each run's results, joined over `step`; nothing else is read."""
        found = []
        for group, series in self.by_group:
            joined = [d for s in series if (d := self._joined(s, names)) is not None]
            if joined:
                found.append((group, joined))
        return found

    def _joined(self, series: Series, names: Sequence[str]) -> xr.Dataset | None:
        parts = {
            step: r for step in series.steps if (r := self._read(series, step, names)) is not None
        }
        parts = {step: r for step, r in parts.items() if any(name in r for name in names)}
        if not parts:
            return None
        steps = xr.DataArray(list(parts), dims="step", name="step")
        return xr.concat(
            list(parts.values()),
            dim=steps,
            data_vars="all",
            coords="minimal",
            compat="override",
            join="outer",
            combine_attrs="override",
        )

    def _read(
        self, series: Series, step: int, names: Sequence[str] | None = None
    ) -> xr.Dataset | None:
        try:
            return series.at(step, names)
        except InputError as error:
            if str(error) not in self.notes:
                self.notes.append(str(error))
            return None

    def points(self) -> str:
        """Where and on what it was measured, in words."""
        parts = []
        if point := self.settings.get("probe.point"):
            named = {
                "noised": "the noised answer √ᾱₖ y* + σₖ ε",
                "answer": "the scaled answer √ᾱₖ y*",
                "solution": "the solution found",
            }
            parts.append(f"at {named.get(str(point), point)}")
        if problems := self.settings.get("problems"):
            parts.append(
                f"on {problems} problems of the {self.settings.get('variant', 'same')} distribution"
            )
        if batches := self.settings.get("batches"):
            parts.append(f"on {batches} batches of the loader {self.settings.get('loader')!r}")
        return ", ".join([*parts, f"{self.weights} weights"])


def group_runs(runs: Sequence[OpenedRun]) -> list[Group]:
    """Group runs that agree in everything but seeds and places, in the order given."""
    groups: dict[tuple[str, int], Group] = {}
    made: Counter[tuple[str, str]] = Counter()
    for run in runs:
        # Of trainings by other programs nothing says which ones agree.
        config = flatten(run.config) or {"folder": str(run.path)}
        settings = {k: v for k, v in config.items() if not _irrelevant(k)}
        seeds = {k: v for k, v in config.items() if _is_seed(k)}
        key, seed = (json.dumps(part, sort_keys=True, default=str) for part in (settings, seeds))
        group = groups.setdefault((key, made[key, seed]), Group(len(groups), [], settings))
        group.runs.append(run)
        made[key, seed] += 1
    found = list(groups.values())
    for group in found:
        group.differences = {
            k: group.settings.get(k)
            for k in sorted({k for g in found for k in g.settings})
            if any(g.settings.get(k) != group.settings.get(k) for g in found)
        }
        group.name = _name([run.path.name for run in group.runs])
    for (key, repetition), group in groups.items():
        group.repeats = groups[key, 0].name if repetition else ""
    names = [group.name for group in found]
    for group in found:
        if names.count(group.name) > 1:
            group.name += " " + ", ".join(
                f"{k.rsplit('.', 1)[-1]}={v}" for k, v in group.differences.items()
            )
    names = [group.name for group in found]
    for group in found:
        if names.count(group.name) > 1:
            group.name = f"{group.name} [{group.index + 1}]"
    return found


def after_steps(data: Sequence[tuple[Group, Sequence[xr.Dataset]]]) -> str:
    """Say after how many training steps the results of groups were measured, as far as it is one.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> a, b = SimpleNamespace(name="a"), SimpleNamespace(name="b")
    >>> results = [xr.Dataset(attrs={"step": step}) for step in (60, 60, 400)]
    >>> after_steps([(a, results[:2])])
    'after 60 steps'
    >>> after_steps([(a, results[:2]), (b, results[2:])])
    'after 60 (a) and 400 (b) steps'
    """
    reached = {g.name: sorted({int(r.attrs["step"]) for r in results}) for g, results in data}
    spans = {
        name: str(steps[0]) if len(steps) == 1 else f"{steps[0]} to {steps[-1]}"
        for name, steps in reached.items()
    }
    if len(set(spans.values())) == 1:
        return f"after {next(iter(spans.values()))} steps"
    *first, last = [f"{span} ({name})" for name, span in spans.items()]
    return f"after {', '.join(first)} and {last} steps"


def of_group(title: str, group: Group, data: Sequence[Any]) -> str:
    """Name the group in the title of a panel that shows one of several."""
    return title if len(data) == 1 else f"{title}, {group.name}"


def left_out(data: Sequence[tuple[Group, Any]], shown: int, what: str) -> str:
    """Say of which groups something is not shown where only the first have it; "" if of none."""
    missing = [group.name for group, _ in data[shown:]]
    return f" Not shown: {what} of {', '.join(missing)}." if missing else ""


def sections(groups: Sequence[Group], notes: list[str]) -> list[Section]:
    """Gather what was measured, by probe, weights and settings.

    Of a run's tests, those of the checkpoint that it means count, where there are any. `notes` is
    filled with what had to be skipped.
    """
    found: dict[str, Section] = {}
    for group in groups:
        for run in group.runs:
            mine: dict[str, Series] = {}
            best = run.checkpoint.step if run.checkpoint else None
            for series in run.series:
                if series.probe in TESTS and best in series.files:
                    series = replace(series, files={best: series.files[best]})
                settings = {k: v for k, v in series.settings.items() if not k.startswith("config.")}
                key = json.dumps([series.probe, series.weights, settings], sort_keys=True)
                found.setdefault(key, Section(series.probe, series.weights, settings, [], notes))
                if key not in mine or _order(mine[key], best) <= _order(series, best):
                    mine[key] = series
            for key, series in mine.items():
                by_group = found[key].by_group
                if not by_group or by_group[-1][0] is not group:
                    by_group.append((group, []))
                by_group[-1][1].append(series)
    return list(found.values())


def _order(series: Series, best: int | None) -> tuple[bool, int]:
    """Of the same test with changed settings, that of the best checkpoint counts, or the latest."""
    return series.probe in TESTS and series.steps[-1] == best, series.steps[-1]


def _irrelevant(key: str) -> bool:
    return key.startswith((*_IRRELEVANT, *_IRRELEVANT_TRAINER)) or _is_seed(key)


def _is_seed(key: str) -> bool:
    """Whether a setting is a seed of the training; those of measurements are none."""
    own = key == "seed_everything" or key.rsplit(".", 1)[-1] == "seed"
    return own and not key.startswith("trainer.")


def _name(names: list[str]) -> str:
    """Return the run's name, or what several have in common."""
    if len(names) == 1:
        return _elided(names[0])
    common = commonprefix(names).rstrip("-_ .0123456789") or f"{names[0]} … {names[-1]}"  # noqa: RUF071 (letters, not folders)
    return f"{_elided(common)} ({len(names)} runs)"


def _elided(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 9]}…{name[-8:]}"
