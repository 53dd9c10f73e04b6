"""Agreement with numbers of the published implementation (tests/data/README.md).

Tolerances: 1e-6 relative in float64, since the reference keeps its schedule constants in float32; 1e-5 in float32, a few roundings of sums over
800 terms; ten times these along whole trajectories, where differences add up.
"""

from copy import deepcopy

import numpy as np
import pytest
import torch

from conftest import DATA, reference_weights
from ired_interp.diffusion import Inference, Schedule, descend, solve
from ired_interp.energy import MLPEnergy

TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-5}


@pytest.fixture(params=["mlp_400_400", "mlp_800_400"])
def stored(request):
    return np.load(DATA / f"{request.param}.npz")


@pytest.fixture(params=[torch.float64, torch.float32], ids=str)
def case(request, stored):
    dtype = request.param
    energy = MLPEnergy(stored["x"].shape[1], stored["y"].shape[1])
    reference_weights(energy)
    numbers = {key: torch.from_numpy(stored[key]) for key in stored.files}
    numbers = {
        key: value.to(dtype) if value.is_floating_point() else value
        for key, value in numbers.items()
    }
    return energy.to(dtype), Schedule().to(dtype), numbers, TOLERANCE[dtype]


def assert_close(found, expected, tolerance):
    error = float((found.detach() - expected).norm() / expected.norm())
    assert error < tolerance, f"relative difference {error:.2e}"


def test_energy_and_gradient(case):
    energy, _, n, tolerance = case
    found, gradient = energy.energy_and_gradient(n["x"], n["y"], n["t"])
    assert_close(found, n["energy"], tolerance)
    assert_close(gradient, n["grad_y"], tolerance)
    assert_close(energy(n["x"], n["y"], n["t"]), n["energy"], tolerance)


def test_score_loss_and_its_gradient(case):
    energy, schedule, n, tolerance = case
    noised = schedule.noised(n["y"], n["t"], n["eps"])
    assert_close(noised, n["q_sample"], tolerance)
    loss = (energy.gradient(n["x"], noised, n["t"]) - n["eps"]).square().mean()
    loss.backward()
    squares = [p.grad.square().sum() for p in energy.parameters()]
    assert_close(loss.detach(), n["denoising_loss"], tolerance)
    assert_close(torch.stack(squares).sum().sqrt(), n["denoising_loss_grad_norm"], tolerance)
    assert_close(energy.fc1.weight.grad.norm(), n["denoising_loss_grad_fc1_weight_norm"], tolerance)


def same_decisions(found, exact):
    """Rows (B,) whose steps float32 and float64 accept alike, from flags (…, B). A step that gains less than float32 can tell may be refused."""
    same = (found == exact).flatten(0, -2).all(0)
    assert same.any(), "some rows must take the same steps"
    return same


@pytest.mark.parametrize("k", [0, 4, 9])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_inner_steps(case, k, steps):
    energy, schedule, n, tolerance = case
    rows = torch.full((6,), k)
    rule = Inference("published").descent

    def run(energy, schedule, x, y, eps):
        context = energy.condition(x, rows)
        place = (schedule.signal[rows, None], schedule.step[rows, None])
        return descend(energy, context, schedule.noised(y, rows, eps), *place, steps, rule)

    inputs = (n["x"], n["y"], n["eps"])
    found = run(energy, schedule, *inputs)
    exact = run(
        deepcopy(energy).double(), deepcopy(schedule).double(), *(t.double() for t in inputs)
    )
    flags = (torch.stack([iterate.accepted for iterate in iterates]) for iterates in (found, exact))
    compared = same_decisions(*flags)
    assert_close(found[-1].y[compared], n[f"opt_step_k{k}_n{steps}"][compared], 10 * tolerance)


def test_whole_inference(case):
    energy, schedule, n, tolerance = case
    with torch.no_grad():
        found = solve(energy, schedule, n["x"], n["sample_start"], Inference("published"))
        exact = solve(
            energy.double(),
            schedule.double(),
            n["x"].double(),
            n["sample_start"].double(),
            Inference("published"),
        )
    compared = same_decisions(found.accepted, exact.accepted)
    assert_close(found.trajectory[:, compared], n["sample_trajectory"][:, compared], 10 * tolerance)
    assert_close(found.y[compared], n["sample_final"][compared], 10 * tolerance)
