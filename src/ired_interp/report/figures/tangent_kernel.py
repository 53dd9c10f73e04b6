"""Neural tangent kernels: spectra, what is learned first, alignments, landscapes, drift."""

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from ired_interp.report.collect import Group, Section, left_out, of_group
from ired_interp.report.figure import Figure, Panel
from ired_interp.report.figures.lines import by_landscape, matrix, spread_line
from ired_interp.report.style import INK, MUTED, landscape_colour, log_if_positive

Data = Sequence[tuple[Group, Sequence[xr.Dataset]]]
_ALL = "all"


def figures(section: Section) -> list[Figure]:
    """Spectra and residual of the first group, alignments of all, their drift over training."""
    data = section.last()
    if not data:
        return []
    group, results = data[0]
    first = results[0].sel(layer=_ALL)
    panels = [
        Panel(of_group("learning rates", group, data), lambda axes: _spectra(axes, first)),
        Panel(of_group("what is learned first", group, data), lambda axes: _shares(axes, first)),
    ]
    panels += [
        Panel(f"alignment with {_named(target)}", _alignment(data, target))
        for target in first["target"].values
    ]
    if first.sizes["landscape"] > 1:
        mean = xr.concat([r["landscape_cka"] for r in results], "run").mean("run")
        names = mean["landscape"].values
        low = 0.0 if float(mean.min()) >= 0 else -1.0
        panels.append(
            Panel(
                of_group("alignment of landscapes", group, data),
                lambda axes: matrix(axes, mean.values, names, low, 1, "landscape k"),
            )
        )
    drift = section.over_steps(["drift"])
    if any(curve.sizes["step"] > 1 for _, curves in drift for curve in curves):
        panels.append(Panel("alignment with the start", _drift(drift)))
    what = (
        "E(y⁺) − E(y⁻), which the contrastive term moves"
        if section.settings.get("probe.kernel") == "contrast"
        else "the energy's gradient in y, which the score term moves, at the noised answer"
    )
    caption = (
        f"Inner products over all weights of derivatives of {what}; measured {section.points()}. "
        "Learning rates: eigenvalues of the kernel, at which gradient descent learns; learned "
        "first: share of the squared residual along the leading ones (dashed: a residual without "
        "direction). Alignments are debiased CKA, 1 where kernels are proportional and 0 on "
        "average where they are independent; grey: 95 % of those with problems permuted. Bars: two "
        "standard errors over problems, of several runs the range."
        f"{left_out(data, 1, 'spectra')}"
    )
    return [Figure(section.probe, "Neural tangent kernel", caption, panels)]


def _named(target: str) -> str:
    return {"problem": "problems x", "answer": "answers y*"}.get(target, target)


def _spectra(axes: Axes, result: xr.Dataset) -> None:
    values = result["eigenvalues"].values
    shown = [row[row > 1e-9 * row[0]] for row in values]
    for i, (k, row) in enumerate(zip(result["landscape"].values, shown, strict=True)):
        colour = landscape_colour(i, len(shown))
        axes.plot(np.arange(1, len(row) + 1), row, color=colour, marker=".", label=f"k = {k}")
    log_if_positive(axes, "y", *shown)
    axes.set_xlabel("rank")
    axes.set_ylabel("eigenvalue (1 / step size)")
    _few(axes)


def _shares(axes: Axes, result: xr.Dataset) -> None:
    values = result["residual_share"].values
    x = np.arange(1, values.shape[1] + 1)
    for i, (k, row) in enumerate(zip(result["landscape"].values, values, strict=True)):
        axes.plot(x, row, color=landscape_colour(i, len(values)), label=f"k = {k}")
    axes.plot(x, result["residual_share_chance"], color=INK, linestyle="--", label="no direction")
    axes.set_xlabel("leading eigenvectors")
    axes.set_ylabel("share of ‖residual‖²")
    _few(axes)


def _few(axes: Axes) -> None:
    """Draw a legend of the first and last landscape, and of what is no landscape."""
    handles, labels = axes.get_legend_handles_labels()
    landscapes = [i for i, label in enumerate(labels) if label.startswith("k = ")]
    kept = [i for i in range(len(labels)) if i not in landscapes[1:-1]]
    axes.legend([handles[i] for i in kept], [labels[i] for i in kept])


def _alignment(data: Data, target: str) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        at = {"layer": _ALL, "target": target}
        names = [name for name in data[0][1][0] if str(name).startswith("alignment")]
        shown = [(group, [r[names].sel(at) for r in results]) for group, results in data]
        by_landscape(axes, shown, "alignment", "debiased CKA")
        first = shown[0][1][0]
        k = first["landscape"].values
        low, high = (first[f"alignment_chance_{end}"].values for end in ("low", "high"))
        axes.bar(k, high - low, 0.8, low, color=MUTED, alpha=0.3, label="problems permuted")
        axes.legend()

    return draw


def _drift(data: Data) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        for group, results in data:
            spread_line(
                axes,
                group,
                [r["drift"].sel(layer=_ALL).mean("landscape") for r in results],
                marked=True,
            )
        axes.set_xlabel("training step")
        axes.set_ylabel("debiased CKA, mean over landscapes")
        axes.legend()

    return draw
