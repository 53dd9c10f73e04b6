"""How much of the gradient and of the optimizer's step lies in the top eigenspace."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from ired_interp.report.collect import Group
from ired_interp.report.figure import Panel
from ired_interp.report.style import DASHES, MARKERS, series_colour

CAPTION = (
    " Share in the top eigenvectors: of the gradient and of the step of the optimizer that led to "
    "these weights, where its state tells it, a mean over landscapes where there are several; "
    "dotted: were the signs of all their entries random."
)
_NAMES = {"gradient": "gradient", "update": "optimizer's step"}
VARIABLES = ("top", *(f"{n}_in_top{s}" for n in _NAMES for s in ("", "_chance", "_error")))

Data = Sequence[tuple[Group, list[xr.Dataset]]]


def panel(over: Data) -> Panel:
    """Shares over training, or at the one step that was measured.

    Parameters
    ----------
    over : sequence of (Group, list of xarray.Dataset)
        `VARIABLES` over step and landscape.

    Returns
    -------
    Panel
        Means over landscapes.
    """
    first = over[0][1][0]
    count = int(first["top"].values.ravel()[-1])
    title = f"share in the top {count} eigenvectors" if count > 1 else "share in the top one"
    draw = _over_training if first.sizes["step"] > 1 else _at_one_step
    return Panel(title, partial(draw, over=over))


def _over_training(axes: Axes, over: Data) -> None:
    for group, results in over:
        colour = series_colour(group.index)
        for i, result in enumerate(results):
            for place, name in enumerate(_NAMES):
                if f"{name}_in_top" not in result:
                    continue
                label = _label(name, group, over) if i == 0 else None
                share, chance = _mean(result, name), _mean(result, name, "_chance")
                line: Any = {"linestyle": DASHES[place], "marker": MARKERS[place]}
                axes.plot(result["step"], share, color=colour, label=label, **line)
                axes.plot(result["step"], chance, color=colour, linestyle=":", linewidth=1)
    axes.set_xlabel("step (updates done)")
    _finish(axes)


def _at_one_step(axes: Axes, over: Data) -> None:
    names = [n for n in _NAMES if any(f"{n}_in_top" in r for _, results in over for r in results)]
    for group, results in over:
        colour, marker = series_colour(group.index), MARKERS[group.index % len(MARKERS)]
        for i, result in enumerate(results):
            for place, name in enumerate(names):
                if f"{name}_in_top" not in result:
                    continue
                x = place + 0.08 * group.index
                bar = 2 * _mean(result, name, "_error") if f"{name}_in_top_error" in result else 0
                label = group.name if i == place == 0 and len(over) > 1 else None
                share = _mean(result, name)
                axes.errorbar(
                    x, share, bar, color=colour, marker=marker, linestyle="", capsize=2, label=label
                )
                chance = _mean(result, name, "_chance")
                axes.hlines(chance, x - 0.2, x + 0.2, color=colour, linestyle=":", linewidth=1)
    axes.set_xticks(range(len(names)), [_NAMES[name] for name in names])
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_xlabel("of the")
    _finish(axes)


def _finish(axes: Axes) -> None:
    axes.set_ylim(0, None)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    axes.set_ylabel("sum of cos²")
    if len(axes.get_legend_handles_labels()[0]) > 1:
        axes.legend()


def _mean(result: xr.Dataset, name: str, part: str = "") -> np.ndarray:
    found: np.ndarray = result[f"{name}_in_top{part}"].mean("landscape").values
    return found


def _label(name: str, group: Group, over: Data) -> str:
    return _NAMES[name] if len(over) == 1 else f"{_NAMES[name]}, {group.name}"
