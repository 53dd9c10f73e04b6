"""Energy along curves between answers, and the barriers on them."""

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from ired_interp.report.collect import Group, Section, after_steps, left_out, of_group
from ired_interp.report.figure import Figure, Panel
from ired_interp.report.figures.families import by_family
from ired_interp.report.figures.lines import by_landscape, legend
from ired_interp.report.style import INK, MUTED, landscape_colour, log_if_positive

_MOST_GROUPS = 2
_TWO_WELLS = 2.0  # noise units between two answers, above which each has a well of its own
_BETWEEN = {
    "found": "the right answer and the one found",
    "starts": "what two starts find",
    "answers": "two right answers",
    "problems": "the right answers of two problems",
}


def figures(section: Section) -> list[Figure]:
    """Energy along the segment, barriers by curve, and how far the ends are apart."""
    data = section.last()
    if not data:
        return []
    panels = []
    for group, results in data[:_MOST_GROUPS]:
        panels.append(Panel(of_group("along the segment", group, data), _along(results)))
        if any(np.isfinite(r["barrier"]).any() for r in results):
            renamed = [r.rename(curve="family") for r in results]
            draw = by_family(renamed, "barrier", "barrier (nats)", "theory_barrier", 0.0)
            panels.append(Panel(of_group("barriers by curve", group, data), draw))
    panels.append(Panel("distance of the ends", lambda axes: _distance(axes, data)))
    between = _BETWEEN.get(str(section.settings.get("probe.between")), "two ends")
    caption = (
        f"Measured {section.points()}, {after_steps(data)}, between {between}, scaled by √ᾱ. E/σ "
        "in nats above its start along the segment, mean over problems; barrier: the highest point "
        "above the higher end, along the segment, through matrices of the answers' rank, and "
        "along a band relaxed towards least energy, over problems whose ends lie more than 3 "
        "noise units σ/√ᾱ apart (ends nearer are one point). Two answers have a well each where "
        "they lie more than 2 apart. Short bars: exact for a perfect model. Bars: two standard "
        "errors over problems, of several runs the range."
        + left_out(data, _MOST_GROUPS, "barriers")
    )
    return [Figure(section.probe, "Barriers between answers", caption, panels)]


def _along(results: Sequence[xr.Dataset]) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        rise = [r["energy"].sel(curve="straight").mean("problem") for r in results]
        mean = xr.concat(rise, "run", join="outer").mean("run")
        landscapes = mean["landscape"].values
        for i, k in enumerate(landscapes):
            colour = landscape_colour(i, len(landscapes))
            label = f"k = {k}" if i in (0, len(landscapes) - 1) else f"_k = {k}"
            axes.plot(mean["t"], mean.sel(landscape=k), color=colour, label=label)
        axes.axhline(0, color=MUTED, linewidth=0.6)
        if float(abs(mean).max()) > 10:  # nats
            axes.set_yscale("symlog", linthresh=1.0)
        axes.set_xlabel("t, from the first end to the second")
        axes.set_ylabel("E/σ above the start (nats)")
        axes.legend()

    return draw


def _distance(axes: Axes, data: Sequence[tuple[Group, list[xr.Dataset]]]) -> None:
    means = [(g, [r[["distance"]].mean("problem") for r in results]) for g, results in data]
    by_landscape(axes, means, "distance", "√ᾱ‖Δ‖/σ (noise units)")
    log_if_positive(axes, "y", *(r["distance"].values for _, results in means for r in results))
    axes.axhline(_TWO_WELLS, color=INK, linewidth=1, linestyle="--", label="two wells above")
    legend(axes, [group for group, _ in data])
