"""Drift of a subspace: all pairs of frames and the way from the first, with chance and noise."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes

from ired_interp.report.collect import Group, Section, left_out, of_group
from ired_interp.report.figure import Figure, Panel
from ired_interp.report.figures.drift_values import (
    compared,
    described,
    error_of,
    itself,
    labels,
)
from ired_interp.report.figures.lines import error_bars, legend, matrix
from ired_interp.report.style import INK, MARKERS, MUTED, landscape_colour, series_colour

Data = Sequence[tuple[Group, list[xr.Dataset]]]

_MOST = 2  # groups with panels of their own
_FEW = 2  # frames, of which a table says all

_SOURCES = {
    "hessian": "leading eigenvectors of the Hessian",
    "gradients": "leading directions of the gradients",
    "solution": "leading columns of the answer as a matrix",
    "activations": "leading directions of a layer's output",
}
_AXES = {
    "training": "training step",
    "landscapes": "landscape k",
    "inference": "position along inference",
}
_OVER = {"training": "training", "landscapes": "landscapes", "inference": "inference"}
_MEASURES = {"overlap": "overlap ‖UᵀV‖²/p", "geodesic": "geodesic distance (rad)"}


def figures(section: Section) -> list[Figure]:
    """Draw matrices of overlaps, and overlap with and distance from the first frame.

    Parameters
    ----------
    section : Section
        Results of one label.

    Returns
    -------
    list of Figure
        One; none where no result has two frames.
    """
    data = [
        (g, kept)
        for g, results in section.last()
        if (kept := [r for r in results if r.sizes.get("frame", 0) > 1])
    ]
    if not data:
        return []
    source, space, axis = described(section.probe)
    along, over = _AXES.get(axis, "frame"), _OVER.get(axis, axis)
    where = "θ" if space == "theta" else space
    first = data[0][1][0]
    per_landscape = "landscape" in first["overlap"].dims
    panels = [
        Panel(f"overlap of all pairs{suffix}", _matrix(part, along))
        for suffix, part in _matrices(data, per_landscape)
        if part.sizes["frame"] > _FEW and _told(part)
    ]
    for name, label in _MEASURES.items():
        title = f"{label.split()[0]} to the first"
        if per_landscape:
            panels += [
                Panel(of_group(title, g, data), _by_landscape(results, name, label, along))
                for g, results in data[:_MOST]
                if _frames(results) > _FEW and _told(results[0])
            ]
        elif any(_frames(results) > _FEW and _told(results[0]) for _, results in data):
            panels.append(Panel(title, _by_group(data, name, label, along)))
    if "overlap_answer" in first and _frames(data[0][1]) > _FEW:
        panels.append(Panel("overlap with the answer", _answer(data, along)))
    caption = (
        f"Subspaces of p = {first.sizes.get('angle', '?')} dimensions, "
        f"{_SOURCES.get(source, source)} in {where}, followed over {over}, measured "
        f"{section.points()}. Overlap ‖UᵀV‖²/p is 1 for equal subspaces; distances in radians. Two "
        "frames are compared by independent estimates; the split half shows how well one frame "
        "agrees with itself: what lies there has not moved. Bars: two standard errors. A "
        "frame whose subspace is arbitrary, as its eigengap (of the largest eigenvalue) cannot be "
        "told from 0, is left blank."
    )
    if panels:
        caption += (
            " The split half stands on the diagonal and as dotted lines. Grey: the 95 % of random "
            f"subspaces.{left_out(data, _MOST, 'overlap of all pairs')}"
        )
    title = f"Subspace drift over {over}: {source.replace('hessian', 'Hessian')} in {where}"
    return [Figure(section.probe, title, caption, panels, _table(data))]


def _frames(results: Sequence[xr.Dataset]) -> int:
    return max(int(result.sizes["frame"]) for result in results)


def _matrices(data: Data, per_landscape: bool) -> list[tuple[str, xr.Dataset]]:
    if not per_landscape:
        return [(f", {g.name}" if len(data) > 1 else "", results[0]) for g, results in data[:_MOST]]
    result = data[0][1][0]
    known = [i for i in range(result.sizes["landscape"]) if _told(result.isel(landscape=i))]
    ends = dict.fromkeys([*known[:1], *known[-1:]])
    return [(f", k = {int(result['landscape'][i])}", result.isel(landscape=i)) for i in ends]


def _told(result: xr.Dataset) -> bool:
    """Whether it says anything of two different frames."""
    values = compared(result, "overlap").values
    return bool(np.isfinite(values[..., ~np.eye(values.shape[-1], dtype=bool)]).any())


def _matrix(result: xr.Dataset, along: str) -> Callable[[Axes], None]:
    return lambda axes: matrix(
        axes, compared(result, "overlap").values, labels(result), 0, 1, along
    )


def _positions(names: np.ndarray) -> np.ndarray:
    return names.astype(float) if np.issubdtype(names.dtype, np.number) else np.arange(len(names))


def _by_landscape(
    results: Sequence[xr.Dataset], name: str, label: str, along: str
) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        first = results[0]
        landscapes = first["landscape"].values
        x = _positions(labels(first))
        shared = [r for r in results if r.sizes["frame"] == len(x)]
        for i, k in enumerate(landscapes):
            every = np.stack([compared(r, name).isel(landscape=i).values[0] for r in shared])
            colour = landscape_colour(i, len(landscapes))
            named = f"{'' if i in (0, len(landscapes) - 1) else '_'}k = {k}"
            bars = error_of(first, name).isel(landscape=i).values[0] if len(shared) == 1 else None
            axes.errorbar(
                x, every.mean(0), yerr=bars, color=colour, marker="o", markersize=3, label=named
            )
        noise = itself(first, name)
        if noise is not None:
            axes.plot(x, noise.mean("landscape"), ":", color=INK, label="split half, mean over k")
        _chance(axes, first, name)
        _finish(axes, name, label, along)
        axes.legend()

    return draw


def _by_group(data: Data, name: str, label: str, along: str) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        for group, results in data:
            colour, marker = series_colour(group.index), MARKERS[group.index % len(MARKERS)]
            for i, result in enumerate(results):
                x = _positions(labels(result))
                shown, named = marker if len(x) <= 20 else "", group.name if i == 0 else None
                axes.errorbar(
                    x,
                    compared(result, name).values[0],
                    yerr=error_of(result, name).values[0],
                    color=colour,
                    marker=shown,
                    label=named,
                )
                noise = itself(result, name)
                if noise is not None:
                    axes.plot(x, noise, ":", color=colour, label="split half" if i == 0 else None)
        _chance(axes, data[0][1][0], name)
        _finish(axes, name, label, along)
        if along == _AXES["landscapes"]:
            axes.invert_xaxis()
            axes.set_xticks(_positions(labels(data[0][1][0])))
        legend(axes, [group for group, _ in data])

    return draw


def _answer(data: Data, along: str) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        for group, results in data:
            for i, result in enumerate(results):
                colour = series_colour(group.index)
                axes.errorbar(
                    _positions(labels(result)),
                    result["overlap_answer"],
                    yerr=error_bars(result, "overlap_answer"),
                    color=colour,
                    label=group.name if i == 0 else None,
                )
        _chance(axes, data[0][1][0], "overlap")
        _finish(axes, "overlap", "overlap with the columns of y*", along)
        legend(axes, [group for group, _ in data])

    return draw


def _chance(axes: Axes, result: xr.Dataset, name: str) -> None:
    band = result.get(f"{name}_chance")
    if band is None:
        return
    mean, low, high = band.values.reshape(-1, 3).mean(0)
    axes.axhspan(low, high, color=MUTED, alpha=0.35, linewidth=0, label="chance, 95 %")
    axes.axhline(mean, color=INK, linewidth=0.8)


def _finish(axes: Axes, name: str, label: str, along: str) -> None:
    axes.set_ylim(0, 1.05 if name == "overlap" else None)
    axes.set_xlabel(along)
    axes.set_ylabel(label)


def _table(data: Data) -> pd.DataFrame:
    rows = []
    for group, results in data:
        for result in results:
            parts = (
                [result.isel(landscape=i) for i in range(result.sizes["landscape"])]
                if "landscape" in result["overlap"].dims
                else [result]
            )
            for part in parts:
                names = labels(part)
                row: dict[str, object] = {"runs": group.name}
                if "landscape" in result["overlap"].dims:
                    row["k"] = int(part["landscape"])
                row |= {"from": names[0], "to": names[-1]}
                shown = compared(part, "overlap").name, compared(part, "geodesic").name
                for name, title, place in (
                    ("eigengap", "least eigengap", None),
                    (shown[0], "overlap", (0, -1)),
                    (shown[1], "geodesic distance (rad)", (0, -1)),
                    ("overlap_corrected", "overlap freed of noise", (0, -1)),
                    ("path_length", "path length (rad)", (-1,)),
                ):
                    if name in part:
                        row |= _cells(part, str(name), title, place)
                if "identified" in part:
                    row["arbitrary frames"] = int((~part["identified"].astype(bool)).sum())
                if (noise := itself(part, "overlap")) is not None:
                    row["split half"] = float(noise.mean())
                rows.append(row)
    return pd.DataFrame(rows)


def _cells(
    part: xr.Dataset, name: str, title: str, place: tuple[int, ...] | None
) -> dict[str, object]:
    """Value and standard error at a place, or where the value is least."""
    values = part[name].values
    where = place if place is not None else (int(values.argmin()),)
    error = part[f"{name}_error"].values[where] if f"{name}_error" in part else np.nan
    return {title: float(values[where]), f"± {title}": float(error)}
