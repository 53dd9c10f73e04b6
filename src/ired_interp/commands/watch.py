"""`ired watch`: follow a run in the terminal."""

import time

import numpy as np
import xarray as xr
from rich.console import Console
from rich.live import Live
from rich.table import Table

from ired_interp.commands.options import CommandParser
from ired_interp.errors import InputError
from ired_interp.results import OpenedRun, Run, open_run
from ired_interp.results.state import state
from ired_interp.terminal import duration, is_terminal

_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDTH = 40


def main(command: str, arguments: list[str]) -> int:
    """Run the command.

    Raises
    ------
    InputError
        If the interval is not positive, or the folder is no run.
    """
    parser = CommandParser(
        prog="ired watch",
        description=(
            "Follow a run: step, metrics with their course, results. Ends with the run; "
            "Ctrl-C ends it before."
        ),
    )
    parser.add_argument("run", help="the run's folder")
    parser.add_argument(
        "--every", type=float, default=2.0, metavar="SECONDS", help="between looks (default 2)"
    )
    options = parser.parse_args(arguments)
    if not options.every > 0:
        raise InputError(f"--every is {options.every:g}; give a positive number of seconds.")
    run = open_run(options.run)
    if is_terminal():
        _live(run, options.every)
    else:
        _lines(run, options.every)
    return 0


def _live(run: Run, every: float) -> None:
    with Live(console=Console(), auto_refresh=False) as live:
        while True:
            now = state(run)
            live.update(overview(OpenedRun(run), now), refresh=True)
            if now != "running":
                return
            time.sleep(every)


def _lines(run: Run, every: float) -> None:
    shown = ""
    while True:
        now = state(run)
        line = summary(OpenedRun(run), now)
        if line != shown:
            print(line, flush=True)
            shown = line
        if now != "running":
            return
        time.sleep(every)


def summary(opened: OpenedRun, now: str) -> str:
    """One line: state, step, last metrics, number of results."""
    metrics = opened.metrics
    values = [
        f"{name} {_last(metrics, name):.4g}"
        for name in map(str, metrics)
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
    metrics = opened.metrics
    for name in map(str, metrics):
        table.add_row(
            name, f"{_last(metrics, name):.4g}", sparkline(metrics[name].dropna("step").values)
        )
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


def _last(metrics: xr.Dataset, name: str) -> float:
    return float(metrics[name].dropna("step").values[-1])


def _step(opened: OpenedRun) -> str:
    steps = opened.metrics["step"].values
    most = (opened.config.get("trainer") or {}).get("max_steps", "?")
    return f"{int(steps[-1]) if steps.size else 0} of {most}"


def _left(opened: OpenedRun, now: str) -> str:
    steps, most = (
        opened.metrics["step"].values,
        (opened.config.get("trainer") or {}).get("max_steps"),
    )
    if now != "running" or not steps.size or not most:
        return ""
    began = opened.run.config.stat().st_mtime
    passed = max(path.stat().st_mtime for path in opened.path.glob("metrics/*/metrics.csv")) - began
    return (
        f", about {duration(passed / int(steps[-1]) * (most - int(steps[-1])))} left"
        if steps[-1]
        else ""
    )
