"""The energy gradient in y by landscape, beside what a perfect model's gradient is."""

from matplotlib.axes import Axes

from ired_interp.report.collect import Section
from ired_interp.report.figure import Figure, Panel
from ired_interp.report.figures.lines import by_landscape
from ired_interp.report.style import INK


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
        "both have the exact value shown (1 where x fixes y), and the cosine is near 1. Bars: "
        f"{bars}. Effective rank: (Σλ)²/Σλ² of the gradients' "
        "covariance. All without units (energy / y, with y of unit noise)."
    )
    return [Figure(section.probe, "Energy gradients in y", caption, panels)]
