"""Figures by the label of the result they draw; a result without one is shown as a table."""

import json
from collections.abc import Callable
from pathlib import Path

from ired_interp.report.collect import Group, Section
from ired_interp.report.drawing import Drawing
from ired_interp.report.figure import Figure
from ired_interp.report.figures import (
    curvature,
    dictionary,
    effective_rank,
    errors,
    generic,
    gradient_field,
    gradients_theta,
    gradients_y,
    hessian_theta,
    hessian_y,
    minimum,
    patching,
    readout,
    slice,
    subspace_drift,
    tangent_kernel,
    theta_slice,
    trajectory,
)
from ired_interp.report.figures import path as path_between
from ired_interp.results import OpenedRun, Run, Series, read_result
from ired_interp.results.series import flatten

# In the order of the page. A label belongs to the longest key that it begins with.
FIGURES: dict[str, Callable[[Section], list[Figure]]] = {
    "test_error": errors.figures,
    "validation_error": errors.figures,
    "hessian_spectrum_y": hessian_y.figures,
    "hessian_spectrum_theta": hessian_theta.figures,
    "hessian_spectrum_loss": hessian_theta.figures,
    "gradient_statistics_y": gradients_y.figures,
    "gradient_statistics_theta": gradients_theta.by_problem,
    "gradient_statistics_training": gradients_theta.over_training,
    "gradient_statistics_loss": gradients_theta.of_batches,
    "curvature": curvature.figures,
    "minimum": minimum.figures,
    "slice": slice.figures,
    "path": path_between.figures,
    "theta_slice": theta_slice.figures,
    "subspace_drift": subspace_drift.figures,
    "inference_trajectory": trajectory.figures,
    "effective_rank": effective_rank.figures,
    "tangent_kernel": tangent_kernel.figures,
    "gradient_field": gradient_field.figures,
    "patching": patching.figures,
    "readout": readout.figures,
    "dictionary": dictionary.figures,
}


def rank(label: str) -> int:
    """Where a result's figures stand on the page."""
    known = _known()
    return list(known).index(key) if (key := _key(label)) else len(known)


def figures_of(section: Section) -> list[Figure]:
    """Return the figures of one measurement."""
    key = _key(section.probe)
    return _known()[key](section) if key else generic.figures(section)


def figures_of_file(path: Path) -> list[Figure]:
    """Return the figures of one result in a run's folder, by itself."""
    result = read_result(path, [])
    probe, step, weights = (result.attrs[name] for name in ("probe", "step", "weights"))
    settings = flatten(json.loads(result.attrs["settings"]))
    series = Series(str(probe), str(weights), settings, {int(step): path})
    run = OpenedRun(Run(path.parents[2]))
    group = Group(0, [run], {}, name=run.path.name)
    return figures_of(Section(series.probe, series.weights, settings, [(group, [series])], []))


def _known() -> dict[str, Callable[[Section], list[Figure]]]:
    return FIGURES | {name: kind() for name, kind in Drawing.registry.items()}


def _key(label: str) -> str | None:
    return max((key for key in _known() if label.startswith(key)), key=len, default=None)
