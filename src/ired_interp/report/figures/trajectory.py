"""What happens along inference, landscape by landscape and step by step."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes

from ired_interp.report.collect import Group, Section, after_steps
from ired_interp.report.figure import Figure, Panel
from ired_interp.report.figures import pictures
from ired_interp.report.figures.lines import by_landscape, legend, spread_bars, with_spread
from ired_interp.report.style import INK, MARKERS, MUTED, log_if_positive, series_colour

Data = Sequence[tuple[Group, list[xr.Dataset]]]


def figures(section: Section) -> list[Figure]:
    """Error, gradient and energy along the way; acceptance and contraction by landscape."""
    data = section.last()
    if not data:
        return []
    first = data[0][1][0]
    panels = [
        Panel(
            "error along inference",
            lambda axes: _along(axes, data, "error_mean", "mean squared error per entry"),
        ),
        Panel(
            "gradient",
            lambda axes: _along(axes, data, "gradient_norm_mean", "mean ‖∂E/∂y‖ (energy / y)"),
        ),
        Panel("energy", lambda axes: _along(axes, data, "energy_mean", "mean E")),
        Panel("accepted steps", lambda axes: _acceptance(axes, data)),
        Panel(
            "contraction of the error",
            lambda axes: _contraction(axes, data, "contraction", "‖e after‖ / ‖e before‖"),
        ),
        Panel(
            "contraction of the gradient",
            lambda axes: _contraction(axes, data, "gradient_contraction", "⟨g after, g⟩ / ‖g‖²"),
        ),
    ]
    if ranks := _having(data, "effective_rank_mean"):
        panels.append(
            Panel(
                "effective rank of y",
                lambda axes: _along(axes, ranks, "effective_rank_mean", "participation ratio"),
            )
        )
    if manifolds := _having(data, "normal_ratio_answer"):
        panels.append(Panel("gradient off the rank-r manifold", lambda axes: _off(axes, manifolds)))
    inner = first.sizes["inner_step"] - 1
    caption = (
        f"Inference from noise through landscapes k = {int(first['landscape'][0])} … "
        f"{int(first['landscape'][-1])}, {inner} inner steps in each (k below the "
        f"axis), mean over {first.sizes['problem']} problems of the "
        f"{section.settings.get('variant', 'same')} "
        f"distribution, {section.weights} weights, {after_steps(data)}. Error: of y/√ᾱₖ "
        "against y*. Contraction, in a landscape's first inner step: of the distance e to "
        "the minimum of a perfect model, and of the gradient g, beside 1 − ηλ from the curvature "
        "measured "
        "there (dashed); short bars: exact for a perfect model. Bars and bands: two standard "
        "errors over problems, of several runs the range."
    )
    if manifolds:
        caption += " Off the manifold: dashed, the mean for gradients without direction."
    curves = Figure(section.probe, "Along inference", caption, panels, _table(data))
    return [curves, *pictures.figures(section)]


def _having(data: Data, name: str) -> Data:
    """Return the groups whose results have a variable, which other tasks may lack."""
    return [(group, here) for group, results in data if (here := [r for r in results if name in r])]


def _along(axes: Axes, data: Data, name: str, label: str) -> None:
    values = []
    for group, results in data:
        stacked = np.stack([r[name].values.ravel() for r in results])
        x, colour = np.arange(stacked.shape[1]), series_colour(group.index)
        axes.plot(x, stacked.mean(0), color=colour, label=group.name)
        if len(stacked) > 1:
            axes.fill_between(
                x, stacked.min(0), stacked.max(0), color=colour, alpha=0.2, linewidth=0
            )
        elif f"{name}_error" in results[0]:
            bars = 2 * np.nan_to_num(results[0][f"{name}_error"].values.ravel())
            low, high = stacked[0] - bars, stacked[0] + bars
            axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
        values.append(stacked)
    first = data[0][1][0]
    each = first.sizes["inner_step"]
    starts = np.arange(first.sizes["landscape"]) * each
    for start in starts[1:]:
        axes.axvline(start - 0.5, color=MUTED, linewidth=0.4)
    axes.set_xticks(starts + (each - 1) / 2, [str(k) for k in first["landscape"].values])
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="x", visible=False)
    axes.set_xlabel("landscape k, inner steps in order")
    axes.set_ylabel(label)
    log_if_positive(axes, "y", *values)
    legend(axes, [group for group, _ in data])


def _acceptance(axes: Axes, data: Data) -> None:
    names = ("acceptance", "acceptance_error")
    shown = [
        (g, [xr.Dataset({name: r[name].mean("move") for name in names}) for r in results])
        for g, results in data
    ]
    by_landscape(axes, shown, "acceptance", "share of steps accepted", percent=True)


def _contraction(axes: Axes, data: Data, name: str, label: str) -> None:
    theory = next(
        (
            r["theory_contraction"]
            for _, results in data
            for r in results
            if "theory_contraction" in r
        ),
        None,
    )
    if theory is not None:
        k, (low, high) = theory["landscape"].values, theory.isel(move=0).values.T
        if np.allclose(low, high):
            axes.hlines(
                low, k - 0.4, k + 0.4, color=INK, linewidth=1.3, label="exact (perfect model)"
            )
        else:
            axes.bar(
                k, high - low, 0.8, low, color=MUTED, alpha=0.4, label="exact range (perfect model)"
            )
    lines = {name: "-"} if name == "contraction" else {name: "-", "predicted_contraction": "--"}
    for group, results in data:
        colour, marker = series_colour(group.index), MARKERS[group.index % len(MARKERS)]
        for variable, line in lines.items():
            mean = np.mean([r[variable].isel(move=0).values for r in results], 0)
            shown = group.name if line == "-" else f"{group.name}: 1 − ηλ"
            axes.errorbar(
                results[0]["landscape"],
                mean,
                yerr=spread_bars([r.isel(move=0) for r in results], variable),
                linestyle=line,
                color=colour,
                marker=marker if line == "-" else None,
                capsize=2,
                label=shown,
            )
    axes.set_xticks(data[0][1][0]["landscape"].values)
    axes.axhline(0, color=MUTED, linewidth=0.8)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + (0.3 + 0.1 * len(data)) * (high - low))  # room for the legend
    axes.set_xlabel("landscape k (0: sharpest)")
    axes.set_ylabel(label)
    axes.legend(loc="upper left")


def _off(axes: Axes, data: Data) -> None:
    by_landscape(axes, data, "normal_ratio_answer", "‖normal‖ / ‖tangent‖")
    chance = float(data[0][1][0]["normal_ratio_chance"])
    axes.axhline(chance, color=INK, linestyle="--", linewidth=1, label="no direction")
    axes.legend()


def _table(data: Data) -> pd.DataFrame:
    rows = []
    for group, results in data:
        ends = [r.isel(inner_step=-1, move=0) for r in results]
        moves = [r[["acceptance", "acceptance_error"]].mean("move") for r in results]
        for i, k in enumerate(results[0]["landscape"].values):
            row = {"runs": group.name, "k": int(k)}
            for name, title, parts in (
                ("error_mean", "error at its end", ends),
                ("gradient_norm_mean", "‖∂E/∂y‖", ends),
                ("energy_mean", "E", ends),
                ("acceptance", "accepted", moves),
                ("contraction", "contraction", ends),
            ):
                row |= with_spread(title, [part.isel(landscape=i) for part in parts], name)
            rows.append(row)
    return pd.DataFrame(rows)
