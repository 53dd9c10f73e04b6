"""Hessian spectra in y, landscape by landscape, beside those of a perfect model."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes

from ired_interp.report.collect import Group, Section, after_steps, left_out, of_group
from ired_interp.report.figure import Figure, Panel
from ired_interp.report.figures.lines import by_landscape, error_bars, landscape_table, legend
from ired_interp.report.style import INK, MARKERS, landscape_colour, log_if_positive, series_colour

_UNIT = "eigenvalue λ (energy / y²)"
_BINS = 60
_MOST_RIDGES = 2


def figures(section: Section) -> list[Figure]:
    """Spectra of all landscapes at the end, and how they came about."""
    data = section.last()
    if not data:
        return []
    sizes = data[0][1][0].sizes
    where = (
        f"{section.points()}, {after_steps(data)}; d = {sizes['rank']} eigenvalues per problem and "
        "landscape"
    )
    panels = [Panel("eigenvalues by landscape", lambda axes: _quantiles(axes, data))]
    panels += [
        Panel(of_group("density", g, data), _ridges(results)) for g, results in data[:_MOST_RIDGES]
    ]
    final = Figure(
        section.probe,
        "Hessian of the energy in y: the shape of the ten landscapes"
        if sizes["landscape"] == 10
        else "Hessian of the energy in y",
        f"Eigenvalues λ of ∂²E/∂y² {where}; k = 0 is the sharpest landscape, where inference ends. "
        "First: "
        "median (marker), middle half (thick) and 90 % "
        "(thin) of all eigenvalues. Then: their distribution, each landscape scaled to the same "
        "height. Short "
        "bars and lines: the exact spectrum of a "
        "perfectly trained model, where the task has one."
        + left_out(data, _MOST_RIDGES, "the density"),
        panels,
        _table(data),
    )
    return [final, *_evolution(section)]


def _quantiles(axes: Axes, data: Sequence[tuple[Group, list[xr.Dataset]]]) -> None:
    width = 0.7 / len(data)
    values = []
    for place, (group, results) in enumerate(data):
        colour, marker = series_colour(group.index), MARKERS[group.index % len(MARKERS)]
        for k in results[0]["landscape"].values:
            pooled = np.concatenate(
                [
                    np.ravel(r["eigenvalues"].sel(landscape=k))
                    for r in results
                    if k in r["landscape"]
                ]
            )
            low, lower, median, upper, high = np.quantile(pooled, [0.05, 0.25, 0.5, 0.75, 0.95])
            x = k + (place - (len(data) - 1) / 2) * width
            axes.plot([x, x], [low, high], color=colour, linewidth=0.9)
            axes.plot([x, x], [lower, upper], color=colour, linewidth=3, solid_capstyle="butt")
            label = group.name if k == results[0]["landscape"].values[0] else None
            axes.plot(x, median, marker=marker, color=colour, linestyle="", label=label)
            values += [low, high]
    theory = next((r for _, results in data for r in results if "theory" in r), None)
    if theory is not None:
        for i, k in enumerate(theory["landscape"].values):
            exact = np.unique(theory["theory"].sel(landscape=k).values.round(6))
            exact = exact[[0, -1]] if len(exact) > 6 else exact
            label = "exact (perfect model)" if i == 0 else ""
            axes.hlines(exact, k - 0.45, k + 0.45, color=INK, linewidth=1.3, label=label)
            values += list(exact)
    axes.set_xticks(data[0][1][0]["landscape"].values)
    axes.grid(axis="x", visible=False)
    axes.set_xlabel("landscape k (0: sharpest)")
    axes.set_ylabel(_UNIT)
    log_if_positive(axes, "y", values)
    legend(axes, [group for group, _ in data])


def _ridges(results: Sequence[xr.Dataset]) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        eigenvalues = xr.concat([r["eigenvalues"] for r in results], "run", join="outer")
        landscapes = eigenvalues["landscape"].values
        theory = results[0].get("theory")
        flat = eigenvalues.values[np.isfinite(eigenvalues.values)]
        low, high = np.quantile(flat, [0.001, 0.999])
        if theory is not None:
            low, high = min(low, float(theory.min())), max(high, float(theory.max()))
        logarithmic = low > 0 and high / low > 5
        pad = (high / low) ** 0.04 if logarithmic else 0.04 * (high - low or 1)
        edges = (
            np.geomspace(low / pad, high * pad, _BINS)
            if logarithmic
            else np.linspace(low - pad, high + pad, _BINS)
        )
        for k in landscapes:
            here = eigenvalues.sel(landscape=k).values.ravel()
            counts, _ = np.histogram(here[np.isfinite(here)], edges)
            heights = 0.92 * counts / max(1, counts.max())
            colour = landscape_colour(list(landscapes).index(k), len(landscapes))
            axes.stairs(
                heights + k,
                edges,
                baseline=float(k),
                fill=True,
                color=colour,
                alpha=0.55,
                linewidth=0,
            )
            axes.stairs(heights + k, edges, baseline=float(k), color=colour, linewidth=0.9)
            if theory is not None:
                exact = np.unique(theory.sel(landscape=k).values.round(6))
                axes.vlines(
                    exact if len(exact) <= 6 else exact[[0, -1]],
                    k,
                    k + 0.92,
                    color=INK,
                    linewidth=1.3,
                )
        axes.set_yticks(landscapes)
        axes.set_ylim(landscapes.min() - 0.15, landscapes.max() + 1.1)
        axes.set_xlabel(_UNIT)
        axes.set_ylabel("landscape k")
        if logarithmic:
            log_if_positive(axes, "x", edges)

    return draw


def _evolution(section: Section) -> list[Figure]:
    estimates = ("lambda_median", "deviation", "negative_share")
    errors = [f"{name}_error" for name in estimates]
    over = section.over_steps([*estimates, *errors, "theory_median"])
    over = [(g, results) for g, results in over if max(r.sizes["step"] for r in results) > 1]
    if not over:
        return []
    panels = [
        Panel(of_group("median eigenvalue", g, over), _medians(results)) for g, results in over
    ]
    ends = [(group, [r.isel(step=-1) for r in results]) for group, results in over]
    if any("deviation" in r for _, results in over for r in results):
        panels.append(
            Panel(
                "distance from theory",
                lambda axes: by_landscape(
                    axes, ends, "deviation", "RMS of λ / exact λ − 1", percent=True
                ),
            )
        )
    curved = any(
        float(r["negative_share"].isel(step=-1).max()) > 0 for _, results in over for r in results
    )
    if curved:
        panels.append(
            Panel(
                "negative curvature",
                lambda axes: by_landscape(
                    axes, ends, "negative_share", "share of λ < 0", percent=True
                ),
            )
        )
    negative = (
        ", and the share of negative eigenvalues (0 for a perfect model)"
        if curved
        else "; no eigenvalue is negative"
    )
    caption = (
        f"Measured {section.points()}. Median over problems and ranks of the eigenvalues of "
        "∂²E/∂y² against "
        "training steps, one line a landscape; "
        "black at the right edge: its exact value for a perfect model. Then, at the last step, by "
        "landscape: the root mean square of λ / exact λ − 1, "
        f"eigenvalue by eigenvalue{negative}. Bars: two standard errors over problems, of several "
        "runs the range. Units of λ: energy / y²."
    )
    return [
        Figure(f"{section.probe}_over_training", "How the landscapes took shape", caption, panels)
    ]


def _medians(results: Sequence[xr.Dataset]) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        joined = xr.concat([r["lambda_median"] for r in results], "run", join="outer")
        landscapes = joined["landscape"].values
        values = [joined.values]
        for i, k in enumerate(landscapes):
            here = joined.sel(landscape=k)
            colour = landscape_colour(i, len(landscapes))
            axes.errorbar(
                here["step"],
                here.mean("run"),
                yerr=error_bars(results[0].sel(landscape=k), "lambda_median")
                if len(results) == 1
                else None,
                color=colour,
                marker="o",
                markersize=3,
                elinewidth=1,
                label=f"_k = {k}",
            )
            if len(results) > 1:
                axes.fill_between(
                    here["step"],
                    here.min("run"),
                    here.max("run"),
                    color=colour,
                    alpha=0.2,
                    linewidth=0,
                )
        last = float(joined["step"].max())
        span = last - float(joined["step"].min())
        ends = joined.isel(step=-1).mean("run")
        if "theory_median" in results[0]:
            ends = results[0]["theory_median"].isel(step=-1)
            axes.hlines(
                ends,
                last + 0.03 * span,
                last + 0.12 * span,
                color=INK,
                linewidth=1.3,
                label="_exact (perfect model)",
            )
            values.append(ends.values)
        for i in (0, len(landscapes) - 1):
            axes.annotate(
                f"k = {landscapes[i]}",
                (last + 0.15 * span, float(ends[i])),
                va="center",
                fontsize=7.5,
            )
        axes.set_xlim(right=last + 0.32 * span)
        axes.set_xlabel("step (updates done)")
        axes.set_ylabel("median λ (energy / y²)")
        log_if_positive(axes, "y", *values)

    return draw


def _table(data: Sequence[tuple[Group, list[xr.Dataset]]]) -> pd.DataFrame:
    columns = {
        "lambda_min": "λ_min",
        "lambda_median": "median λ",
        "lambda_max": "λ_max",
        "theory_median": "exact median λ",
        "deviation": "deviation",
    }
    columns |= {
        "negative_share": "negative share",
        "effective_rank": "effective rank",
        "condition_number": "condition number",
    }
    return landscape_table(data, columns, exact=["theory_median"])
