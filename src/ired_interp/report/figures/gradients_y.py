"""The energy gradient in y by landscape, beside what a perfect model's gradient is."""

from collections.abc import Sequence

import xarray as xr
from matplotlib.axes import Axes

from ired_interp.report.collect import Group, Section
from ired_interp.report.figure import Figure, Panel
from ired_interp.report.figures.lines import by_landscape
from ired_interp.report.style import INK

Data = Sequence[tuple[Group, list[xr.Dataset]]]


def figures(section: Section) -> list[Figure]:
    """Size, direction and effective rank."""
    data = section.last()
    if not data:
        return []
    isotropic = data[0][1][0].get("participation_isotropic")

    def rank(axes: Axes) -> None:
        by_landscape(axes, data, "participation", "participation ratio")
        if isotropic is not None:
            axes.axhline(
                float(isotropic),
                color=INK,
                linewidth=1,
                linestyle="--",
                label="isotropic noise, as many problems",
            )
        axes.legend(loc="lower right")
        axes.set_ylim(bottom=0)

    panels = [
        Panel(
            "size",
            lambda axes: by_landscape(axes, data, "norm_ratio", "mean ‖g‖² / d", "theory_ratio"),
        ),
        Panel(
            "along the noise",
            lambda axes: by_landscape(axes, data, "alignment", "mean ⟨g, ε⟩ / d", "theory_ratio"),
        ),
        *_by_entries(data),
        Panel(
            "angle to the noise", lambda axes: by_landscape(axes, data, "cosine", "mean cos(g, ε)")
        ),
        Panel("effective rank over problems", rank),
    ]
    bars = (
        "the range over seeds"
        if any(len(results) > 1 for _, results in data)
        else "two standard errors over problems"
    )
    caption = (
        f"The gradient g = ∂E/∂y, measured {section.points()}. A perfect model's g is the mean of "
        "the noise ε "
        "given the noised answer, so ‖g‖²/d and ⟨g, ε⟩/d "
        "both have the exact value shown (1 where x fixes y; 1 over the entries of y that x shows, "
        "whatever the others are), and the cosine is near 1. Bars: "
        f"{bars}. Effective rank: (Σλ)²/Σλ² of the gradients' "
        "covariance. All without units (energy / y, with y of unit noise)."
    )
    return [Figure(section.probe, "Energy gradients in y", caption, panels)]


def _by_entries(data: Data) -> list[Panel]:
    """One panel for the entries that problems show and one for the others, where there are any."""
    shown = [(g, [r for r in results if "alignment_by_entries" in r]) for g, results in data]
    shown = [(group, results) for group, results in shown if results]
    if not shown:
        return []

    def panel(entries: str) -> Panel:
        parts = [(g, [r.sel(entries=entries) for r in results]) for g, results in shown]
        exact = "theory_by_entries" if entries == "visible" else None
        return Panel(
            f"along the noise, {entries} entries",
            lambda axes: by_landscape(
                axes, parts, "alignment_by_entries", "mean ⟨g, ε⟩ per entry", exact
            ),
        )

    return [panel(entries) for entries in ("visible", "hidden")]
