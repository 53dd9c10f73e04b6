"""Drift of a subspace: every pair of snapshots, and the way from the first, between chance and estimation noise."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes

from ired_interp.report.collect import Group, Section
from ired_interp.report.figure import Figure, Panel
from ired_interp.report.figures.lines import legend
from ired_interp.report.style import INK, MARKERS, MUTED, series_colour

_MOST_MATRICES = 3


def figures(section: Section) -> list[Figure]:
    """Matrix of overlaps, overlap with the first snapshot, and the length of the way."""
    data = [(group, kept) for group, results in section.last() if (kept := [r for r in results if "overlap" in r])]
    if not data:
        return []
    first = data[0][1][0]
    p = first.sizes.get("angle", 0)
    panels = [Panel(f"overlap of all pairs, {g.name}", _matrix(results[0])) for g, results in data[:_MOST_MATRICES]]
    panels.append(Panel("overlap with the first", lambda axes: _from_first(axes, data)))
    panels.append(Panel("geodesic distance from the first", lambda axes: _distance(axes, data)))
    caption = (
        f"A subspace of p = {p} dimensions ({section.probe.removeprefix('subspace_drift').strip('_').replace('_', ' ') or 'see settings'}), "
        f"followed {section.points()}. Overlap ‖UᵀV‖²/p is 1 for equal subspaces; grey band: 95 % of random subspaces. Dotted: each snapshot against an "
        "independent estimate of itself (split half), the highest overlap and the lowest distance that estimation noise allows. Distances in radians."
    )
    return [Figure(section.probe, f"Subspace drift: {section.probe.removeprefix('subspace_drift').strip('_').replace('_', ' ')}".rstrip(": "), caption, panels, _table(data))]


def labels(result: xr.Dataset) -> np.ndarray:
    """Names of the snapshots, in order."""
    return np.asarray(result["label"].values if "label" in result else result["snapshot"].values)


def _matrix(result: xr.Dataset) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        overlap, names = result["overlap"].values, labels(result)
        image = axes.imshow(overlap, vmin=0, vmax=1, cmap="cividis", interpolation="nearest", origin="upper")
        places = np.unique(np.linspace(0, len(names) - 1, min(len(names), 6)).round().astype(int))
        axes.set_xticks(places, [str(names[i]) for i in places], rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(places, [str(names[i]) for i in places])
        axes.grid(visible=False)
        axes.set_xlabel("snapshot")
        axes.set_ylabel("snapshot")
        bar = axes.figure.colorbar(image, ax=axes, shrink=0.85)
        bar.outline.set_visible(False)

    return draw


def _axis(axes: Axes, names: np.ndarray) -> np.ndarray:
    if np.issubdtype(names.dtype, np.number):
        axes.set_xlabel("snapshot (step or landscape)")
        return names.astype(float)
    places = np.arange(len(names))
    axes.set_xticks(places, names, rotation=45, ha="right", rotation_mode="anchor")
    return places


def _from_first(axes: Axes, data: Sequence[tuple[Group, list[xr.Dataset]]]) -> None:
    for group, results in data:
        for i, result in enumerate(results):
            x, colour = _axis(axes, labels(result)), series_colour(group.index)
            marker = MARKERS[group.index % len(MARKERS)]
            axes.plot(x, result["overlap"].values[0], color=colour, marker=marker, label=group.name if i == 0 else None)
            if "reliability" in result and np.isfinite(result["reliability"]).any():
                axes.plot(x, result["reliability"], color=colour, linestyle=":", label="split half" if i == 0 else None)
    chance = data[0][1][0].get("overlap_chance")
    if chance is not None:
        mean, low, high = chance.values
        axes.axhspan(low, high, color=MUTED, alpha=0.35, linewidth=0, label="chance, 95 %")
        axes.axhline(mean, color=INK, linewidth=0.8)
    axes.set_ylim(0, 1.05)
    axes.set_ylabel("overlap ‖UᵀV‖²/p")
    legend(axes, [group for group, _ in data])


def _distance(axes: Axes, data: Sequence[tuple[Group, list[xr.Dataset]]]) -> None:
    for group, results in data:
        for i, result in enumerate(results):
            x, colour = _axis(axes, labels(result)), series_colour(group.index)
            marker = MARKERS[group.index % len(MARKERS)]
            axes.plot(x, result["geodesic"].values[0], color=colour, marker=marker, label=group.name if i == 0 else None)
            if "geodesic_split_half" in result and np.isfinite(result["geodesic_split_half"]).any():
                axes.plot(x, result["geodesic_split_half"], color=colour, linestyle=":", label="split half" if i == 0 else None)
    chance = data[0][1][0].get("geodesic_chance")
    if chance is not None:
        mean, low, high = chance.values
        axes.axhspan(low, high, color=MUTED, alpha=0.35, linewidth=0, label="chance, 95 %")
        axes.axhline(mean, color=INK, linewidth=0.8)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("geodesic distance (rad)")
    legend(axes, [group for group, _ in data])


def _table(data: Sequence[tuple[Group, list[xr.Dataset]]]) -> pd.DataFrame:
    rows = []
    for group, results in data:
        for result in results:
            for i, name in enumerate(labels(result)):
                row = {"runs": group.name, "snapshot": name, "overlap with first": result["overlap"].values[0, i]}
                row["geodesic from first (rad)"] = result["geodesic"].values[0, i]
                if "reliability" in result:
                    row["split-half overlap"] = result["reliability"].values[i]
                rows.append(row)
    return pd.DataFrame(rows)
