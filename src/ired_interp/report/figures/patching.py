"""Patching: what follows which path, part of a layer and landscape."""

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from ired_interp.report.collect import Group, Section, left_out, of_group
from ired_interp.report.figure import Figure, Panel
from ired_interp.report.figures.lines import by_landscape
from ired_interp.report.style import INK, MARKERS, MUTED, plain_log_ticks, series_colour

Data = Sequence[tuple[Group, Sequence[xr.Dataset]]]
_CORRUPTED = {
    "problem": "another problem",
    "answer": "another answer",
    "noise": "other noise",
    "entry": "an entry less",
    "row": "a row less",
    "eigenvalue": "another eigenvalue",
    "smoother": "landscape k + 1",
    "sharper": "landscape k − 1",
}


def figures(section: Section) -> list[Figure]:
    """Ways of the landscape, landscapes of inference, parts of a layer, and all sites."""
    data = section.last()
    if not data:
        return []
    group, results = data[0]
    first = results[0]
    ends = {int(first["landscape"][i]): i for i in (0, -1)}
    panels = [Panel(_named(site), _way(data, site)) for site in ("mod2", "mod3")]
    panels += [
        Panel(f"right problem in {which}", _landscapes(data, which))
        for which in first["which"].values
    ]
    layer = first.attrs["layer"]
    panels += [
        Panel(of_group(f"parts of {layer}, k = {k}", group, data), _parts(results, i))
        for k, i in ends.items()
    ]
    panels += [
        Panel(of_group(f"all sites, k = {k}", group, data), _sites(results, i), height=1.3)
        for k, i in ends.items()
    ]
    caption = (
        f"Values between the layers of one evaluation put into another, measured at noised answers "
        f"{section.points()}. 1: the whole difference follows, 0: none of it; outside, parts "
        "overshoot and cancel. The network is a chain, so that many sites must carry all or "
        "nothing (marked in the map by crosses); what it does with the landscape, with parts of a "
        "layer and along inference need not. Parts are chosen on half of the problems and "
        "measured on the other; dashed: share of a linear readout in a random part. Bars: two "
        f"standard errors over problems, of several runs the range.{left_out(data, 1, 'parts')}"
    )
    return [Figure(section.probe, "Patching", caption, panels)]


def _named(site: str) -> str:
    return f"landscape's modulation of layer {site[-1]}"


def _way(data: Data, site: str) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        at = {
            "corruption": "smoother",
            "site": site,
            "direction": "sufficient",
            "metric": "gradient",
        }
        names = ["restored", "restored_error"]
        shown = [(group, [r[names].sel(at) for r in results]) for group, results in data]
        by_landscape(axes, shown, "restored", "share of the gradient restored")
        axes.axhline(0, color=MUTED, linewidth=0.8)
        axes.axhline(1, color=MUTED, linewidth=0.8)

    return draw


def _landscapes(data: Data, which: str) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        names = ["landscape_restored", "landscape_restored_error"]
        shown = [(g, [r[names].sel(which=which) for r in results]) for g, results in data]
        by_landscape(axes, shown, names[0], "share of the answer's error made up")
        axes.axhline(0, color=MUTED, linewidth=0.8)
        axes.axhline(1, color=MUTED, linewidth=0.8)

    return draw


def _parts(results: Sequence[xr.Dataset], landscape: int) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        first = results[0]
        sizes = first["size"].values
        for i, plane in enumerate(first["plane"].values):
            parts = [
                r["part_restored"].isel(landscape=landscape).sel(plane=plane).values
                for r in results
            ]
            colour, mean = series_colour(i), np.mean(parts, 0)
            axes.plot(sizes, mean, color=colour, marker=MARKERS[i], label=str(plane))
        axes.plot(sizes, first["part_restored_chance"], color=INK, linestyle="--", label="size / h")
        axes.set_ylim(-0.5, 1.6)
        axes.set_xscale("log")
        plain_log_ticks(axes, "x")
        axes.set_xlabel("directions or units")
        axes.set_ylabel("share of E restored")
        axes.legend()

    return draw


def _sites(results: Sequence[xr.Dataset], landscape: int) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        at = {"direction": "sufficient", "metric": "energy"}
        parts = [r["restored"].sel(at).isel(landscape=landscape) for r in results]
        mean = xr.concat(parts, "run").mean("run").transpose("site", "corruption")
        image = axes.imshow(mean, vmin=-1, vmax=1, cmap="RdBu_r", aspect="auto")
        truth = results[0]["restored_truth"].sel(metric="energy")
        known = truth.transpose("site", "corruption").notnull().values
        rows, columns = np.nonzero(known)
        axes.plot(columns, rows, "x", color=MUTED, markersize=4, label="must be so in any chain")
        names = [_CORRUPTED[str(name)] for name in mean["corruption"].values]
        axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
        sites = [str(site).replace("_path", " path") for site in mean["site"].values]
        axes.set_yticks(range(len(sites)), sites)
        axes.grid(visible=False)
        axes.set_xlabel("corrupted by")
        axes.set_ylabel("site")
        axes.figure.colorbar(image, ax=axes, shrink=0.85).outline.set_visible(False)

    return draw
