"""What the tasks draw: distributions, exact ranks and condition numbers, floors, seeds."""

import math

import pytest
import torch

from ired_interp.diffusion import Inference
from ired_interp.energy import MLPEnergy
from ired_interp.errors import InputError
from ired_interp.evaluation import floors
from ired_interp.module import IREDModule
from ired_interp.random import stream
from ired_interp.results.names import PERFECT
from ired_interp.tasks import Addition, Completion, Inverse, LinearGaussian, Task, TaskData
from ired_interp.tasks.base import Problems


def draw(task, count=200, variant="same", seed=0):
    return task.sample(count, stream("cpu", seed, "draw"), variant)


@pytest.mark.parametrize("variant", ["same", "harder"])
@pytest.mark.parametrize(
    "task", [Addition(4), Completion(4, 2), Inverse(4), LinearGaussian(5)], ids=lambda t: t.name
)
def test_shapes_and_seeds(task, variant):
    x, y = draw(task, 30, variant)
    assert x.shape == (30, task.condition_dim)
    assert y.shape == (30, task.solution_dim)
    assert y.abs().max() <= task.value_range(variant)
    again, other = draw(task, 30, variant), draw(task, 30, variant, seed=1)
    assert torch.equal(x, again.x)
    assert torch.equal(y, again.y)
    assert not torch.equal(x, other.x)


@pytest.mark.parametrize(("variant", "limit"), [("same", 1.0), ("harder", 2.5)])
def test_addition(variant, limit):
    x, y = draw(Addition(5), 400, variant)
    assert limit * 0.999 < x.abs().max() <= limit
    torch.testing.assert_close(y, x[:, :25] + x[:, 25:])


@pytest.mark.parametrize(("variant", "smallest"), [("same", 0.5), ("harder", 0.1)])
@pytest.mark.parametrize("condition_number", [None, 10.0, 1000.0])
def test_inverse(variant, smallest, condition_number):
    x, y = draw(Inverse(6, condition_number), variant=variant)
    s, inverse = x.view(-1, 6, 6).double(), y.view(-1, 6, 6).double()
    eigenvalues = torch.linalg.eigvalsh(s)
    assert eigenvalues[:, 0].min() > smallest * 0.999
    # float32 holds κ·1e-7 of S S⁻¹ = 1
    error = (s @ inverse - torch.eye(6)).abs().max()
    assert error < 1e-6 * (condition_number or 500)
    if condition_number:
        found = eigenvalues[:, -1] / eigenvalues[:, 0]
        assert (found / condition_number - 1).abs().max() < 1e-6 * condition_number


@pytest.mark.parametrize("variant", ["same", "harder"])
@pytest.mark.parametrize(("n", "rank"), [(20, 1), (20, 10), (50, 5)])
def test_completion_has_exactly_the_rank(variant, n, rank):
    x, y = draw(Completion(n, rank, noise=0.0), 20, variant)
    assert set(torch.linalg.matrix_rank(y.view(-1, n, n)).tolist()) == {rank}
    visible = x != 0
    torch.testing.assert_close(x, y * visible)
    assert abs(visible.float().mean() - 0.5) < 5 * 0.5 / math.sqrt(
        visible.numel()
    )  # a fair coin, within 5 standard errors


def test_linear_gaussian_posterior():
    """Residuals y − m(x) have the covariance S that the task declares: whitened, their second moments are 1 within sampling error."""
    task = LinearGaussian(6)
    x, y = draw(task, 20_000)
    mean, basis, variances = task.posterior(x)
    white = (y - mean) @ basis / variances.sqrt()
    covariance = white.T @ white / len(white)
    torch.testing.assert_close(covariance, torch.eye(6), rtol=0, atol=5 * math.sqrt(2 / 20_000))


# Floors of the paper's 20 × 20 tasks (measured independently over 20 000 problems); tolerance: 6 standard errors of ours plus their rounding
PAPER = [
    (Inverse(20), "same", "best constant", 0.01414, 1e-5),
    (Inverse(20), "harder", "best constant", 0.2143, 2e-3),
    (Inverse(20), "harder", "best constant of the training data", 0.2288, 2e-3),
    (Completion(20), "same", "copy visible, 0 elsewhere", 0.01751, 1e-5),
    (Completion(20), "harder", "copy visible, 0 elsewhere", 0.2048, 1e-4),
]


@pytest.mark.process
@pytest.mark.parametrize(("task", "variant", "name", "expected", "rounding"), PAPER)
def test_floors_are_the_papers(task, variant, name, expected, rounding):
    model = IREDModule(MLPEnergy(400, 400, 8))
    value, error = floors(TaskData(task), model, "test", variant, 2000)[name]
    assert 0 < error < 0.1 * expected
    assert abs(value - expected) < 6 * error + rounding


@pytest.mark.process
@pytest.mark.parametrize(
    ("task", "variant", "expected", "spread"),
    [
        (Addition(20), "same", 1.3e-4, 0.1),
        (Addition(20), "harder", 0.563, 0.02),
        (Inverse(20), "same", 4e-6, 0.5),
        (Inverse(20), "harder", 0.0020, 0.5),
    ],
)
def test_perfect_energy_with_the_published_rules(task, variant, expected, spread):
    """The floors that the published clamps set; relative tolerance from the digits in which they are given and from 1000 problems."""
    model = IREDModule(MLPEnergy(*(task.condition_dim, 400), 8), inference=Inference("published"))
    value, _ = floors(TaskData(task), model, "test", variant, 1000)[PERFECT]
    assert abs(value / expected - 1) < spread


class Broken(Task):
    name = "broken"
    condition_dim = solution_dim = 2

    def value_range(self, variant):
        return 10.0

    def __init__(self, fault):
        self.fault = fault

    def sample(self, count, generator, variant="same"):
        x = torch.randn(count, 2, generator=generator)
        return Problems(x * math.nan, x) if self.fault == "nan" else Problems(x, x[:, :1])


@pytest.mark.parametrize(
    ("fault", "words"), [("nan", "NaN or infinite"), ("shape", r"y of shape \(3, 1\)")]
)
def test_faulty_task_is_named(fault, words):
    with pytest.raises(InputError, match=words):
        TaskData(Broken(fault)).draw(3, "cpu", 0, "same", "x")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Inverse(0), "n=0"),
        (lambda: Inverse(4, 0.5), "condition_number=0.5"),
        (lambda: Completion(4, 5), "rank=5"),
        (lambda: Completion(4, 2, -1), "noise=-1"),
        (lambda: LinearGaussian(4, 1.0, 0.5), "variances"),
        (lambda: TaskData(Inverse(3), batch_size=0), "batch_size is 0"),
        (lambda: TaskData(Inverse(3), train="hard"), "variant 'hard'"),
        (lambda: TaskData(Inverse(3), evaluate=[]), "name at least one of same, harder"),
    ],
)
def test_bad_settings_are_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()
