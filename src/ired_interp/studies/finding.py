"""What the runs of a study say of a quantity: means over seeds, and which claims they bear."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
from scipy.stats import t as student

from ired_interp.errors import InputError
from ired_interp.results.opened import OpenedRun
from ired_interp.results.series import Series
from ired_interp.studies.cell import Cell
from ired_interp.studies.quantity import TRAINING, Claim, Quantity

CONFIDENCE = 0.95
_NONE = {"": math.nan}
Verdict = Literal["holds", "fails", "open"]


@dataclass(frozen=True)
class Estimate:
    """A quantity of one training at one label of `each`.

    Attributes
    ----------
    values : ndarray (n,)
        Of each seed.
    beside : dict of str to float
        Mean over seeds of what stands beside it.
    verdict : str
        Whether the claim holds; "" where none is made, or only one seed is there.
    """

    values: np.ndarray
    beside: dict[str, float]
    verdict: Verdict | Literal[""]

    @property
    def mean(self) -> float:
        """Over seeds."""
        return float(self.values.mean())

    @property
    def error(self) -> float:
        """Standard error of the mean; NaN of one seed."""
        return _standard_error(self.values)


@dataclass(frozen=True)
class Difference:
    """A quantity in one training less that in another.

    Attributes
    ----------
    first, second : str
        Labels of the trainings.
    each : str
        The label of `each`.
    value, error : float
        Second less first, and its standard error.
    told : bool
        Whether the difference stands above chance.
    """

    first: str
    second: str
    each: str
    value: float
    error: float
    told: bool


@dataclass(frozen=True)
class Finding:
    """A quantity with all that was found.

    Attributes
    ----------
    quantity : Quantity
        Which.
    estimates : dict of (str, str) to Estimate
        By label of the training and of `each`.
    differences : list of Difference
        Between trainings that `compare` sets apart.
    missing : dict of str to str
        Label of a training → why seeds of it are left out.
    """

    quantity: Quantity
    estimates: dict[tuple[str, str], Estimate] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)


class _Missing(Exception):
    """A run does not have the quantity."""


def find(quantity: Quantity, cells: Sequence[Cell], runs: Mapping[Path, OpenedRun]) -> Finding:
    """Read a quantity from the runs of a study.

    Parameters
    ----------
    quantity : Quantity
        Which.
    cells : sequence of Cell
        Of the study.
    runs : mapping of Path to OpenedRun
        Those that are there, by folder.

    Returns
    -------
    Finding
        With a reason for each training that lacks it.
    """
    finding = Finding(quantity)
    asked = [c for c in cells if not quantity.trainings or c.training in quantity.trainings]
    for label in dict.fromkeys(cell.label for cell in asked):
        seeds = [cell for cell in asked if cell.label == label]
        read: list[dict[str, dict[str, float]]] = []
        undefined: list[str] = []
        for cell in seeds:
            try:
                read.append(_of_run(quantity, runs.get(cell.run.path)))
            except _Missing as reason:
                finding.missing.setdefault(label, str(reason))
        for each in dict.fromkeys(itertools.chain.from_iterable(read)):
            found = [one[each] for one in read if math.isfinite(one.get(each, _NONE)[""])]
            if found:
                finding.estimates[label, each] = _estimate(quantity, found)
            else:
                undefined.append(each)
        if undefined:
            where = f" in {quantity.each} {', '.join(undefined)}" if quantity.each else ""
            finding.missing.setdefault(label, f"{quantity.variable} has no value{where}")
    if quantity.compare:
        finding.differences.extend(_differences(finding, asked))
    return finding


def _of_run(quantity: Quantity, run: OpenedRun | None) -> dict[str, dict[str, float]]:
    """Return, by label of `each`, the quantity (under "") and what stands beside it.

    Raises
    ------
    _Missing
        If the run lacks it.
    """
    if run is None:
        raise _Missing("not trained yet")
    series = _series(quantity, run)
    results = _steps(quantity, series)
    here = [_values(quantity, result, quantity.variable, quantity.at) for result in results]
    found = {each: {"": _moved([one[each] for one in here])} for each in here[0]}
    for name, what in quantity.beside.items():
        if isinstance(what, int | float):
            beside = [dict.fromkeys(found, float(what))]
        else:
            other: Mapping[str, Any] = {"variable": what} if isinstance(what, str) else what
            variable = str(other.get("variable", quantity.variable))
            at = {**quantity.at, **other.get("at", {})}
            beside = [_values(quantity, result, variable, at) for result in results]
        for each in found:
            rows = [one[each] if each in one else next(iter(one.values())) for one in beside]
            found[each][name] = _moved(rows) if len(rows) > 1 else rows[0]
    return found


def _series(quantity: Quantity, run: OpenedRun) -> Series:
    """Return the measurement of a quantity.

    Raises
    ------
    _Missing
        If there is none, or more than one.
    """
    measured = [series for series in run.series if series.probe == quantity.probe]
    if not measured:
        failed = [sentence for sentence in run.skipped if sentence.startswith(quantity.probe)]
        raise _Missing(failed[0].rstrip(".") if failed else f"{quantity.probe} was not measured")
    try:
        return run.find(quantity.probe, **quantity.settings)
    except InputError:
        settings = ", ".join(f"{name}={value}" for name, value in quantity.settings.items())
        raise _Missing(
            f"{quantity.probe} was measured with other settings than {settings}"
            if settings
            else f"{quantity.probe} was measured with {len(measured)} settings; say which"
        ) from None


def _steps(quantity: Quantity, series: Series) -> list[xr.Dataset]:
    """Return the one result that is asked for, or the first and the last.

    Raises
    ------
    _Missing
        If the run lacks it.
    """
    steps = series.steps
    if quantity.step == "change":
        if len(steps) < 2:
            raise _Missing(f"{quantity.probe} was measured at one step only")
        return [series.at(steps[0]), series.at(steps[-1])]
    return [series.at(steps[0] if quantity.step == "first" else steps[-1])]


def _moved(values: Sequence[float]) -> float:
    return values[-1] - values[0] if len(values) > 1 else values[0]


def _values(
    quantity: Quantity, result: xr.Dataset, variable: str, at: Mapping[str, Any]
) -> dict[str, float]:
    """Return the mean over what is selected, by label of `each` ("" where there is none).

    Raises
    ------
    _Missing
        If the run lacks it.
    """
    if variable not in result:
        raise _Missing(f"{quantity.probe} has no {variable} there")
    values, each = result[variable], quantity.each
    if variable == quantity.variable:
        for dim in (*at, *[each] * bool(each)):
            if dim not in values.dims:
                raise _Missing(f"{quantity.probe} has no dimension {dim} of {variable}")
    for dim, wanted in at.items():
        if dim not in values.dims:
            continue  # what stands beside may be the same along it
        known = values[dim].values.tolist()
        for label in wanted if isinstance(wanted, list) else [wanted]:
            if label not in known:
                raise _Missing(f"{quantity.probe} has no {dim} {label} there")
        values = values.sel({dim: wanted})
    rest = [dim for dim in values.dims if dim != each]
    values = values.mean(rest)
    if each not in values.dims:
        return {"": float(values)}
    return {str(label): float(values.sel({each: label})) for label in values[each].values}


def _estimate(quantity: Quantity, found: list[dict[str, float]]) -> Estimate:
    values = np.array([one[""] for one in found])
    beside = {name: float(np.mean([one[name] for one in found])) for name in quantity.beside}
    verdict: Verdict | Literal[""] = ""
    if quantity.claim and len(values) > 1:
        differences = values - np.array([one[quantity.claim.to] for one in found])
        if np.isfinite(differences).all():
            verdict = _verdict(quantity.claim, differences)
    return Estimate(values, beside, verdict)


def _verdict(claim: Claim, differences: np.ndarray) -> Verdict:
    """Say what the interval of the mean difference, by Student's t, allows to say."""
    reach = _quantile(len(differences) - 1) * _standard_error(differences)
    low, high = float(differences.mean()) - reach, float(differences.mean()) + reach
    above, below = low > claim.within, high < -claim.within
    holds, fails = {
        "above": (above, below),
        "below": (below, above),
        "equal": (-claim.within <= low and high <= claim.within, above or below),
    }[claim.relation]
    return "holds" if holds else "fails" if fails else "open"


def _differences(finding: Finding, cells: Sequence[Cell]) -> list[Difference]:
    """Compare trainings that agree in all but one option with that of its first value."""
    option = finding.quantity.compare
    groups: dict[str, dict[str, Cell]] = {}
    for cell in cells:
        rest = {k: v for k, v in cell.place.items() if k != option}
        key = str(rest if option == TRAINING else (cell.training, rest))
        value = cell.training if option == TRAINING else str(cell.place.get(option, ""))
        if value:
            groups.setdefault(key, {}).setdefault(value, cell)
    found = []
    for group in groups.values():
        first, *others = (cell.label for cell in group.values())
        for other, (label, each) in itertools.product(others, finding.estimates):
            if label == other and (first, each) in finding.estimates:
                pair = finding.estimates[first, each], finding.estimates[other, each]
                if all(len(one.values) > 1 for one in pair):
                    found.append(_difference(first, other, each, *pair))
    return found


def _difference(
    first: str, second: str, each: str, before: Estimate, after: Estimate
) -> Difference:
    """Test a difference of means by Welch's t."""
    squares = [before.error**2, after.error**2]
    value, error = after.mean - before.mean, math.sqrt(sum(squares))
    counts = [len(before.values), len(after.values)]
    below = sum(s**2 / (n - 1) for s, n in zip(squares, counts, strict=True))
    freedom = sum(squares) ** 2 / below if below else float(sum(counts) - 2)
    return Difference(first, second, each, value, error, abs(value) > _quantile(freedom) * error)


def _quantile(freedom: float) -> float:
    return float(student.ppf((1 + CONFIDENCE) / 2, freedom))


def _standard_error(values: np.ndarray) -> float:
    if len(values) < 2:
        return math.nan
    return float(values.std(ddof=1) / math.sqrt(len(values)))
