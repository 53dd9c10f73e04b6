"""Spectra of the Hessian's diagonal blocks, and the size of the blocks between layers."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes

from ired_interp.report.collect import Group, Section, after_steps
from ired_interp.report.figure import Figure, Panel
from ired_interp.report.figures.lines import legend, matrix
from ired_interp.report.style import INK, MARKERS, MUTED, landscape_colour, series_colour

_LETTERS = 16  # of a layer's name on an axis, from its end
_LABELS = 12  # of layers on an axis

Data = Sequence[tuple[Group, list[xr.Dataset]]]


def figure(section: Section, data: Data) -> Figure:
    """Eigenvalues of each layer's block, shares in its top, and ‖H_ab‖_F of all pairs of layers.

    Parameters
    ----------
    section : Section
        That measured it.
    data : sequence of (Group, list of xarray.Dataset)
        Last results, over landscape and layer.

    Returns
    -------
    Figure
        Of the first run all landscapes where there are several, else of every run.
    """
    data = [(g, [r for r in results if "layer" in r.dims]) for g, results in data]
    data = [(group, results) for group, results in data if results]
    first = data[0][1][0]
    objective = str(first.attrs.get("objective", "objective"))
    shown = first.isel(landscape=0)
    where = f", k = {int(shown['landscape'])}" if first.sizes["landscape"] > 1 else ""
    several = len(data) > 1 or len(data[0][1]) > 1
    whose = f", {data[0][0].runs[0].path.name}" if several else ""
    panels = [
        Panel("eigenvalues of single layers", _eigenvalues(data)),
        Panel("share of the gradient in a layer's top", _shares(data, "gradient")),
        Panel(f"Frobenius norms of blocks{where}{whose}", _blocks(shown)),
    ]
    if "layer_update_in_top" in first:
        step = Panel("share of the step in a layer's top", _shares(data, "update"))
        panels.insert(2, step)
    caption = (
        f"Diagonal blocks of the Hessian of the {objective}, one for each layer's weights, "
        f"measured {section.points()}, {after_steps(data)}. Eigenvalues found, bars: residuals. "
        "Share: cos² of the gradient (of the optimizer's step) in the layer's weights, summed over "
        "the top eigenvectors of its block; dashes: were the signs of all entries random. Blocks: "
        "‖H_ab‖_F from products with random vectors, unbiased in the square; white where it is 0 "
        "to within its error."
    )
    title = f"Hessian of the {objective} by layer"
    return Figure(f"{section.probe}_layers", title, caption, panels, _table(data))


def _curves(data: Data) -> list[tuple[str, str, xr.Dataset]]:
    first = data[0][1][0]
    count = first.sizes["landscape"]
    if count > 1:
        landscapes = enumerate(first["landscape"].values)
        return [
            (f"k = {k}", landscape_colour(i, count), first.isel(landscape=i)) for i, k in landscapes
        ]
    return [
        (group.name if i == 0 else "", series_colour(group.index), result.isel(landscape=0))
        for group, results in data
        for i, result in enumerate(results)
    ]


def _over_layers(axes: Axes, data: Data, draw: Callable[..., None]) -> None:
    curves = _curves(data)
    layers = curves[0][2]["layer"].values
    for place, (name, colour, result) in enumerate(curves):
        shift = (place - (len(curves) - 1) / 2) * 0.6 / max(4, len(curves))
        draw(np.arange(result.sizes["layer"]) + shift, result, colour, place, name)
    shown = np.unique(
        np.linspace(0, len(layers) - 1, min(len(layers), _LABELS)).round().astype(int)
    )
    axes.set_xticks(shown, [short(layers[i]) for i in shown], rotation=35, ha="right")
    axes.set_xlabel("layer")
    legend(axes, [group for group, _ in data])


def _eigenvalues(data: Data) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        def one(x: np.ndarray, result: xr.Dataset, colour: str, place: int, name: str) -> None:
            values, bars = result["layer_eigenvalues"].values, result["layer_residuals"].values
            axes.errorbar(
                np.repeat(x, values.shape[-1]),
                values.ravel(),
                bars.ravel(),
                color=colour,
                marker=MARKERS[place % len(MARKERS)],
                markersize=3,
                linestyle="",
                label=name,
            )

        _over_layers(axes, data, one)
        axes.axhline(0, color=MUTED, linewidth=0.8)
        axes.set_ylabel("eigenvalue λ (objective / θ²)")

    return draw


def _shares(data: Data, of: str) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        def one(x: np.ndarray, result: xr.Dataset, colour: str, place: int, name: str) -> None:
            if f"layer_{of}_in_top" not in result:
                return
            share, chance = (result[f"layer_{of}_in_top{s}"].values for s in ("", "_chance"))
            marker = MARKERS[place % len(MARKERS)]
            axes.plot(x, share, color=colour, marker=marker, linestyle="", label=name)
            axes.plot(x, chance, color=INK, marker="_", markersize=9, linestyle="")

        _over_layers(axes, data, one)
        axes.set_ylim(0, None)
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
        axes.set_ylabel("sum of cos²")

    return draw


def _blocks(result: xr.Dataset) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        squares, errors = result["block_squares"].values, result["block_squares_error"].values
        norms = np.sqrt(np.where(squares > errors, squares, np.nan))
        names = [short(layer) for layer in result["layer"].values]
        matrix(axes, norms, names, np.nanmin(norms), np.nanmax(norms), "layer", scale="log")
        axes.tick_params(axis="x", rotation=35)

    return draw


def _table(data: Data) -> pd.DataFrame:
    rows = []
    for name, _, result in _curves(data):
        for layer in result["layer"].values:
            here = result.sel(layer=layer)
            values, squares = here["layer_eigenvalues"], here["block_squares"]
            own = float(squares.sel(other_layer=layer))
            row = {"runs": name, "layer": str(layer), "weights": int(here["layer_parameters"])}
            row |= {"λ_max": float(values.max()), "λ_min": float(values.min())}
            if "layer_trace" in here:
                row["trace"] = float(here["layer_trace"])
            for of in ("gradient", "update"):
                if f"layer_{of}_in_top" in here:
                    row[f"{of} in top"] = float(here[f"layer_{of}_in_top"])
                    row[f"{of} by chance"] = float(here[f"layer_{of}_in_top_chance"])
            row["‖H_aa‖_F"] = max(0.0, own) ** 0.5
            row["beside it"] = max(0.0, float(squares.sum()) - own) ** 0.5
            rows.append(row)
    return pd.DataFrame(rows)


def short(layer: object) -> str:
    """Return the end of a layer's name, which tells it from others.

    Examples
    --------
    >>> short("backbone.layer3.1.conv2"), short("fc1")
    ('…layer3.1.conv2', 'fc1')
    """
    name = str(layer)
    if len(name) <= _LETTERS:
        return name
    return (
        "…" + name[-_LETTERS:].partition(".")[2]
        if "." in name[-_LETTERS:]
        else "…" + name[-_LETTERS:]
    )
