"""Test errors beside what they must be compared with."""

import math
from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from rich.table import Table
from torch import Tensor

from ired_interp.metrics import ProblemError
from ired_interp.module import IREDModule
from ired_interp.random import stream
from ired_interp.results.names import PERFECT
from ired_interp.solver import SolverModule
from ired_interp.tasks import ExactEnergy, TaskData, Variant
from ired_interp.tasks.batch import Batch
from ired_interp.tasks.data import EvaluationSet
from ired_interp.tasks.floors import constant_solutions
from ired_interp.terminal import render

Estimate = tuple[float, float]  # value, standard error


def floors(
    data: TaskData, model: SolverModule, split: str, variant: Variant, count: int
) -> dict[str, Estimate]:
    """Return what trivial and perfect predictors score on a set: (error, standard error) by name.

    Trivial: those of `trivial_floors`. Perfect: the exact energy, where the posterior is known,
    answering with the model's own inference settings. Values known from elsewhere have no standard
    error (NaN).
    """
    device = model.device
    found = trivial_floors(data, split, variant, count, device)
    if (
        isinstance(model, IREDModule)
        and data.task.posterior(data.draw(1, "cpu", 0, variant).x) is not None
    ):
        perfect = IREDModule(
            ExactEnergy(data.task, model.landscapes), inference=model.inference
        ).to(device)
        value_range = data.task.value_range(variant)

        def solve(batch: Batch) -> dict[str, Tensor]:
            generator = stream(device, 0, "start", split, variant, batch.number)
            start = torch.randn(batch.y.shape, generator=generator, device=device)
            steps = perfect.inference.steps
            return {PERFECT: perfect.predict(batch.x, start, steps, value_range, generator)}

        found |= _scores(EvaluationSet(data, split, variant, count, device), solve, device)
    return found | {
        name: (value, math.nan) for name, value in data.task.known_floors(variant).items()
    }


def trivial_floors(
    data: TaskData, split: str, variant: Variant, count: int, device: torch.device
) -> dict[str, Estimate]:
    """Return what predictors that need no learning score on a set: (error, standard error) by name.

    They are the best constant, and what the task names.
    """
    constants = constant_solutions(data.task, device, data.train_variant, variant)

    def solve(batch: Batch) -> dict[str, Tensor]:
        expanded = {name: y.expand_as(batch.y) for name, y in constants.items()}
        return expanded | data.task.trivial(batch.x)

    return _scores(EvaluationSet(data, split, variant, count, device), solve, device)


def _scores(
    batches: EvaluationSet, solve: Callable[[Batch], dict[str, Tensor]], device: torch.device
) -> dict[str, Estimate]:
    scores: dict[str, ProblemError] = {}
    for batch in batches:
        for name, solution in solve(batch).items():
            score = scores.setdefault(name, ProblemError(sync_on_compute=False).to(device))
            score.update(solution, batch.y)
    return {name: _numbers(score.compute()) for name, score in scores.items()}


def evaluation_result(
    errors: dict[tuple[str, int], tuple[Tensor, Tensor]],
    model: SolverModule,
    data: TaskData,
    split: str,
    problems: int,
) -> xr.Dataset:
    """Errors by (variant, inner steps), with floors, as a dataset.

    Returns
    -------
    xr.Dataset
        `error` and `standard_error` (variant, inner_steps); `floor` and `floor_standard_error`
        (variant, predictor), NaN where a predictor does not apply. All are elementwise mean squared
        errors over `problems` problems.
    """
    variants, steps = data.variants, list(dict.fromkeys(count for _, count in errors))
    known = {variant: floors(data, model, split, variant, problems) for variant in variants}
    names = list(dict.fromkeys(name for found in known.values() for name in found))
    nothing = (math.nan, math.nan)
    error = np.array([[_numbers(errors[v, s]) for s in steps] for v in variants])
    floor = np.array([[known[v].get(name, nothing) for name in names] for v in variants])
    unit = {"units": "mean squared error per entry"}
    return xr.Dataset(
        {
            "error": (("variant", "inner_steps"), error[..., 0], unit),
            "standard_error": (("variant", "inner_steps"), error[..., 1], unit),
            "floor": (("variant", "predictor"), floor[..., 0], unit),
            "floor_standard_error": (("variant", "predictor"), floor[..., 1], unit),
        },
        {"variant": variants, "inner_steps": steps, "predictor": names},
        {
            "task": data.task.name,
            "split": split,
            "problems": problems,
            "trained_on": data.train_variant,
        },
    )


def error_table(result: xr.Dataset) -> str:
    """Return an evaluation as a table for the terminal: the model's rows first, then the floors."""
    task, count, split = (result.attrs[name] for name in ("task", "problems", "split"))
    title = f"{task}: mean squared error ± standard error on {count} {split} problems"
    table = Table(title=title)
    table.add_column("")
    for variant in result["variant"].values:
        table.add_column(str(variant), justify="right")
    for steps in result["inner_steps"].values:
        row = result.sel(inner_steps=steps)
        name = f"model, {steps} inner steps" if steps else "model"
        table.add_row(name, *map(_cell, row["error"].values, row["standard_error"].values))
    table.add_section()
    for name in result["predictor"].values:
        row = result.sel(predictor=name)
        table.add_row(
            str(name), *map(_cell, row["floor"].values, row["floor_standard_error"].values)
        )
    return render(table)


def _cell(value: float, spread: float) -> str:
    if math.isnan(value):
        return "–"
    number = "{:.5f}" if value >= 1e-3 or value == 0 else "{:.2e}"  # three digits at the least
    return number.format(value) + ("" if math.isnan(spread) else f" ± {number.format(spread)}")


def _numbers(pair: tuple[Tensor, Tensor]) -> Estimate:
    return float(pair[0]), float(pair[1])
