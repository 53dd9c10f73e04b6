"""Test errors beside what they must be compared with."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from rich.table import Table
from torch import Tensor

from ired_interp.metrics import ProblemError, Ratio
from ired_interp.module import IREDModule
from ired_interp.random import stream
from ired_interp.results.names import PERFECT
from ired_interp.solver import SolverModule
from ired_interp.tasks import ExactEnergy, Task, TaskData, Variant
from ired_interp.tasks.batch import Batch
from ired_interp.tasks.data import EvaluationSet
from ired_interp.tasks.floors import constant_solutions
from ired_interp.terminal import render

Estimate = tuple[float, float]  # value, standard error
_NOTHING: Estimate = (math.nan, math.nan)


class Score(NamedTuple):
    """What a predictor scores on a set: its squared error, and the task's measures by name."""

    error: Estimate
    measures: dict[str, Estimate]


def floors(
    data: TaskData, model: SolverModule, split: str, variant: Variant, count: int
) -> dict[str, Estimate]:
    """Return the squared errors of `floor_scores`: (error, standard error) by name."""
    return _errors(floor_scores(data, model, split, variant, count))


def trivial_floors(
    data: TaskData, split: str, variant: Variant, count: int, device: torch.device
) -> dict[str, Estimate]:
    """Return the squared errors of `trivial_scores`: (error, standard error) by name."""
    return _errors(trivial_scores(data, split, variant, count, device))


def _errors(scores: dict[str, Score]) -> dict[str, Estimate]:
    return {name: score.error for name, score in scores.items()}


def floor_scores(
    data: TaskData, model: SolverModule, split: str, variant: Variant, count: int
) -> dict[str, Score]:
    """Return what trivial and perfect predictors score on a set, by name.

    Trivial: those of `trivial_scores`. Perfect: the exact energy, where the posterior is known,
    answering with the model's own inference settings. Values known from elsewhere have no standard
    error (NaN).
    """
    device = model.device
    found = trivial_scores(data, split, variant, count, device)
    if (
        isinstance(model, IREDModule)
        and data.task.posterior_is_cheap
        and data.task.posterior(data.draw(1, "cpu", 0, variant).x) is not None
    ):
        perfect = IREDModule(
            ExactEnergy(data.task, model.landscapes), inference=model.inference, task=data.task
        ).to(device)
        value_range = data.task.value_range(variant)

        def solve(batch: Batch) -> dict[str, Tensor]:
            generator = stream(device, 0, "start", split, variant, batch.number)
            start = torch.randn(batch.y.shape, generator=generator, device=device)
            steps = perfect.inference.steps
            return {PERFECT: perfect.predict(batch.x, start, steps, value_range, generator)}

        found |= _scores(EvaluationSet(data, split, variant, count, device), solve, data.task)
    return found | {
        name: Score((value, math.nan), {})
        for name, value in data.task.known_floors(variant).items()
    }


def trivial_scores(
    data: TaskData, split: str, variant: Variant, count: int, device: torch.device
) -> dict[str, Score]:
    """Return what predictors that need no learning score on a set, by name.

    They are the best constant, and what the task names.
    """
    constants = constant_solutions(data.task, device, data.train_variant, variant)

    def solve(batch: Batch) -> dict[str, Tensor]:
        expanded = {name: y.expand_as(batch.y) for name, y in constants.items()}
        return expanded | data.task.trivial(batch.x)

    return _scores(EvaluationSet(data, split, variant, count, device), solve, data.task)


def _scores(
    batches: EvaluationSet, solve: Callable[[Batch], dict[str, Tensor]], task: Task
) -> dict[str, Score]:
    errors: dict[str, ProblemError] = {}
    measures: dict[str, dict[str, Ratio]] = {}
    for batch in batches:
        x, y, device = batch.x, batch.y, batch.x.device
        for name, solution in solve(batch).items():
            error = errors.setdefault(name, ProblemError(sync_on_compute=False).to(device))
            error.update(solution, task.nearest_answer(x, y, solution))
            own = measures.setdefault(name, {})
            again = partial(_answer, solve, batch, name)
            found = task.measures(x, y, solution) | task.rollout_measures(x, again)
            for what, measure in found.items():
                classes = measure.part[:1].numel()
                ratio = own.setdefault(what, Ratio(classes, sync_on_compute=False).to(device))
                ratio.update(*measure)
    return {
        name: Score(
            _numbers(error.compute()),
            {what: _numbers(ratio.compute()) for what, ratio in measures[name].items()},
        )
        for name, error in errors.items()
    }


def _answer(
    solve: Callable[[Batch], dict[str, Tensor]], batch: Batch, name: str, x: Tensor
) -> Tensor:
    """Return a predictor's solutions to other problems of a batch's kind."""
    return solve(batch._replace(x=x))[name]


def evaluation_result(
    errors: dict[tuple[str, int], tuple[Tensor, Tensor]],
    measures: dict[tuple[str, int, str], tuple[Tensor, Tensor]],
    model: SolverModule,
    data: TaskData,
    split: str,
    problems: int,
) -> xr.Dataset:
    """Errors by (variant, inner steps), and measures by name, with floors, as a dataset.

    Returns
    -------
    xr.Dataset
        `error` and `standard_error` (variant, inner_steps); `floor` and `floor_standard_error`
        (variant, predictor), NaN where a predictor does not apply. All are elementwise mean squared
        errors over `problems` problems. Where the task measures more, `measured` (variant,
        inner_steps, measure) and `measured_floor` (variant, predictor, measure), each with
        `…_standard_error`.
    """
    variants, steps = data.variants, list(dict.fromkeys(count for _, count in errors))
    known = {variant: floor_scores(data, model, split, variant, problems) for variant in variants}
    names = list(dict.fromkeys(name for found in known.values() for name in found))
    nothing = Score(_NOTHING, {})
    error = np.array([[_numbers(errors[v, s]) for s in steps] for v in variants])
    floor = np.array([[known[v].get(name, nothing).error for name in names] for v in variants])
    unit = {"units": "mean squared error per entry"}
    result = xr.Dataset(
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
    measured = {key: _numbers(value) for key, value in measures.items()}
    every = list(dict.fromkeys(name for *_, name in measured))
    if not every:
        return result
    own = [[[measured.get((v, s, m), _NOTHING) for m in every] for s in steps] for v in variants]
    floors_of = [
        [[known[v].get(p, nothing).measures.get(m, _NOTHING) for m in every] for p in names]
        for v in variants
    ]
    of_model, of_floors = np.array(own), np.array(floors_of)
    dims = ("variant", "inner_steps", "measure")
    floor_dims = ("variant", "predictor", "measure")
    return result.assign_coords(measure=every).assign(
        measured=(dims, of_model[..., 0]),
        measured_standard_error=(dims, of_model[..., 1]),
        measured_floor=(floor_dims, of_floors[..., 0]),
        measured_floor_standard_error=(floor_dims, of_floors[..., 1]),
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
    return render(table) + "".join(_measure_table(result, v) for v in _variants(result))


def _variants(result: xr.Dataset) -> list[str]:
    return [str(v) for v in result["variant"].values] if "measured" in result else []


def _measure_table(result: xr.Dataset, variant: str) -> str:
    """Show the task's measures on one variant, a row each, beside the best that needs no model."""
    table = Table(title=f"{result.attrs['task']}, {variant}: shares ± standard error")
    chosen = result.sel(variant=variant)
    steps = result["inner_steps"].values
    table.add_column("")
    for count in steps:
        table.add_column(f"{count} steps" if len(steps) > 1 else "model", justify="right")
    trivial = [str(name) for name in result["predictor"].values if name != PERFECT]
    perfect = PERFECT in result["predictor"].values
    for heading in (*(["perfect"] if perfect else []), "best floor"):
        table.add_column(heading, justify="right")
    table.add_column("which is")
    for measure in result["measure"].values:
        row = chosen.sel(measure=measure)
        if np.isnan(row["measured"].values).all():
            continue  # of problems that this variant has not
        floors = row.sel(predictor=trivial)
        cells = [_measured(row.sel(inner_steps=count), "measured") for count in steps]
        if perfect:
            cells.append(_measured(row.sel(predictor=PERFECT), "measured_floor"))
        values = floors["measured_floor"].values
        if np.isnan(values).all():
            cells += ["–", "–"]
        else:
            best = floors.isel(predictor=int(np.nanargmax(values)))
            cells += [_measured(best, "measured_floor"), str(best["predictor"].values)]
        table.add_row(str(measure), *cells)
    return render(table)


def _measured(row: xr.Dataset, name: str) -> str:
    return _cell(float(row[name]), float(row[f"{name}_standard_error"]), "{:.3f}")


def _cell(value: float, spread: float, number: str | None = None) -> str:
    if math.isnan(value):
        return "–"
    if number is None:  # three digits at the least
        number = "{:.5f}" if value >= 1e-3 or value == 0 else "{:.2e}"
    return number.format(value) + ("" if math.isnan(spread) else f" ± {number.format(spread)}")


def _numbers(pair: tuple[Tensor, Tensor]) -> Estimate:
    return float(pair[0]), float(pair[1])
