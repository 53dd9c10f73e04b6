"""Curvature of the landscapes: what is certain and what is left open, plane by plane."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes

from ired_interp.report.collect import Group, Section, after_steps, left_out, of_group
from ired_interp.report.figure import Figure, Panel
from ired_interp.report.figures.families import by_family, preference
from ired_interp.report.figures.lines import by_landscape, landscape_table, legend
from ired_interp.report.style import INK, MARKERS, MUTED, series_colour

Data = Sequence[tuple[Group, list[xr.Dataset]]]
_MOST_GROUPS = 2


def figures(section: Section) -> list[Figure]:
    """Shrinkage, calibration, dimension, and curvature and rise by family of directions."""
    data = section.last()
    if not data:
        return []
    first = data[0][1][0]
    panels = []
    if all("shrinkage" in r for _, results in data for r in results):
        panels.append(Panel("σ λ: 1 is certain", lambda axes: _fan(axes, data)))
    if "calibration" in first:
        panels.append(Panel("predicted / measured error", lambda axes: _calibration(axes, data)))
    panels.append(Panel("local dimension", lambda axes: _dimension(axes, data)))
    if "curvature_ratio" in first:
        panels.append(
            Panel(
                "across / along the rank-r manifold",
                lambda axes: by_landscape(
                    axes,
                    data,
                    "curvature_ratio",
                    "normal / tangent curvature",
                    "theory_curvature_ratio",
                ),
            )
        )
    for group, results in data[:_MOST_GROUPS]:
        title = of_group("curvature by direction", group, data)
        draw = by_family(results, "curvature", "σ tr(P H)/tr P", "theory_curvature", 1.0)
        panels.append(Panel(title, draw))
        if first.sizes["family"] > 1:
            title = of_group("rise of energy by direction", group, data)
            panels.append(Panel(title, preference(results)))
        if first.sizes["family"] > 1 and np.isfinite(results[0].get("plane_overlap", np.nan)).any():
            title = of_group("freest directions below the gap", group, data)
            draw = by_family(results, "plane_overlap", "share in the plane", leave_out="random")
            panels.append(Panel(title, draw))
    caption = (
        f"Measured {section.points()}, {after_steps(data)}; {first.sizes['problem']} problems, H = "
        "∂²E/∂y². σ λ of its eigenvalues (median, middle half, 90 %): 1 where the answer is fixed, "
        "less where it is free, below 0 between two answers, above 1 impossible for a perfect "
        "model. Predicted error: (σ²/ᾱ)(d − σ tr H)/d, over the error of the denoised answer; 1 "
        "for a perfect model. Dimension: d − σ tr H; dotted, the last landscape in which a "
        "singular value of the answers stands above the noise. By direction: mean curvature in "
        "planes that turn the column or the row space, keep both (core), the three together "
        "(tangent), raise the rank (normal), or change entries that x shows or hides; rise of E "
        "half the answer's norm away, of that in random directions: 1, no preference. Short bars: "
        "exact for a perfect model. Bars: two standard errors over problems, of several runs the "
        "range." + left_out(data, _MOST_GROUPS, "directions")
    )
    return [Figure(section.probe, "Curvature by direction", caption, panels, _table(data))]


def _fan(axes: Axes, data: Data) -> None:
    for place, (group, results) in enumerate(data):
        colour, marker = series_colour(group.index), MARKERS[group.index % len(MARKERS)]
        pooled = xr.concat([1 - r["shrinkage"] for r in results], "run", join="outer")
        parts = pooled.quantile([0.05, 0.25, 0.5, 0.75, 0.95], ["run", "problem", "rank"])
        x = pooled["landscape"].values + (place - (len(data) - 1) / 2) * 0.2
        low, lower, median, upper, high = parts.transpose("quantile", "landscape").values
        axes.vlines(x, low, high, color=colour, linewidth=0.9)
        axes.vlines(x, lower, upper, color=colour, linewidth=3)
        axes.plot(x, median, marker=marker, color=colour, linewidth=0.6, label=group.name)
    axes.axhline(1, color=INK, linewidth=1, linestyle="--", label="certain")
    axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.set_xticks(data[0][1][0]["landscape"].values)
    axes.set_xlabel("landscape k (0: sharpest)")
    axes.set_ylabel("σ λ")
    legend(axes, [group for group, _ in data])


def _calibration(axes: Axes, data: Data) -> None:
    by_landscape(axes, data, "calibration", "predicted / measured error")
    axes.axhline(1, color=INK, linewidth=1, linestyle="--", label="calibrated")
    axes.legend()


def _dimension(axes: Axes, data: Data) -> None:
    by_landscape(axes, data, "intrinsic_dimension_mean", "d − σ tr H", "theory_dimension")
    first = data[0][1][0]
    if "detectable_rank" in first:
        shown = first["landscape"].values[first["detectable_rank"].values >= 0.5]
        if shown.size:
            axes.axvline(shown.max() + 0.5, color=MUTED, linestyle=":", label="rank hidden beyond")
            axes.legend()


def _table(data: Data) -> pd.DataFrame:
    names = {
        "intrinsic_dimension_mean": "dimension",
        "free_directions": "free directions",
        "calibration": "calibration",
        "curvature_ratio": "normal / tangent",
        "gap_rank": "gap after",
    }
    return landscape_table(data, names, exact=["gap_rank"])
