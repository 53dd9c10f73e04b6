"""Where minima lie, and what answers of many starts have in common."""

from collections.abc import Sequence

import pandas as pd
import xarray as xr
from matplotlib.axes import Axes

from ired_interp.report.collect import Group, Section, after_steps
from ired_interp.report.figure import Figure, Panel
from ired_interp.report.figures.lines import by_landscape, landscape_table, legend, spread_bars
from ired_interp.report.style import log_if_positive, series_colour

Data = Sequence[tuple[Group, list[xr.Dataset]]]


def figures(section: Section) -> list[Figure]:
    """Displacement of the minimum, parts of the error, whose fault it is, and basins."""
    data = section.last()
    if not data:
        return []
    first = data[0][1][0]
    panels = [
        _panel(data, "displacement", "‖y∞/√ᾱ − y*‖ / ‖y*‖", "the minimum off the answer"),
        _panel(data, "displacement_in_noise", "‖y∞ − √ᾱ y*‖ / σ", "the same, in noise units"),
        _panel(data, "bias_square", "bias² per entry (y²)", "error that all starts share"),
        _panel(data, "spread", "variance per entry (y²)", "spread of the starts"),
    ]
    if any(r["prefers_answer"].notnull().any() for _, results in data for r in results):
        panels.append(
            Panel(
                "wrong answers of less energy",
                lambda axes: by_landscape(
                    axes, data, "prefers_answer", "share of unsolved problems", percent=True
                ),
            )
        )
    panels.append(Panel("ends of the starts", lambda axes: _basins(axes, data)))
    caption = (
        f"Measured {section.points()}, {after_steps(data)}. y∞: where landscape k leads down from "
        "√ᾱ y*; a perfect model has it at √ᾱ times the posterior mean (short bars). The squared "
        "error of answers is bias² + spread over starts: more starts mend the spread alone. A "
        "wrong answer of less energy than the right one is the model's fault, of more the "
        f"search's. Ends: shares of starts in groups more than 3σ₀ apart, over "
        f"{first.sizes['problem']} problems. Bars: two standard errors over problems, of several "
        "runs the range."
    )
    return [Figure(section.probe, "Minima and starts", caption, panels, _table(data))]


def _panel(data: Data, name: str, label: str, title: str) -> Panel:
    def draw(axes: Axes) -> None:
        by_landscape(axes, data, name, label, f"theory_{name}")
        log_if_positive(axes, "y", *(r[name].values for _, results in data for r in results))

    return Panel(title, draw)


def _basins(axes: Axes, data: Data) -> None:
    width = 0.8 / len(data)
    for place, (group, results) in enumerate(data):
        mean = xr.concat([r["basin_share"] for r in results], "run").mean("run")
        x = mean["basin"].values + (place - (len(data) - 1) / 2) * width
        axes.bar(
            x,
            mean.values,
            0.9 * width,
            yerr=spread_bars(results, "basin_share"),
            color=series_colour(group.index),
            label=group.name,
        )
    axes.set_xticks(data[0][1][0]["basin"].values)
    axes.set_xlabel("group of ends, largest first")
    axes.set_ylabel("share of starts")
    legend(axes, [group for group, _ in data])


def _table(data: Data) -> pd.DataFrame:
    names = {
        "displacement": "displacement",
        "converged": "converged",
        "error": "error",
        "bias_square": "bias²",
        "spread": "spread",
        "nearest_error": "from the nearest answer",
        "prefers_answer": "prefers its own",
    }
    return landscape_table(data, names)
