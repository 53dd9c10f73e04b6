"""Sparse dictionaries: variance explained beside its nulls, agreement of seeds, fidelity."""

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from ired_interp.report.collect import Group, Section, left_out, of_group
from ired_interp.report.figure import Figure, Panel
from ired_interp.report.figures.lines import error_bars, spread_bars
from ired_interp.report.style import INK, MARKERS, MUTED, series_colour, series_line

Data = Sequence[tuple[Group, Sequence[xr.Dataset]]]


def figures(section: Section) -> list[Figure]:
    """Variance explained of each landscape, agreement of atoms and what reconstructions keep."""
    data = section.last()
    if not data:
        return []
    first = data[0][1][0]
    panels = [
        Panel(f"variance explained, k = {k}", _bars(data, i, "explained", "kind"))
        for i, k in enumerate(first["landscape"].values)
    ]
    panels.append(Panel("agreement of two seeds", _agreement(data)))
    group, results = data[0]
    more = {"explained_by_l0": ("explained by number", _by_l0), "alignment": ("planes", _planes)}
    detailed = [more[name] for name in more if name in first]
    for title, draw in detailed:
        for i, k in enumerate(first["landscape"].values):
            panels.append(Panel(of_group(f"{title}, k = {k}", group, data), draw(results, i)))
    if "fidelity" in first:
        panels.append(Panel("kept by reconstructions", _bars(data, 0, "fidelity", "metric")))
    settings = section.settings
    source, atoms, l0 = (settings.get(f"probe.{name}") for name in ("source", "atoms", "l0"))
    caption = (
        f"Vectors ({source}) at noised answers of held-out problems as sums of {l0} of {atoms} "
        f"learned atoms, {section.weights} weights. Believe only what stands above the Gaussian "
        "null: data of the same covariance that has no features. Agreement: mean |cosine| of atoms "
        "of two seeds, matched one to one (dashed: random atoms; bars reach from the 5 % to the "
        "95 % quantile). Kept: 1 where E, or its gradient, is the same with the reconstruction in "
        "place of the vector, 0 where it is no better than the mean. Planes: squared share of each "
        "atom (median and 5 % to 95 % of all), short bars: of a direction at random. Other bars: "
        "two standard errors over problems, of several runs the range."
    )
    if detailed:
        caption += left_out(data, 1, "numbers of atoms, and planes")
    return [Figure(section.probe, "Sparse dictionary", caption, panels)]


def _bars(data: Data, landscape: int, name: str, along: str) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        labels = [str(label) for label in data[0][1][0][along].values]
        x = np.arange(len(labels))
        for place, (group, results) in enumerate(data):
            parts = [r.isel(landscape=landscape) for r in results]
            stacked = np.stack([part[name].values for part in parts])
            mean = stacked.mean(0)
            spread = np.stack([mean - stacked.min(0), stacked.max(0) - mean])
            axes.errorbar(
                x + (place - (len(data) - 1) / 2) * 0.15,
                mean,
                yerr=spread if len(parts) > 1 else error_bars(parts[0], name),
                color=series_colour(group.index),
                marker=MARKERS[group.index % len(MARKERS)],
                linestyle="none",
                capsize=2,
                label=group.name,
            )
        axes.axhline(0, color=MUTED, linewidth=0.8)
        axes.set_xticks(x, labels, rotation=30, ha="right")
        axes.set_xlabel("of what" if along == "kind" else "of the energy or its gradient")
        axes.set_ylabel("share of variance" if along == "kind" else "share kept")
        axes.legend()

    return draw


def _by_l0(results: Sequence[xr.Dataset], landscape: int) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        parts = [r.isel(landscape=landscape).sortby("l0") for r in results]
        for i, kind in enumerate(parts[0]["kind"].values):
            here = [part.sel(kind=kind) for part in parts]
            mean = np.mean([part["explained_by_l0"].values for part in here], 0)
            bars = spread_bars(here, "explained_by_l0")
            axes.errorbar(
                here[0]["l0"], mean, yerr=bars, capsize=2, label=str(kind), **series_line(i)
            )
        axes.set_xscale("log")
        axes.set_xticks(parts[0]["l0"].values, [str(l0) for l0 in parts[0]["l0"].values])
        axes.set_xlabel("atoms of each vector")
        axes.set_ylabel("share of variance")
        axes.legend()

    return draw


def _planes(results: Sequence[xr.Dataset], landscape: int) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        joined = xr.concat([r["alignment"].isel(landscape=landscape) for r in results], "run")
        low, middle, high = joined.quantile([0.05, 0.5, 0.95], ["run", "atom"]).values
        names = [str(name) for name in joined["family"].values]
        x = np.arange(len(names))
        bars = np.stack([middle - low, high - middle])
        axes.errorbar(x, middle, yerr=bars, fmt="o", color=series_colour(0), capsize=2)
        chance = results[0]["alignment_chance"].values
        axes.hlines(chance, x - 0.3, x + 0.3, color=INK, linewidth=1.3, label="at random")
        axes.set_xticks(x, names, rotation=30, ha="right")
        axes.set_ylim(-0.02, 1.05)
        axes.set_xlabel("plane")
        axes.set_ylabel("squared share of an atom")
        axes.legend()

    return draw


def _agreement(data: Data) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        first = data[0][1][0]
        k = first["landscape"].values
        for i, learned in enumerate(first["learned"].values):
            for group, results in data:
                parts = [r.sel(learned=learned) for r in results]
                low, high = (
                    np.mean([p["agreement_quantiles"].sel(quantile=q).values for p in parts], 0)
                    for q in (0.05, 0.95)
                )
                mean = np.mean([part["agreement"].values for part in parts], 0)
                axes.errorbar(
                    k + 0.1 * i,
                    mean,
                    yerr=np.stack([mean - low, high - mean]).clip(min=0),
                    color=series_colour(group.index),
                    marker=MARKERS[i],
                    linestyle="none",
                    capsize=2,
                    label=f"{learned}, {group.name}",
                )
        chance = float(first["agreement_chance"])
        axes.axhline(chance, color=INK, linestyle="--", linewidth=1, label="random atoms")
        axes.set_xticks(k)
        axes.set_xlim(min(k) - 0.5, max(k) + 0.5)
        axes.set_ylim(0, 1.05)
        axes.set_xlabel("landscape k (0: sharpest)")
        axes.set_ylabel("|cosine| of matched atoms")
        axes.legend()

    return draw
