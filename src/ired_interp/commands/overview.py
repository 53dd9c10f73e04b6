"""What `ired watch` shows of a run: one line, or a table with the course of every metric."""

import numpy as np
from rich.table import Table

from ired_interp.results import OpenedRun
from ired_interp.terminal import duration

_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDTH = 40


def summary(opened: OpenedRun, now: str) -> str:
    """One line: state, step, last metrics, number of results."""
    values = [
        f"{name} {float(curve[-1]):.4g}"
        for name, curve in opened.metrics.items()
        if name.startswith(("train/loss", "val/"))
    ]
    results = sum(len(series.steps) for series in opened.series)
    return "  ".join(
        [
            now,
            f"step {_step(opened)}",
            *values,
            f"{results} results",
            *(["some skipped"] if opened.skipped else []),
        ]
    )


def overview(opened: OpenedRun, now: str) -> Table:
    """Draw state, step, metrics with their course, what was measured, and what was skipped."""
    table = Table(
        title=f"{opened.name}: {now}, step {_step(opened)}{_left(opened, now)}",
        title_justify="left",
        show_header=False,
        box=None,
    )
    for name, curve in opened.metrics.items():
        table.add_row(name, f"{float(curve[-1]):.4g}", sparkline(curve.values))
    for series in opened.series:
        table.add_row(
            series.probe,
            f"{len(series.steps)}",
            f"last at step {series.steps[-1]}, {series.weights} weights",
        )
    for sentence in opened.skipped:
        table.add_row("skipped", "", sentence)
    return table


def sparkline(values: np.ndarray) -> str:
    """Draw the course of a metric in a few characters.

    Each is the mean of a stretch, on a logarithmic scale where all are positive.
    """
    values = values[np.isfinite(values)]
    if not len(values):
        return ""
    course = np.array([part.mean() for part in np.array_split(values, min(_WIDTH, len(values)))])
    course = np.log(course) if (course > 0).all() else course
    span = np.ptp(course)
    places = (
        np.zeros(len(course))
        if not span > 0
        else (course - course.min()) / span * (len(_BLOCKS) - 1)
    )
    return "".join(_BLOCKS[round(place)] for place in places)


def _most(opened: OpenedRun) -> int | None:
    most: int | None = (opened.config.get("trainer") or {}).get("max_steps")
    return most


def _step(opened: OpenedRun) -> str:
    return f"{opened.step} of {_most(opened) or '?'}"


def _left(opened: OpenedRun, now: str) -> str:
    step, most = opened.step, _most(opened)
    if now != "running" or not step or not most:
        return ""
    began = opened.run.config.stat().st_mtime
    passed = max(path.stat().st_mtime for path in opened.path.glob("metrics/*/metrics.csv")) - began
    return f", about {duration(passed / step * (most - step))} left"
