"""A slice of the loss through two directions of the weights."""

from collections.abc import Callable

import xarray as xr
from matplotlib.axes import Axes

from ired_interp.report.collect import Group, Section, after_steps, left_out, of_group
from ired_interp.report.figure import Figure, Panel
from ired_interp.report.style import INK, series_colour

_MOST_GROUPS = 3


def figures(section: Section) -> list[Figure]:
    """Draw the picture, and lines along both directions beside their quadratics."""
    data = section.last()
    if not data:
        return []
    panels = []
    for group, results in data[:_MOST_GROUPS]:
        title = of_group("loss around the weights", group, data)
        panels.append(Panel(title, _picture(results[0])))
        panels.append(Panel(of_group("along each direction", group, data), _lines(results[0])))
    setting = section.settings.get
    which = str(setting("probe.directions"))
    which = (
        f"random, normalised by {setting('probe.normalisation')}" if which == "random" else which
    )
    caption = (
        f"The {setting('probe.objective')} at θ + a d₁ + b d₂, measured {section.points()}, "
        f"{after_steps(data)}, noise and negatives held fixed; directions: {which}. Dotted: slope "
        "and curvature dᵀHd at the weights. One run of each group."
        + "".join(_shares(group, results[0]) for group, results in data)
        + left_out(data, _MOST_GROUPS, "slices")
    )
    return [Figure(section.probe, "The loss around the weights", caption, panels)]


def _shares(group: Group, result: xr.Dataset) -> str:
    """Say how much of what training did lies in the plane, where that is known."""
    known = {"update_share": "the last step", "path_share": "the way from the start"}
    parts = [
        f"{float(result[name]):.1g} of the square of {what} (chance "
        f"{float(result[f'{name}_chance']):.1g})"
        for name, what in known.items()
        if name in result
    ]
    return f" The plane of {group.name} holds {' and '.join(parts)}." if parts else ""


def _picture(result: xr.Dataset) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        a, b, values = result["a"].values, result["b"].values, result["loss"].values.T
        half = (a[1] - a[0]) / 2
        extent = (a[0] - half, a[-1] + half, b[0] - half, b[-1] + half)
        image = axes.imshow(values, origin="lower", extent=extent, cmap="cividis")
        axes.plot(0, 0, marker="+", color="white")
        axes.grid(visible=False)
        axes.set_xlabel("a (along d₁)")
        axes.set_ylabel("b (along d₂)")
        axes.locator_params(nbins=5)
        bar = axes.figure.colorbar(image, ax=axes, shrink=0.85, label="loss")
        bar.outline.set_visible(False)

    return draw


def _lines(result: xr.Dataset) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        for i, (along, across) in enumerate((("a", "b"), ("b", "a"))):
            line = result["loss"].sel({across: 0}, method="nearest")
            at, part = line[along].values, result.isel(direction=i)
            axes.plot(at, line.values, color=series_colour(i), marker="o", label=f"d{i + 1}")
            middle = float(line.sel({along: 0}, method="nearest"))
            slope, curvature = float(part["slope"]), float(part["curvature"])
            quadratic = middle + slope * at + curvature * at**2 / 2
            axes.plot(at, quadratic, color=INK, linestyle=":", linewidth=0.8, label="_quadratic")
        low, high = float(result["loss"].min()), float(result["loss"].max())
        axes.set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))
        axes.set_xlabel("a, or b")
        axes.locator_params(axis="x", nbins=5)
        axes.set_ylabel("loss")
        axes.legend()

    return draw
