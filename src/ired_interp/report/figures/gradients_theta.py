"""Gradients of the training loss in the weights: by landscape after training, and over training."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes

from ired_interp.report.collect import Group, Section
from ired_interp.report.figure import Figure, Panel
from ired_interp.report.figures.lines import (
    by_landscape,
    error_bars,
    legend,
    matrix,
    spread_line,
    with_bars,
)
from ired_interp.report.style import INK, MARKERS, log_if_positive, series_colour

_NAMES = (
    *("norm_mean", "norm_mean_error", "mean_cosine", "mean_cosine_error"),
    *(f"{name}{end}" for name in ("noise_scale", "snr") for end in ("", "_low", "_high")),
)
_TRAINING = (  # variable, title, label of its axis
    ("norm_mean", "gradient norm", "mean ‖g‖ (loss / weight)"),
    ("noise_scale", "gradient noise scale", "tr Σ / ‖G‖² (problems)"),
    ("mean_cosine", "agreement of batches", "mean pairwise cosine"),
)
_MOST_ROWS = 100
Data = Sequence[tuple[Group, list[xr.Dataset]]]


def by_problem(section: Section) -> list[Figure]:
    """Noise, agreement and effective rank by landscape."""
    data = [(g, [r.sel(layer="all") for r in results]) for g, results in section.last()]
    if not data:
        return []
    first = data[0][1][0]
    panels = [
        Panel(
            "gradient noise scale",
            lambda axes: _logarithmic(axes, data, "noise_scale", "tr Σ / ‖G‖² (problems)"),
        ),
        Panel(
            "agreement of problems",
            lambda axes: by_landscape(axes, data, "mean_cosine", "mean pairwise cosine"),
        ),
        Panel(
            "effective rank",
            lambda axes: by_landscape(axes, data, "participation", "participation ratio"),
        ),
    ]
    table = None
    if "landscape_cosine_corrected" in first:
        title = "do landscapes pull the same way?"
        panels.append(Panel(title, lambda axes: _cosines(axes, data[0][1])))
        table = _cosine_table(data)
    caption = (
        "The gradient of the training loss in the weights θ, of each problem and landscape, "
        f"measured {section.points()}. Noise scale: trace of the "
        "gradients' covariance over the squared mean gradient, the batch size beyond which "
        "averaging helps "
        "little; left out where the mean cannot be told from "
        "noise. Participation ratio (Σλ)²/Σλ² of the "
        "covariance. Bars: two standard errors, of the noise scale the 95 % interval (an arrow "
        "where it has no end: few gradients, or heavy tails). Matrix: cosine between the mean "
        f"gradients of two landscapes ({data[0][0].name}), freed of the noise that they share; a "
        "dot where it lies within two standard errors of 0, blank where a mean gradient cannot be "
        "told from 0. Cosines and ranks have no unit."
    )
    return [Figure(section.probe, "Gradients in the weights", caption, panels, table)]


def over_training(section: Section) -> list[Figure]:
    """Return what the gradients of training itself say, against steps, and by layer at the end."""
    batch = section.settings.get("batch", "?")
    caption = (
        "Gradients of the loss that training computed anyway (raw weights), "
        f"{section.settings.get('window', '?')} consecutive batches of {batch} problems at a time, "
        "against training steps (updates done). Noise scale tr Σ/‖G‖², in problems: above the "
        "batch size, steps are mostly noise (dashed: the "
        "batch); infinite where the batches' mean cannot be told from noise. By layer: √(‖G‖²/tr "
        "Σ) of one problem; 0 where the mean gradient cannot be told from noise."
    )
    return _during(section, caption)


def of_batches(section: Section) -> list[Figure]:
    """Return what the gradients of a loss on fixed batches say, in the same way."""
    data = section.last()
    if not data:
        return []
    last = data[0][1][0]
    caption = (
        f"Gradients of the loss, measured {section.points()}: {last.attrs['gradients']} (at the "
        f"last step of {data[0][0].name}), against training steps (updates done). Noise scale "
        "tr Σ/‖G‖², in samples (in batches where each gave one gradient): above the batch size, "
        "steps are mostly noise; infinite where the mean cannot be told from noise. By layer: "
        "√(‖G‖²/tr Σ) of one; 0 where the mean gradient cannot be told from noise."
    )
    panels = _during(section, caption)
    cosines = last["batch_cosine"].sel(layer="all").values
    names = last["batch"].values
    between = Panel(
        f"cosine between batches, {data[0][0].name}",
        lambda axes: matrix(axes, cosines, names, -1, 1, "batch"),
    )
    return [replace(figure, panels=[*figure.panels, between]) for figure in panels]


def _during(section: Section, caption: str) -> list[Figure]:
    over = section.over_steps(_NAMES)
    if not over:
        return []
    panels = [
        Panel(title, partial(_over, over=over, name=name, label=label))
        for name, title, label in _TRAINING
        if _told(over, name) > 1
    ]
    silent = [title for name, title, _ in _TRAINING if not _told(over, name)]
    last = [r["snr"].isel(step=-1).values for _, results in over for r in results]
    if np.any(np.stack([np.nan_to_num(snr) for snr in last]) > 0):
        panels.append(
            Panel("signal to noise by layer, at the end", lambda axes: _layers(axes, over))
        )
    else:
        silent.append("signal to noise by layer")
    bars = (
        " Bars: two standard errors over batches, of noise scale and signal to noise the 95 % "
        "interval (an arrow where it has no end; alone, where only a lower end is told); of "
        "several runs the range."
    )
    none = f" Not told from noise at any step: {', '.join(silent)}." if silent else ""
    table = _training_table(over)
    return [
        Figure(section.probe, "Gradients during training", caption + bars + none, panels, table)
    ]


def _told(over: Data, name: str) -> int:
    """Count the steps, of the run that has most, at which a quantity is a finite number."""
    return max(
        int(np.isfinite(r[name].sel(layer="all")).sum()) for _, results in over for r in results
    )


def _training_table(over: Data) -> pd.DataFrame:
    rows = []
    for group, results in over:
        for result in results:
            whole = result.sel(layer="all", drop=True)
            for i, step in enumerate(whole["step"].values):
                row: dict[str, object] = {"runs": group.name, "step": int(step)}
                here = whole.isel(step=i)
                for name, title, _ in _TRAINING:
                    row[title] = float(here[name])
                    if f"{name}_error" in here:
                        row[f"± {title}"] = float(here[f"{name}_error"])
                    elif f"{name}_low" in here:
                        ends = (float(here[f"{name}{end}"]) for end in ("_low", "_high"))
                        row[f"95 % of {title}"] = " to ".join(f"{end:.4g}" for end in ends)
                rows.append(row)
    return pd.DataFrame(rows).tail(_MOST_ROWS)


def _cosines(axes: Axes, results: Sequence[xr.Dataset]) -> None:
    values, error = _mean_cosine(results)
    matrix(axes, values, results[0]["landscape"].values, -1, 1, "landscape k")
    with np.errstate(invalid="ignore"):
        rows, columns = np.nonzero(np.abs(values) < 2 * error)
    axes.plot(columns, rows, ".", color=INK, markersize=3)


def _mean_cosine(results: Sequence[xr.Dataset]) -> tuple[np.ndarray, np.ndarray]:
    """Mean over runs, with the error of one run or what follows from theirs."""
    name, count = "landscape_cosine_corrected", len(results)
    values = np.mean([r[name].values for r in results], 0)
    squares = [r[f"{name}_error"].values ** 2 for r in results]
    return values, np.sqrt(np.sum(squares, 0)) / count


def _cosine_table(data: Data) -> pd.DataFrame:
    rows = []
    for group, results in data:
        values, error = _mean_cosine(results)
        landscapes = results[0]["landscape"].values
        for i, j in zip(*np.triu_indices(len(landscapes), 1), strict=True):
            row = {"runs": group.name, "k": int(landscapes[i]), "other k": int(landscapes[j])}
            rows.append(row | {"cosine": values[i, j], "± standard error": error[i, j]})
    return pd.DataFrame(rows)


def _logarithmic(axes: Axes, data: Data, name: str, label: str) -> None:
    finite = [
        (g, [r.assign({name: r[name].where(np.isfinite(r[name]))}) for r in results])
        for g, results in data
    ]
    by_landscape(axes, finite, name, label)
    log_if_positive(axes, "y", *[r[name].values for _, results in finite for r in results])


def _over(axes: Axes, over: Data, name: str, label: str) -> None:
    values = []
    for group, results in over:
        whole = [r.sel(layer="all", drop=True) for r in results]
        curves = [r[name].where(np.isfinite(r[name])) for r in whole]
        if len(whole) > 1:
            spread_line(axes, group, curves, marked=True)
        else:
            values += _one_run(axes, group, whole[0], name)
        values += [c.values for c in curves]
    steps = np.concatenate([r["step"].values for _, results in over for r in results])
    margin = 0.04 * np.ptp(steps)  # where it is infinite, the axis goes on
    axes.set_xlim(steps.min() - margin, steps.max() + margin)
    axes.set_xlabel("step (updates done)")
    axes.set_ylabel(label)
    batch = over[0][1][0].attrs.get("batch")
    if name == "noise_scale" and batch is not None:
        axes.axhline(float(batch), color=INK, linestyle="--", linewidth=1)
        values.append(np.array([float(batch)]))
    log_if_positive(axes, "y", *values)
    legend(axes, [group for group, _ in over])


def _one_run(axes: Axes, group: Group, result: xr.Dataset, name: str) -> list[np.ndarray]:
    """Draw a run's curve with its errors, and a lower end alone where no more is told."""
    told = result.isel(step=np.isfinite(result[name].values))
    value, bars = told[name].values, error_bars(told, name)
    colour, marker = series_colour(group.index), MARKERS[group.index % len(MARKERS)]
    with_bars(axes, told["step"].values, value, bars, color=colour, marker=marker, label=group.name)
    ends = [value - bars[0], np.where(np.isfinite(bars[1]), value + bars[1], value)]
    if f"{name}_low" in result:
        above = result.isel(step=~np.isfinite(result[name].values))
        low = above[f"{name}_low"].values
        nothing = np.stack([0 * low, np.full_like(low, np.inf)])
        known = np.isfinite(low) & (low > 0)
        where, shown = above["step"].values[known], (low[known], nothing[:, known])
        with_bars(axes, where, *shown, color=colour, linestyle="", marker="")
        ends.append(low[known])
    return ends


def _layers(axes: Axes, over: Data) -> None:
    names = [str(name) for name in over[0][1][0]["layer"].values]
    for place, (group, results) in enumerate(over):
        last = np.stack([r["snr"].isel(step=-1).values for r in results])
        y = np.arange(len(names)) + (place - (len(over) - 1) / 2) * 0.2
        mean = last.mean(0)
        if len(results) > 1:
            bars = np.stack([mean - last.min(0), last.max(0) - mean])
        else:
            bars = error_bars(results[0].isel(step=-1), "snr")
        colour, marker = series_colour(group.index), MARKERS[group.index % len(MARKERS)]
        style: dict[str, Any] = {"color": colour, "marker": marker, "label": group.name}
        with_bars(axes, mean, y, bars, across=True, linestyle="", **style)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel("signal to noise of one problem")
    legend(axes, [group for group, _ in over])
