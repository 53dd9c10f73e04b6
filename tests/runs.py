"""Run folders with known content, written without training."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import yaml

from ired_interp.results import ResultKey, Run, write_result
from ired_interp.results.provenance import provenance

STEPS = (500, 1000)
PROBE = {
    "probe": {"space": "y", "point": "noised"},
    "checkpoint": None,
    "problems": 4,
    "variant": "same",
}


def make_run(folder: Path, seed: int = 0, steps: tuple[int, ...] = STEPS, **energy: Any) -> Run:
    """A run with metrics, a spectrum in y at every step and a test, whose numbers are known functions of step, landscape and seed."""
    run = Run(folder)
    config = {
        "seed_everything": seed,
        "trainer": {"max_steps": steps[-1], "callbacks": None},
        "model": {
            "class_path": "IREDModule",
            "init_args": {"energy": {"class_path": "MLPEnergy", "init_args": energy}},
        },
        "data": {"task": {"class_path": "Inverse", "init_args": {"n": 2}}},
        "name": folder.name,
    }
    run.write_config(yaml.safe_dump(config))
    write_metrics(run, steps, seed)
    for step in steps:
        write_result(
            run.results,
            ResultKey("hessian_spectrum_y", step, "average", PROBE),
            spectrum(step, seed),
            provenance(),
        )
    settings = {"checkpoint": f"digest-{seed}", "config": yaml.safe_dump(config)}
    write_result(
        run.results,
        ResultKey("test_error", steps[-1], "average", settings),
        errors(seed),
        provenance(),
    )
    return run


def write_metrics(run: Run, steps: tuple[int, ...], seed: int) -> None:
    """Loss 1/step and validation errors seed + 100/step."""
    file = run.path / "metrics" / "version_0" / "metrics.csv"
    file.parent.mkdir(parents=True)
    rows = ["epoch,step,train/loss,val/error/same"]
    rows += [f"0,{step // 2},{2 / step}," for step in steps]
    rows += [f"0,{step},{1 / step},{seed + 100 / step}" for step in steps]
    file.write_text("\n".join(rows) + "\n")


def spectrum(step: int, seed: int, landscapes: int = 10) -> xr.Dataset:
    """Eigenvalues (k + 1)·(1 + rank/10)·(1 + 100/step) + seed/100; the exact ones are k + 1."""
    k, rank = np.arange(landscapes)[:, None, None] + 1.0, np.arange(3) / 10
    found = np.broadcast_to(
        k * (1 + rank) * (1 + 100 / step) + seed / 100, (landscapes, 4, 3)
    ).copy()
    theory = np.broadcast_to(k[:, 0], (landscapes, 3)).copy()
    return xr.Dataset(
        {
            "eigenvalues": (("landscape", "problem", "rank"), found),
            "lambda_min": ("landscape", found.min((1, 2))),
            "lambda_median": ("landscape", np.median(found, (1, 2))),
            "lambda_max": ("landscape", found.max((1, 2))),
            "negative_share": ("landscape", (found < 0).mean((1, 2))),
            "theory": (("landscape", "rank"), theory),
            "theory_median": ("landscape", theory[:, 0]),
            "deviation": ("landscape", np.sqrt(((found / theory[:, None] - 1) ** 2).mean((1, 2)))),
        },
        {"landscape": np.arange(landscapes), "problem": np.arange(4), "rank": np.arange(3)},
    )


def errors(seed: int) -> xr.Dataset:
    """Error 0.02 + seed/1000 against a best constant of 0.1; on harder problems 3 against 2."""
    unit = {"units": "mean squared error per entry"}
    error = np.array([[0.02 + seed / 1000], [3.0]])
    return xr.Dataset(
        {
            "error": (("variant", "inner_steps"), error, unit),
            "standard_error": (("variant", "inner_steps"), error / 100, unit),
            "floor": (("variant", "predictor"), np.array([[0.1, 1e-16], [2.0, np.nan]]), unit),
            "floor_standard_error": (("variant", "predictor"), np.zeros((2, 2)), unit),
        },
        {
            "variant": ["same", "harder"],
            "inner_steps": [5],
            "predictor": ["best constant", "perfect energy, same inference"],
        },
        {"task": "inverse", "split": "test", "problems": 60, "trained_on": "same"},
    )
