"""Drift of a subspace: all pairs of frames and the way from the first, with chance and noise."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes

from ired_interp.report.collect import Group, Section, left_out, of_group
from ired_interp.report.figure import Figure, Panel
from ired_interp.report.figures.lines import legend, matrix
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
        if part.sizes["frame"] > _FEW
    ]
    for name, label in _MEASURES.items():
        title = f"{label.split()[0]} to the first"
        if per_landscape:
            panels += [
                Panel(of_group(title, g, data), _by_landscape(results, name, label, along))
                for g, results in data[:_MOST]
                if _frames(results) > _FEW
            ]
        elif max(_frames(results) for _, results in data) > _FEW:
            panels.append(Panel(title, _by_group(data, name, label, along)))
    if "overlap_answer" in first and _frames(data[0][1]) > _FEW:
        panels.append(Panel("overlap with the answer", _answer(data, along)))
    caption = (
        f"Subspaces of p = {first.sizes.get('angle', '?')} dimensions, "
        f"{_SOURCES.get(source, source)} in {where}, followed over {over}, measured "
        f"{section.points()}. Overlap ‖UᵀV‖²/p is 1 for equal subspaces; distances in radians. Two "
        "frames are compared by independent estimates; the split half shows how well one frame "
        "agrees with itself: what lies there has not moved."
    )
    if panels:
        caption += (
            " It stands on the diagonal and as dotted lines. Grey: the 95 % band of random "
            f"subspaces.{left_out(data, _MOST, 'overlap of all pairs')}"
        )
    title = f"Subspace drift over {over}: {source.replace('hessian', 'Hessian')} in {where}"
    return [Figure(section.probe, title, caption, panels, _table(data))]


def _frames(results: Sequence[xr.Dataset]) -> int:
    return max(int(result.sizes["frame"]) for result in results)


def described(label: str) -> tuple[str, str, str]:
    """Read source, space and axis from a label.

    Parameters
    ----------
    label : str
        subspace_drift_<source>_<space>_<axis>.

    Returns
    -------
    tuple of str
        Source, space and axis; "" where one is missing.
    """
    parts = label.removeprefix("subspace_drift").strip("_").split("_")
    source, space, axis = (*parts, "", "", "")[:3]
    return source, space, axis


def labels(result: xr.Dataset) -> np.ndarray:
    """Name the frames, in order.

    Parameters
    ----------
    result : xarray.Dataset
        A drift.

    Returns
    -------
    numpy.ndarray
        Of numbers or strings.
    """
    return np.asarray(
        result["label"].values if "label" in result else np.arange(result.sizes["frame"])
    )


def compared(result: xr.Dataset, name: str) -> xr.DataArray:
    """Take a measure of all pairs by independent estimates, where the frames have any.

    Parameters
    ----------
    result : xarray.Dataset
        A drift.
    name : {"overlap", "geodesic"}
        The measure.

    Returns
    -------
    xarray.DataArray
        (..., frame, other).
    """
    independent = result.get(f"{name}_independent")
    return (
        independent
        if independent is not None and bool(np.isfinite(independent).any())
        else result[name]
    )


def itself(result: xr.Dataset, name: str) -> xr.DataArray | None:
    """Take the same of each frame with an independent estimate of itself.

    Parameters
    ----------
    result : xarray.Dataset
        A drift.
    name : {"overlap", "geodesic"}
        The measure.

    Returns
    -------
    xarray.DataArray or None
        (..., frame); None where there is no second estimate.
    """
    found = result.get({"overlap": "reliability", "geodesic": "geodesic_split_half"}[name])
    return found if found is not None and bool(np.isfinite(found).any()) else None


def _matrices(data: Data, per_landscape: bool) -> list[tuple[str, xr.Dataset]]:
    if not per_landscape:
        return [(f", {g.name}" if len(data) > 1 else "", results[0]) for g, results in data[:_MOST]]
    ends = [0, -1] if data[0][1][0].sizes["landscape"] > 1 else [0]
    result = data[0][1][0]
    return [(f", k = {int(result['landscape'][i])}", result.isel(landscape=i)) for i in ends]


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
            axes.plot(x, every.mean(0), color=colour, marker="o", markersize=3, label=named)
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
                axes.plot(
                    x, compared(result, name).values[0], color=colour, marker=shown, label=named
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
                axes.plot(
                    _positions(labels(result)),
                    result["overlap_answer"],
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
                row |= {
                    "from": names[0],
                    "to": names[-1],
                    "overlap": compared(part, "overlap").values[0, -1],
                }
                row["geodesic distance (rad)"] = compared(part, "geodesic").values[0, -1]
                if "overlap_corrected" in part:
                    row["overlap freed of noise"] = part["overlap_corrected"].values[0, -1]
                if (noise := itself(part, "overlap")) is not None:
                    row["split half"] = float(noise.mean())
                if "path_length" in part:
                    row["path length (rad)"] = float(part["path_length"].values[-1])
                rows.append(row)
    return pd.DataFrame(rows)
