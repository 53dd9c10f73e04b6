"""Training losses and inference of the discrete tasks: agreement with numbers of the published implementation (tests/data/README.md).

Tolerances as in test_reference.py, in float64: 1e-6, and ten times that along whole trajectories.
"""

import numpy as np
import pytest
import torch

from conftest import DATA, reference_weights
from ired_interp.diffusion import Inference, Noise, Objective, descend
from ired_interp.energy import ConnectivityEnergy, ShortestPathEnergy, SudokuEnergy
from ired_interp.module import IREDModule
from ired_interp.tasks import Connectivity, ShortestPath, Sudoku

TOLERANCE = 1e-6
CASES = {
    "connectivity_12": (ConnectivityEnergy, lambda: Connectivity(12), 0.05, 1),
    "connectivity_12_gain": (ConnectivityEnergy, lambda: Connectivity(12), 0.05, 4),
    "connectivity_18": (ConnectivityEnergy, lambda: Connectivity(12), 0.05, 1),
    "shortest_path_15": (
        lambda: ShortestPathEnergy("published"),
        lambda: ShortestPath(right_weight=10, other_weight=0.5),
        0.5,
        1,
    ),
    "sudoku_32": (lambda: SudokuEnergy(width=32), Sudoku, 0.05, 1),
}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    make, task, weight, gain = CASES[request.param]
    energy, task = make(), task()
    reference_weights(energy, gain)
    module = IREDModule(energy, Objective(weight), task=task, value_range=1.0).double()
    stored = np.load(DATA / "discrete" / f"{request.param}.npz")
    numbers = {key: torch.from_numpy(stored[key]) for key in stored.files}
    return module, {
        key: value.double() if key not in ("t", "mask") else value for key, value in numbers.items()
    }


def assert_close(found, expected, tolerance=TOLERANCE):
    error = float((found.detach() - expected).norm() / expected.norm())
    assert error < tolerance, f"relative difference {error:.2e}"


def test_the_loss_and_its_gradient_are_the_published_ones(case):
    module, n = case
    if "wrong" not in n:
        return
    noise = Noise(n["t"].long(), n["eps"], n["contrast_eps"])
    for weight, name in ((0.0, "score"), (module.objective.contrast_weight, "total_loss")):
        objective, module.objective = module.objective, Objective(weight)
        module.zero_grad()
        found = module.training_loss(n["x"], n["y"], noise, n["wrong"])
        module.objective = objective
        found.total.backward()
        squares = [p.grad.square().sum() for p in module.parameters() if p.grad is not None]
        assert_close(found.total, n[name])
        assert_close(torch.stack(squares).sum().sqrt(), n[f"{name}_grad_norm"])
    assert_close(found.contrast, n["contrastive_loss"])


@pytest.mark.parametrize("k", [0, 4, 9])
def test_inner_steps_are_the_published_ones(case, k):
    module, n = case
    energy, schedule = module.free(), module.schedule
    rows = torch.full((len(n["y"]),), k)
    signal, step = schedule.signal[rows, None], schedule.step[rows, None]
    context = energy.condition(n["x"], rows)
    start = energy.hold(context, schedule.noised(n["y"], rows, n["eps"]))
    rule = module.settled(Inference("published")).descent
    with torch.no_grad():
        last = descend(energy, context, start, signal, step, 5, rule)[-1]
    assert_close(last.y, n[f"step_k{k}"], 10 * TOLERANCE)
    assert_close(last.energy, n[f"energy_after_k{k}"], 10 * TOLERANCE)


@pytest.mark.process
def test_whole_inference_is_the_published_one(case):
    module, n = case
    found = module.solve(n["x"], preset="published", start=n["start"])
    assert_close(found.trajectory, n["trajectory"], 10 * TOLERANCE)
    assert_close(found.y, n["final"], 10 * TOLERANCE)
