"""Hessian of a training objective in the weights, at the last step and over training."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes

from ired_interp.report.collect import Group, Section, after_steps
from ired_interp.report.figure import Figure, Panel
from ired_interp.report.figures import theta_layers, theta_shares
from ired_interp.report.figures.lines import legend
from ired_interp.report.style import (
    INK,
    MARKERS,
    MUTED,
    landscape_colour,
    plain_log_ticks,
    series_colour,
)

_ENDS = {  # which eigenvalues were looked for: title, and the order of their ranks
    "LA": ("largest eigenvalues", "from the largest λ"),
    "SA": ("smallest eigenvalues", "from the largest of those found"),
    "BE": ("largest and smallest eigenvalues", "the largest λ, then the smallest"),
    "LM": ("eigenvalues largest in magnitude", "from the largest λ"),
    "": ("eigenvalues found", "from the largest λ found"),
}

Data = Sequence[tuple[Group, list[xr.Dataset]]]
Curve = tuple[str, str, xr.Dataset]  # name, colour, one landscape of one run

MIXED, _ALONE = -1, -2  # drawn as in training; of a loss that has none
_DECADES = 6  # of a density that are shown


def figures(section: Section) -> list[Figure]:
    """Density, eigenvalues, shares; extreme eigenvalues over training; single layers."""
    data = _with_landscape(section.last())
    if not data:
        return []
    first = data[0][1][0]
    objective = str(first.attrs.get("objective", "objective"))
    curves = _curves(data)
    which = str(section.settings.get("probe.which", ""))
    title, order = _ENDS.get(which, _ENDS[""])
    panels = [
        Panel(title, _eigenvalues(curves, which)),
        Panel("share of the gradient", _gradient(curves, order)),
    ]
    if "density" in first:
        panels.insert(0, Panel("spectral density", _density(curves)))
    if "trace" in first and (first.sizes["landscape"] > 1 or sum(len(rs) for _, rs in data) > 1):
        panels.append(Panel("trace", lambda axes: _trace(axes, data)))
    top = _with_landscape(section.over_steps(theta_shares.VARIABLES))
    if top:
        panels.append(theta_shares.panel(top))
    over = _with_landscape(section.over_steps(["eigenvalues"]))
    if max(r.sizes["step"] for _, results in over for r in results) > 1:
        panels.append(
            Panel("extreme eigenvalues over training", lambda axes: _over_training(axes, over))
        )
    shown = (
        ""
        if len(data) == 1 or len(first["landscape"]) == 1
        else f" Landscapes are shown for {data[0][0].name}."
    )
    drawn = any(k == MIXED for _, results in data for r in results for k in r["landscape"].values)
    mixed = " “mixed”: landscapes drawn as in training." if drawn else ""
    caption = (
        f"Hessian of the {objective} in all {int(first['parameters'].values.ravel()[0])} weights "
        "θ, "
        f"measured {section.points()}, {after_steps(data)}. Density by stochastic "
        "Lanczos quadrature, band: 95 % over "
        "random vectors, ticks: eigenvalues found. Eigenvalues by Lanczos, bars: residuals "
        "‖Hv − λv‖, within which an eigenvalue lies. "
        "Share of the gradient: cos² between the gradient and each eigenvector."
        f"{theta_shares.CAPTION if top else ''} Trace: with its 95 % interval. Units: "
        f"objective / θ².{mixed}{shown}"
    )
    where = ", by landscape" if first.sizes["landscape"] > 1 else ""
    where = ", landscapes as in training" if mixed and not where else where
    title = f"Hessian of the {objective} in the weights{where}"
    found = [Figure(section.probe, title, caption, panels, _table(data))]
    if any("layer" in r.dims for _, results in data for r in results):
        found.append(theta_layers.figure(section, data))
    return found


def _with_landscape(data: Data) -> Data:
    """Give the results of a loss without landscapes one that has no number."""
    return [
        (g, [r if "landscape" in r.dims else r.expand_dims(landscape=[_ALONE]) for r in results])
        for g, results in data
    ]


def _curves(data: Data) -> list[Curve]:
    """One landscape of every run, or all landscapes of the first run."""
    first = data[0][1][0]
    count = first.sizes["landscape"]
    if count > 1:
        names = [f"k = {k}" for k in first["landscape"].values]
        return [
            (names[i], landscape_colour(i, count), first.isel(landscape=i)) for i in range(count)
        ]
    return [
        (group.name if i == 0 else "", series_colour(group.index), result.isel(landscape=0))
        for group, results in data
        for i, result in enumerate(results)
    ]


def _density(curves: Sequence[Curve]) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        highest = max(float(result["density"].max()) for *_, result in curves)
        for name, colour, result in curves:
            grid = result["density_grid"].values
            axes.plot(grid, result["density"], color=colour, linewidth=1.1, label=name)
            axes.fill_between(
                grid,
                result["density_low"].clip(min=0),
                result["density_high"],
                color=colour,
                alpha=0.2,
                linewidth=0,
            )
        axes.set_yscale("log")
        axes.set_ylim(highest * 10.0**-_DECADES, highest * 3)
        plain_log_ticks(axes, "y")
        for _, colour, result in curves:
            found = result["eigenvalues"].values
            axes.plot(
                found,
                np.full(len(found), highest * 10.0 ** (0.2 - _DECADES)),
                "|",
                color=colour,
                markersize=7,
            )
        axes.set_xlabel("eigenvalue λ (objective / θ²)")
        axes.set_ylabel("density")
        _legend(axes, curves)

    return draw


def _eigenvalues(curves: Sequence[Curve], which: str) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        for place, (name, colour, result) in enumerate(curves):
            ordered = np.argsort(result["eigenvalues"].values)[::-1]
            axes.errorbar(
                np.arange(len(ordered)),
                result["eigenvalues"].values[ordered],
                yerr=result["residuals"].values[ordered],
                color=colour,
                marker=MARKERS[place % len(MARKERS)],
                markersize=3.5,
                linestyle="",
                capsize=2,
                label=name,
            )
        axes.axhline(0, color=MUTED, linewidth=0.8)
        _rank_axis(axes, max(result.sizes["rank"] for *_, result in curves), which)
        axes.set_ylabel("eigenvalue λ (objective / θ²)")
        _legend(axes, curves)

    return draw


def _rank_axis(axes: Axes, count: int, which: str) -> None:
    """Count ranks from the end that they belong to, of both ends from either side."""
    ranks = np.arange(1, count + 1)
    if which == "BE":
        largest = (count + 1) // 2
        ranks = np.minimum(ranks, np.where(ranks > largest, count + 1 - ranks, count))
        axes.axvline(largest - 0.5, color=MUTED, linewidth=0.8, linestyle=":")
        axes.set_xlabel("rank from the largest | from the smallest")
    elif which == "SA":
        ranks = ranks[::-1]
        axes.set_xlabel("rank, from the smallest")
    else:
        axes.set_xlabel(
            "rank, from the largest found" if which == "LM" else "rank, from the largest"
        )
    shown = np.unique(np.linspace(0, count - 1, min(count, 12)).round().astype(int))
    axes.set_xticks(shown, [str(ranks[i]) for i in shown])


def _gradient(curves: Sequence[Curve], order: str) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        for name, colour, result in curves:
            ordered = np.argsort(result["eigenvalues"].values)[::-1]
            share = result["gradient_share"].values[ordered]
            axes.plot(
                np.arange(1, len(share) + 1),
                share.cumsum(),
                color=colour,
                marker="o",
                markersize=3,
                label=name,
            )
        axes.set_ylim(0, None)
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
        axes.set_xlabel(f"eigenvectors, {order}")
        axes.set_ylabel("cumulated cos²")
        _legend(axes, curves)

    return draw


def _trace(axes: Axes, data: Data) -> None:
    names = [_name(k) for k in data[0][1][0]["landscape"].values]
    count = sum(len(results) for _, results in data)
    place = 0
    for group, results in data:
        for i, result in enumerate(results):
            x = np.arange(len(names)) + (place - (count - 1) / 2) * 0.12
            value = result["trace"].values
            bars = np.stack(
                [value - result["trace_low"].values, result["trace_high"].values - value]
            )
            axes.errorbar(
                x,
                value,
                yerr=bars,
                color=series_colour(group.index),
                marker=MARKERS[group.index % len(MARKERS)],
                linestyle="",
                capsize=2,
                label=group.name if i == 0 else None,
            )
            place += 1
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_xlabel("landscape")
    axes.set_ylabel("tr H (objective / θ²)")
    legend(axes, [group for group, _ in data])


def _over_training(axes: Axes, over: Data) -> None:
    for group, results in over:
        for i, result in enumerate(results):
            colour, marker = series_colour(group.index), MARKERS[group.index % len(MARKERS)]
            for extreme in (
                result["eigenvalues"].max(("landscape", "rank")),
                result["eigenvalues"].min(("landscape", "rank")),
            ):
                named = (
                    group.name
                    if i == 0
                    and float(extreme[-1]) == float(result["eigenvalues"].isel(step=-1).max())
                    else None
                )
                axes.plot(extreme["step"], extreme, color=colour, marker=marker, label=named)
    axes.axhline(0, color=INK, linewidth=0.6)
    axes.set_xlabel("step (updates done)")
    axes.set_ylabel("largest and smallest λ found")
    legend(axes, [group for group, _ in over])


def _legend(axes: Axes, curves: Sequence[Curve]) -> None:
    if len([name for name, *_ in curves if name]) > 1:
        axes.legend(ncols=2 if len(curves) > 5 else 1)


def _name(k: int) -> str:
    return {MIXED: "mixed", _ALONE: "–"}.get(k, str(k))


def _table(data: Data) -> pd.DataFrame:
    rows = []
    for group, results in data:
        for result in results:
            for i, k in enumerate(result["landscape"].values):
                here = result.isel(landscape=i)
                row = {"runs": group.name, "k": _name(k), "λ_max": float(here["eigenvalues"].max())}
                row |= {
                    "λ_min": float(here["eigenvalues"].min()),
                    "share of gradient": float(here["gradient_share"].sum()),
                }
                if "trace" in here:
                    row["trace, lower"] = float(here["trace_low"])
                    row["trace, upper"] = float(here["trace_high"])
                for name in ("trace", "negative_share", "effective_rank", "matvecs"):
                    if name in here:
                        row[name.replace("_", " ")] = float(here[name])
                rows.append(row)
    return pd.DataFrame(rows)
