"""Readouts: R² of linear maps from each layer, beside what the input itself gives."""

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from ired_interp.report.collect import Group, Section, left_out, of_group
from ired_interp.report.figure import Figure, Panel
from ired_interp.report.style import DASHES, INK, MARKERS, MUTED, series_colour

Data = Sequence[tuple[Group, Sequence[xr.Dataset]]]
_BASELINES = {
    "input": "from x and y",
    "untrained": "from new weights, best layer",
    "permuted": "answers permuted",
}
_TITLES = {"answer": "answer y*", "denoised": "the model's denoised answer", "output": "output o"}
_LEAST = -0.2


def figures(section: Section) -> list[Figure]:
    """Draw a panel for each target of the first group of runs."""
    data = section.last()
    if not data:
        return []
    group, results = data[0]
    panels = [
        Panel(
            of_group(_TITLES.get(str(target), str(target)), group, data),
            _target(results, str(target)),
        )
        for target in results[0]["target"].values
    ]
    samples = section.settings.get("probe.samples")
    problems = f" on {samples} problems" if samples else " on many problems"
    caption = (
        "R² = 1 − Σ‖t − t̂‖²/Σ‖t − mean‖² of ridge regressions from the layers of the energy, fitted"
        f"{problems} and tested on new ones (lower than {_LEAST} is not shown). What a layer adds "
        "is what it has above the best grey line: the input itself, the same network with new "
        "weights, and targets of other problems. Bars: two standard errors over problems, of "
        f"several runs the range.{left_out(data, 1, 'readouts')}"
    )
    return [Figure(section.probe, "Linear readouts", caption, panels)]


def _target(results: Sequence[xr.Dataset], target: str) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        parts = [r.sel(target=target) for r in results]
        k = parts[0]["landscape"].values
        for i, (name, label) in enumerate(_BASELINES.items()):
            values = np.mean([p["r2_baseline"].sel(baseline=name).values for p in parts], 0)
            axes.plot(k, values, color=MUTED, linestyle=DASHES[1 + i], label=label)
        for i, site in enumerate(parts[0]["site"].values):
            here = [part.sel(site=site) for part in parts]
            stacked = np.stack([one["r2"].values for one in here])
            mean = stacked.mean(0)
            bars = (
                np.stack([mean - stacked.min(0), stacked.max(0) - mean])
                if len(here) > 1
                else 2 * np.nan_to_num(here[0]["r2_error"].values)
            )
            axes.errorbar(
                k + (i - 1.5) * 0.1,
                mean,
                yerr=bars,
                color=series_colour(i),
                marker=MARKERS[i],
                capsize=2,
                label=str(site),
            )
        axes.axhline(0, color=INK, linewidth=0.6)
        axes.set_ylim(_LEAST, 1.05)
        axes.set_xticks(k)
        axes.set_xlabel("landscape k (0: sharpest)")
        axes.set_ylabel("R² on new problems")
        axes.legend()

    return draw
