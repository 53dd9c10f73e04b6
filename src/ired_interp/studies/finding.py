"""What the runs of a study say of a quantity: means over seeds, and which claims they bear."""

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.stats import t as student

from ired_interp.results.opened import OpenedRun
from ired_interp.studies.cell import Cell
from ired_interp.studies.quantity import TRAINING, Claim, Quantity
from ired_interp.studies.reading import VALUE, MissingError, read_quantity

CONFIDENCE = 0.95
_NONE = {VALUE: math.nan}
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
    claimed : tuple of float, optional
        Between which bounds the claim says that it lies.
    verdict : str
        Whether the claim holds; "" where none is made, or only one seed is there.
    """

    values: np.ndarray
    beside: dict[str, float]
    claimed: tuple[float, float] | None
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
        gaps: Counter[str] = Counter()
        for cell in seeds:
            try:
                read.append(read_quantity(quantity, runs.get(cell.run.path)))
            except MissingError as reason:
                gaps[str(reason)] += 1
        for each in dict.fromkeys(itertools.chain.from_iterable(read)):
            found = [one[each] for one in read if math.isfinite(one.get(each, _NONE)[VALUE])]
            if found:
                finding.estimates[label, each] = _estimate(quantity, found)
            if lacking := len(read) - len(found):
                where = f" in {quantity.each} {each}" if quantity.each else ""
                gaps[f"{quantity.variable} has no value{where}"] += lacking
        if gaps:
            finding.missing[label] = "; ".join(
                reason if count == len(seeds) else f"{reason} ({count} of {len(seeds)} seeds)"
                for reason, count in gaps.items()
            )
    for option in quantity.compare:
        finding.differences.extend(_differences(finding, asked, option))
    return finding


def _estimate(quantity: Quantity, found: list[dict[str, float]]) -> Estimate:
    values = np.array([one[VALUE] for one in found])
    beside = {name: float(np.mean([one[name] for one in found])) for name in quantity.beside}
    verdict: Verdict | Literal[""] = ""
    if quantity.claim and len(values) > 1:
        beside_it = np.array([one[quantity.claim.to] for one in found])
        differences = values - beside_it
        if quantity.claim.relative:
            differences /= np.abs(beside_it)
        if np.isfinite(differences).all():
            verdict = _verdict(quantity.claim, differences)
    return Estimate(values, beside, _claimed(quantity.claim, beside), verdict)


def _claimed(claim: Claim | None, beside: Mapping[str, float]) -> tuple[float, float] | None:
    """Return the bounds between which a claim says that a quantity lies."""
    if claim is None:
        return None
    to = beside[claim.to]
    within = claim.within * (abs(to) if claim.relative else 1)
    return {
        "above": (to + within, math.inf),
        "below": (-math.inf, to - within),
        "equal": (to - within, to + within),
    }[claim.relation]


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


def _differences(finding: Finding, cells: Sequence[Cell], option: str) -> list[Difference]:
    """Compare trainings that agree in all but one option with that of its first value."""
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
