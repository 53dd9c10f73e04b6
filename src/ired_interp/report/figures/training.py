"""Training curves, with the floors of the test beside the validation errors."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from ired_interp.report.collect import Group
from ired_interp.report.figure import Figure, Panel
from ired_interp.report.figures.lines import legend, spread_line
from ired_interp.report.style import INK, MUTED, log_if_positive

Floors = Mapping[str, Mapping[str, float]]  # by variant, by predictor

_TITLES = {
    "train/loss": ("training loss", "loss"),
    "train/score": ("its score term", "mean (∇E − ε)² per entry"),
    "train/contrast": ("its contrastive term", "softplus(E⁺ − E⁻)"),
}


def figures(groups: Sequence[Group], floors: Floors) -> list[Figure]:
    """Draw validation of each distribution, by error and the task's measure; loss and its terms."""
    metrics = {id(run): run.metrics for group in groups for run in group.runs}
    names = sorted({name for m in metrics.values() for name in m}, key=_order)

    def curves(name: str) -> list[tuple[Group, list[xr.DataArray]]]:
        found = [
            (g, [metrics[id(r)][name] for r in g.runs if name in metrics[id(r)]]) for g in groups
        ]
        return [(group, arrays) for group, arrays in found if arrays]

    panels = []
    for name in (n for n in names if n.startswith("val/error/")):
        variant = name.removeprefix("val/error/")
        title, label = f"validation error, {variant} distribution", "mean squared error per entry"
        panels.append(Panel(title, _drawer(curves(name), label, floors.get(variant, {}))))
    measured = [name for name in names if _measure(name, groups)]
    for name in measured:
        _, measure, variant = name.split("/")
        title = f"validation, {variant} distribution: {measure}"
        panels.append(Panel(title, _drawer(curves(name), f"share of right: {measure}", {})))
    for name in (n for n in names if n.startswith("train/")):
        title, label = _TITLES.get(name, (name, name.split("/")[-1]))
        panels.append(Panel(title, _drawer(curves(name), label, {})))
    for name in (n for n in names if _other(n, groups) and n not in measured):
        panels.append(Panel(name, _drawer(curves(name), name, {})))
    if not panels:
        return []
    seeds = (
        " Lines are means over the seeds of a group, bands reach from the lowest to the highest."
        if _several(groups)
        else ""
    )
    validation = (
        " Validation: mean squared error of the model's answers (averaged weights) per entry of y; "
        "dashed, the floors that trivial predictors reach on the test set."
        if any(name.startswith("val/error/") for name in names)
        else ""
    )
    caption = f"Against training steps (updates done).{validation}{seeds}"
    return [Figure("training", "Training and validation curves", caption, panels)]


def _drawer(
    curves: Sequence[tuple[Group, list[xr.DataArray]]], label: str, floors: Mapping[str, float]
) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        for group, arrays in curves:
            spread_line(axes, group, arrays)
        axes.set_xlabel("step (updates done)")
        axes.set_ylabel(label)
        values = [array.values for _, arrays in curves for array in arrays]
        log_if_positive(axes, "y", *values, *([list(floors.values())] if floors else []))
        for name, value in floors.items():
            axes.axhline(value, color=MUTED, linestyle="--", linewidth=1)
            axes.annotate(
                name,
                (1, value),
                (0, -2),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                ha="right",
                va="top",
                color=INK,
                fontsize=7,
            )
        legend(axes, [group for group, _ in curves])

    return draw


def _measure(name: str, groups: Sequence[Group]) -> bool:
    """Whether a metric is a task's own measure at validation."""
    runs = [run for group in groups for run in group.runs if name in run.metrics]
    own = name.count("/") == 2 and name.startswith("val/") and not name.startswith("val/error/")
    return own and any(run.config for run in runs)


def _other(name: str, groups: Sequence[Group]) -> bool:
    """Whether a metric is one that another program logged, and no result repeated."""
    runs = [run for group in groups for run in group.runs if name in run.metrics]
    return not name.startswith(("train/", "val/error/")) and any(
        not run.config and name.split("/")[0] not in run.probes for run in runs
    )


def _order(name: str) -> tuple[int, str]:
    return (
        list(_TITLES).index(name) if name in _TITLES else len(_TITLES),
        "" if name.endswith("/same") else name,
    )


def _several(groups: Sequence[Group]) -> bool:
    return bool(np.any([len(group.runs) > 1 for group in groups]))
