"""Effective rank of answers and weights, over training and by landscape, beside references."""

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from ired_interp.report.collect import Group, Section, left_out
from ired_interp.report.figure import Figure, Panel
from ired_interp.report.figures.lines import by_landscape, spread_line
from ired_interp.report.style import DASHES, INK, MARKERS, MUTED, log_if_positive, series_colour

Data = Sequence[tuple[Group, Sequence[xr.Dataset]]]
_MEASURED = ("solution", "denoised", "residual")
_LABELS = {"participation": "participation ratio", "tail": "share of squares beyond rank r"}
_WEIGHTS = {"weight_rank": "weights", "change_rank": "added by training"}


def figures(section: Section) -> list[Figure]:
    """Ranks against step, ranks and tails by landscape, ranks of weights."""
    data = section.last()
    if not data:
        return []
    first = data[0][1][0]
    panels = []
    steps = section.over_steps(["rank"])
    if any(curve.sizes["step"] > 1 for _, curves in steps for curve in curves):
        panels.append(Panel("answers over training", _over_training(steps, "participation")))
        if "rank" in first.attrs:
            panels.append(Panel("tail over training", _over_training(steps, "tail")))
    panels += [Panel(_title(of), _by_landscape(data, of, "participation")) for of in _MEASURED[:2]]
    if "rank" in first.attrs:
        panels.append(Panel("tail of the denoised answer", _by_landscape(data, "denoised", "tail")))
    panels.append(Panel("singular values above the noise", _detectable(data)))
    missing = ""
    if "weight_rank" in first:
        panels.append(Panel(f"weights, {data[0][0].name}", _weights(data[0][1])))
        missing = left_out(data, 1, "weights")
    caption = (
        f"Participation ratio (Σs²)²/Σs⁴ of singular values s, measured {section.points()}; never "
        "compare it with the rank r itself, only with the lines: the answers y* and what copies "
        "the problem into them, dashed; matrices of independent Gaussian entries, dotted; short "
        "bars: the denoised answer of a perfect model at the same points. Above the noise: "
        "singular values of y* larger than (σₖ/√ᾱₖ)√n, the only ones that landscape k can show. "
        f"Bars: two standard errors over problems, of several runs the range.{missing}"
    )
    return [Figure(section.probe, "Effective rank", caption, panels)]


def _title(of: str) -> str:
    return {"solution": "solution, as of landscape k", "denoised": "denoised answer"}[of]


def _over_training(data: Data, measure: str) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        for group, results in data:
            curves = [
                r["rank"].sel(of="solution", measure=measure).isel(landscape=0) for r in results
            ]
            spread_line(axes, group, curves, marked=True)
        _references(axes, data[0][1][0].isel(step=-1), measure)
        axes.set_xlabel("training step")
        axes.set_ylabel(_LABELS[measure])
        axes.legend()

    return draw


def _references(axes: Axes, result: xr.Dataset, measure: str) -> None:
    """Lines for what does not depend on the model."""
    part = result.sel(measure=measure)
    names = [of for of in part["of"].values if of not in (*_MEASURED, "posterior mean")]
    for i, of in enumerate(names):
        value = float(part["rank"].sel(of=of).isel(landscape=0))
        axes.axhline(value, color=INK, linewidth=1, linestyle=DASHES[1 + i % 3], label=str(of))
    if "rank_chance" in part:
        chance = float(part["rank_chance"])
        axes.axhline(chance, color=MUTED, linewidth=1, linestyle=":", label="Gaussian entries")


def _by_landscape(data: Data, of: str, measure: str) -> Callable[[Axes], None]:
    def pick(result: xr.Dataset) -> xr.Dataset:
        part = result[["rank", "rank_error"]].sel(of=of, measure=measure)
        if of == "denoised" and "posterior mean" in result["of"].values:
            part["exact"] = result["rank"].sel(of="posterior mean", measure=measure).drop_vars("of")
        return part

    def draw(axes: Axes) -> None:
        shown = [(group, [pick(r) for r in results]) for group, results in data]
        by_landscape(axes, shown, "rank", _LABELS[measure], "exact")
        _references(axes, data[0][1][0], measure)
        axes.set_ylim(bottom=0)
        axes.legend()

    return draw


def _detectable(data: Data) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        by_landscape(axes, data, "detectable", "singular values of y*")
        axes.set_ylim(bottom=0)

    return draw


def _weights(results: Sequence[xr.Dataset]) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        layers = [str(layer) for layer in results[0]["layer"].values]
        x, every = np.arange(len(layers)), []
        for i, (name, label) in enumerate(_WEIGHTS.items()):
            stacked = [r[name].sel(measure="participation").values for r in results if name in r]
            if not stacked or not np.isfinite(stacked).any():
                continue
            mean = np.nanmean(stacked, 0)
            colour = series_colour(i)
            axes.plot(x, mean, color=colour, marker=MARKERS[i], linestyle="none", label=label)
            every.append(mean)
        chance = results[0]["weight_rank_chance"].sel(measure="participation").values
        axes.hlines(chance, x - 0.3, x + 0.3, color=MUTED, linewidth=1.3, label="Gaussian entries")
        axes.set_xticks(x, layers, rotation=45, ha="right")
        log_if_positive(axes, "y", *every, chance)
        axes.set_xlabel("layer")
        axes.set_ylabel(_LABELS["participation"])
        axes.legend()

    return draw
