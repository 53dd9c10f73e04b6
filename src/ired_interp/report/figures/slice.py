"""Slices through the landscapes: pictures, lines, and how far from a quadratic they are."""

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from ired_interp.report.collect import Group, Section, after_steps, left_out, of_group
from ired_interp.report.figure import Figure, Panel
from ired_interp.report.figures.families import by_family
from ired_interp.report.style import DASHES, INK, MUTED, series_colour

_MOST_GROUPS = 2
_NATS = (0.5, 2.0, 4.5)  # one, two and three standard deviations of the noise
_PICTURED = ("random", "column", "normal", "hidden", "support", "gradient")
_MOST_PICTURES = 3


def figures(section: Section) -> list[Figure]:
    """Pictures of the sharpest and of a middle landscape, lines and numbers by family."""
    data = section.last()
    if not data:
        return []
    panels = []
    for group, results in data[:_MOST_GROUPS]:
        panels += _of_group(group, results, data)
    caption = (
        f"Measured {section.points()}, {after_steps(data)}. y(a, b) = y₀ + σ(a d₁ + b d₂): a and b "
        "in standard deviations of the noise, rise of E/σ in nats, contours at ½, 2 and 4.5 (one, "
        "two, three standard deviations); a perfect model with one answer has circles at 1, 2, 3 "
        "about it in every landscape. Pictures: one problem. Lines: mean over problems and "
        "directions of a family. Anharmonicity: RMS of what a quadratic leaves, of the RMS rise. "
        "Short bars: exact for a perfect model. Bars: two standard errors over problems, of "
        "several runs the range." + left_out(data, _MOST_GROUPS, "slices")
    )
    return [Figure(section.probe, "Slices through the landscapes", caption, panels)]


def _of_group(group: Group, results: list[xr.Dataset], data: Sequence[object]) -> list[Panel]:
    first = results[0]
    landscapes = first["landscape"].values
    names = [n for n in _PICTURED if n in first["family"] and _pictured(first, n)]
    panels = []
    for k in dict.fromkeys([landscapes[0], landscapes[len(landscapes) // 2]]):
        for name in names[:_MOST_PICTURES]:
            title = of_group(f"k = {k}, {name}", group, data)
            panels.append(Panel(title, _picture(first.sel(landscape=k, family=name))))
        panels.append(Panel(of_group(f"along lines, k = {k}", group, data), _lines(results, k)))
    for name, label in (("curvature", "σ dᵀHd"), ("anharmonicity", "anharmonicity")):
        title = of_group(f"{name} by direction", group, data)
        panels.append(Panel(title, by_family(results, name, label, f"theory_{name}")))
    return panels


def _pictured(result: xr.Dataset, family: str) -> bool:
    return bool(np.isfinite(result["slice"].sel(family=family)).any())


def _picture(part: xr.Dataset) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        a, b, values = part["a"].values, part["b"].values, part["slice"].values.T
        half = (a[1] - a[0]) / 2
        image = axes.imshow(
            values,
            origin="lower",
            extent=(a[0] - half, a[-1] + half, b[0] - half, b[-1] + half),
            vmin=-4.5,
            vmax=9,
            cmap="cividis",
        )
        if np.nanmax(values) > _NATS[0]:
            axes.contour(a, b, values, levels=_NATS, colors="white", linewidths=0.8)
        axes.grid(visible=False)
        axes.set_xlabel("a (noise standard deviations)")
        axes.set_ylabel("b (noise standard deviations)")
        bar = axes.figure.colorbar(image, ax=axes, shrink=0.85, label="nats")
        bar.outline.set_visible(False)

    return draw


def _lines(results: Sequence[xr.Dataset], k: int) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        a = results[0]["a"].values
        for i, family in enumerate(results[0]["family"].values):
            parts = [r["line"].sel(landscape=k, family=family) for r in results]
            mean = xr.concat(parts, "run").mean("run").values
            axes.plot(
                a,
                mean,
                color=series_colour(i),
                linestyle=DASHES[i % len(DASHES)],
                label=str(family),
            )
        axes.plot(a, a**2 / 2, color=INK, linewidth=0.8, linestyle=":", label="one answer")
        axes.axhline(0, color=MUTED, linewidth=0.6)
        axes.set_xlabel("a (noise standard deviations)")
        axes.set_ylabel("rise of E/σ (nats)")
        axes.legend(fontsize=6.5)

    return draw
