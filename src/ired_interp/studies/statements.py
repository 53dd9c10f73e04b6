"""A study's answers in words: values beside truth or chance, and whether a claim holds."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from ired_interp.results.opened import OpenedRun
from ired_interp.results.run import Run
from ired_interp.results.state import UNKNOWN, state
from ired_interp.results.statement import Findings, Point, Statement
from ired_interp.studies.finding import CONFIDENCE, Difference, Estimate, Finding, find
from ired_interp.studies.quantity import Quantity
from ired_interp.studies.study import Study

_VERDICTS = {"holds": "holds", "fails": "fails", "open": "cannot be told"}
_MARKS = {"holds": "✓", "fails": "✗", "open": "?", "": ""}
_ONE, _NOTHING = "is not claimed from one seed", "has nothing to be held against"
_ORDER = (*_VERDICTS.values(), _ONE, _NOTHING)
_ALL_PLACES = dict.fromkeys(_ORDER, "everywhere") | dict.fromkeys(
    (_VERDICTS["open"], _ONE), "anywhere"
)
_SEEDS = "seeds"
_LEGEND = (
    "Values are means over seeds ± their standard error; ✓ the claim holds, ✗ it fails, ? the "
    f"seeds do not tell, at {CONFIDENCE:.0%}."
)
_RELATIONS = {"above": "above", "below": "below", "equal": "equal to"}


def findings(study: Study) -> Findings:
    """Return what the runs of a study that are there say of its quantities."""
    runs = {c.run.path: OpenedRun(c.run) for c in study.cells if _trained(c.run)}
    found = [_statement(find(quantity, study.cells, runs)) for quantity in study.answers]
    return Findings(study.question, found, _LEGEND, study.name)


def _trained(run: Run) -> bool:
    """Whether a run is there, and not known to have been cut off: its last step is another's."""
    return run.config.is_file() and state(run) in ("done", UNKNOWN)


def _statement(finding: Finding) -> Statement:
    quantity = finding.quantity
    columns = {each: _column(finding, each) for _, each in finding.estimates}
    rows: dict[str, dict[str, str]] = {}
    for (label, each), estimate in finding.estimates.items():
        rows.setdefault(label, {})[columns[each]] = _cell(quantity, estimate)
    for label, row in rows.items():
        found = (e for (other, _), e in finding.estimates.items() if other == label)
        row[_SEEDS] = _span([len(estimate.values) for estimate in found])
    fixed = [f"{name} {value:g}" for name, value in quantity.beside.items() if _fixed(value)]
    title = quantity.name + (f" ({', '.join(fixed)})" if fixed else "")
    summary = [*_claims(finding), *_compared(finding), *_missing(finding)]
    points = [
        Point(label, each, e.values.tolist(), e.beside, e.claimed, e.verdict)
        for (label, each), e in finding.estimates.items()
    ]
    headings = [*columns.values(), _SEEDS] if rows else []
    return Statement(title, summary, headings, rows, points, quantity.each)


def _column(finding: Finding, each: str) -> str:
    return f"{finding.quantity.each} {each}" if each else "value"


def _cell(quantity: Quantity, estimate: Estimate) -> str:
    beside = [
        f"{name} {_plain(value)}"
        for name, value in estimate.beside.items()
        if not _fixed(quantity.beside[name])
    ]
    said = f"{_with_error(estimate.mean, estimate.error)} {_MARKS[estimate.verdict]}".rstrip()
    return "; ".join([said, *beside])


def _fixed(beside: Any) -> bool:
    return isinstance(beside, int | float)


def _span(counts: Sequence[int]) -> str:
    least, most = min(counts), max(counts)
    return str(least) if least == most else f"{least} to {most}"


def _claims(finding: Finding) -> list[str]:
    """Say where the claim holds, where it fails, and where the seeds do not tell."""
    claim = finding.quantity.claim
    if claim is None or not finding.estimates:
        return []
    what = f"{_RELATIONS[claim.relation]} “{claim.to}”"
    if claim.within:
        what += (
            f" within {claim.within:.3g}"
            if not claim.relative
            else f" within {100 * claim.within:.3g}%"
        )
    places: dict[str, list[tuple[str, str]]] = {}
    for place, estimate in finding.estimates.items():
        places.setdefault(_verdict(estimate), []).append(place)
    counts = [len(e.values) for e in finding.estimates.values() if e.verdict]
    tested = f" ({CONFIDENCE:.0%}, Student's t, {_span(counts)} seeds)" if counts else ""
    said = [
        f"{words} {_places(finding, places[words], _ALL_PLACES[words])}"
        for words in _ORDER
        if words in places
    ]
    return [f"That it is {what} {said[0]}{tested}.", *(f"It {rest}." for rest in said[1:])]


def _verdict(estimate: Estimate) -> str:
    if estimate.verdict:
        return _VERDICTS[estimate.verdict]
    return _ONE if len(estimate.values) == 1 else _NOTHING


def _places(finding: Finding, places: Sequence[tuple[str, str]], all_places: str) -> str:
    if len(places) == len(finding.estimates):
        return all_places
    by_label: dict[str, list[str]] = {}
    for label, each in places:
        by_label.setdefault(label, []).append(each)
    parts = []
    for label, found in by_label.items():
        every = [each for other, each in finding.estimates if other == label]
        detail = "" if found == every else f" ({finding.quantity.each} {', '.join(found)})"
        parts.append(f"{label}{detail}")
    return f"for {'; '.join(parts)}"


def _compared(finding: Finding) -> list[str]:
    sentences = []
    pairs = dict.fromkeys((d.first, d.second) for d in finding.differences)
    if finding.quantity.compare and not pairs:
        options = _listed(finding.quantity.compare)
        return [f"There are no two trainings yet to compare over {options}."]
    for first, second in pairs:
        mine = [d for d in finding.differences if (d.first, d.second) == (first, second)]
        told = [d for d in mine if d.told]
        if not told:
            sentences.append(f"{second} cannot be told from {first}.")
            continue
        differences = _listed([_difference(finding, d) for d in told])
        rest = "" if len(told) == len(mine) else "; elsewhere no difference can be told"
        sentences.append(f"{second} differs from {first} by {differences}{rest}.")
    return sentences


def _difference(finding: Finding, one: Difference) -> str:
    place = f" at {_column(finding, one.each)}" if one.each else ""
    sign = "+" if one.value > 0 else ""
    return f"{sign}{_with_error(one.value, one.error)}{place}"


def _missing(finding: Finding) -> list[str]:
    reasons: dict[str, list[str]] = {}
    for label, reason in finding.missing.items():
        reasons.setdefault(reason, []).append(label)
    return [f"Missing for {_listed(labels)}: {reason}." for reason, labels in reasons.items()]


def _listed(parts: Iterable[str]) -> str:
    *first, last = list(parts)
    return f"{'; '.join(first)} and {last}" if first else last


def _plain(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "–"


def _with_error(value: float, error: float) -> str:
    """Return a number with its error, to the digits that the error allows.

    Examples
    --------
    >>> _with_error(0.22345, 0.0123), _with_error(3.2, float("nan")), _with_error(1e6, 2e4)
    ('0.223 ± 0.012', '3.2', '1.00e+06 ± 2e+04')
    """
    if not (math.isfinite(error) and error > 0):
        return f"{value:.3g}"
    if max(abs(value), error) >= 1e5 or max(abs(value), error) < 1e-3:
        return f"{value:.2e} ± {error:.0e}"
    leading = math.floor(math.log10(error))
    digits = max(0, -leading + (error / 10**leading < 2))
    return f"{value:.{digits}f} ± {error:.{digits}f}"
