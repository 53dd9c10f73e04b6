"""Gradients as matrices: overlap with the planes of the answer, shares of blocks and modes."""

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from ired_interp.report.collect import Group, Section, left_out, of_group
from ired_interp.report.figure import Figure, Panel
from ired_interp.report.figures.lines import by_landscape, matrix
from ired_interp.report.style import INK, MUTED, series_colour, series_line

Data = Sequence[tuple[Group, Sequence[xr.Dataset]]]
_TITLES = {
    "gradient": "gradient",
    "error": "error of the gradient",
    "denoised": "denoised answer",
    "noised": "noised answer",
    "trajectory": "gradient along inference",
}
_SHOWN = ("denoised", "error")


def figures(section: Section) -> list[Figure]:
    """Overlaps by landscape, blocks, maps of modes; directions over problems where known."""
    data = section.last()
    if not data:
        return []
    first = data[0][1][0]
    panels = []
    if "overlap" in first:
        panels += [
            Panel(f"plane of the {title}", _overlap(data, field))
            for field, title in _TITLES.items()
            if field in first["field"].values
        ]
        group, results = data[0]
        for field in _SHOWN:
            title = of_group(f"{_TITLES[field]} by block", group, data)
            panels.append(Panel(title, _blocks(results, field)))
        for k in (0, -1):
            number = int(first["landscape"][k])
            title = of_group(f"modes of the denoised answer, k = {number}", group, data)
            panels.append(Panel(title, _modes(results, k)))
    if "covariance_overlap" in first:
        panels.append(Panel("leading directions over problems", _covariance(data)))
    caption = (
        f"Planes of the {first.attrs['p']} leading singular vectors of fields as matrices, "
        f"measured at the noised answer √ᾱₖ y* + σₖ ε and along inference {section.points()}. "
        "Overlap ‖PP*‖²/p with the plane of y* (left singular vectors): 1 if the same; dotted, p/n "
        "without direction; grey, 95 % of the means with answers permuted among problems. The "
        "denoised answer shows what was learned where it stands above the noised answer. The "
        "gradient of a perfect model with one answer is white noise. Blocks and modes: share of "
        "the squared field along directions made of singular vectors of y* (short bars: without "
        "direction). Bars: two standard errors over problems, of several runs the range."
        f"{left_out(data, 1, 'blocks and modes')}"
    )
    return [Figure(section.probe, "Gradients as matrices", caption, panels)]


def _overlap(data: Data, field: str) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        at = {"field": field, "side": "left"}
        names = [name for name in data[0][1][0] if str(name).startswith("overlap")]
        shown = [(group, [r[names].sel(at) for r in results]) for group, results in data]
        by_landscape(axes, shown, "overlap", "overlap with the plane of y*")
        first = shown[0][1][0]
        _band(axes, first, "overlap_chance", "answers permuted")
        axes.axhline(float(first["overlap_random"]), color=INK, linestyle=":", linewidth=1)
        axes.set_ylim(0, 1.05)
        axes.legend()

    return draw


def _band(axes: Axes, result: xr.Dataset, name: str, label: str) -> None:
    k = result["landscape"].values
    low, high = (result[f"{name}_{end}"].values for end in ("low", "high"))
    axes.bar(k, high - low, 0.8, low, color=MUTED, alpha=0.3, label=label)


def _blocks(results: Sequence[xr.Dataset], field: str) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        names = results[0]["block"].values
        k = results[0]["landscape"].values
        for i, name in enumerate(names):
            parts = [r["block_share"].sel(block=name, field=field).values for r in results]
            x = k + (i - (len(names) - 1) / 2) * 0.08
            axes.plot(x, np.mean(parts, 0), label=str(name), **series_line(i))
            chance = float(results[0]["block_share_chance"].sel(block=name))
            colour = series_colour(i)
            axes.hlines([chance] * len(k), k - 0.3, k + 0.3, color=colour, linewidth=0.8)
        axes.set_xticks(k)
        axes.set_ylim(0, 1.05)
        axes.set_xlabel("landscape k (0: sharpest)")
        axes.set_ylabel("share of ‖field‖²")
        axes.legend()

    return draw


def _modes(results: Sequence[xr.Dataset], k: int) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        parts = [r["mode_share"].sel(field="denoised").isel(landscape=k).values for r in results]
        mean = np.mean(parts, 0)
        names = np.arange(1, len(mean) + 1)
        matrix(axes, mean, names, 0, float(np.nanmax(mean)), "singular vector of y*")

    return draw


def _covariance(data: Data) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        name = "covariance_overlap"
        by_landscape(axes, data, name, "overlap with a perfect model's")
        first = data[0][1][0]
        _band(axes, first, f"{name}_expected", "perfect model, as many problems")
        axes.axhline(float(first[f"{name}_chance"]), color=INK, linestyle=":", linewidth=1)
        axes.set_ylim(0, 1.05)
        axes.legend()

    return draw
