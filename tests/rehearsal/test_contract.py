"""What a task and an energy owe the framework: each breach is found."""

import pytest
import torch

from ired_interp.energy import Energy
from ired_interp.module import IREDModule
from ired_interp.rehearsal.contract import check_energy, check_gradient
from ired_interp.rehearsal.fault import Fault
from ired_interp.tasks.base import Problems
from rehearsals import GOOD, SMALL, checks, energy, failure, passed


def test_a_task_that_draws_numpy_arrays(user_module):
    user_module(
        "drawing",
        "class Arrays(Inverse):\n    def sample(self, *a):\n"
        "        return Problems(*(t.numpy() for t in super().sample(*a)))\n",
    )
    check, message = failure("fit", *SMALL[:2], "--data.task", "drawing.Arrays")
    assert check == "problems"
    assert "inverse draws x as numpy.ndarray | return torch tensors from its sample()" in message


def test_a_task_that_draws_another_type_or_values_that_are_no_numbers(user_module):
    text = (
        "class Bad(Inverse):\n    def sample(self, *a):\n"
        "        x, y = super().sample(*a)\n        return Problems({})\n"
    )
    user_module("double", text.format("x.double(), y"))
    assert (
        "inverse draws x as torch.float64, but the model's weights are torch.float32"
        in failure("fit", *SMALL[:2], "--data.task", "double.Bad")[1]
    )
    user_module("infinite", text.format("x, y / 0"))
    check, message = failure("fit", *SMALL[:2], "--data.task", "infinite.Bad")
    assert check == "problems"
    assert "drew y with NaN or infinite values" in message


WRONG = {
    "numpy": (
        "return away.square().sum(1).detach().numpy()",
        "",
        "energy",
        "returned an energy as numpy.ndarray",
    ),
    "column": (
        "return away.square().sum(1, keepdim=True)",
        "",
        "energy",
        "energy of shape (4, 1) for 4 rows",
    ),
    "scalar": ("return away.square().sum()", "", "energy", "energy of shape () for 4 rows"),
    "nan": ("return away.square().sum(1) / 0", "", "energy", "not finite in landscape 0"),
    "mixed": ("return away.square().sum(1) * y.sum()", "", "energy", "among others"),
    "gradient": (
        GOOD,
        "def evaluate_with_gradient(self, context, y):\n"
        "        return self.evaluate(context, y), y - self.linear(context[0])",
        "gradient",
        "from what autograd says of its energy",
    ),
    "transposed": (
        GOOD,
        "def evaluate_with_gradient(self, context, y):\n"
        "        return self.evaluate(context, y), 2 * (y - self.linear(context[0])).T",
        "gradient",
        "returned a gradient of shape (16, 4) for y of (4, 16)",
    ),
    "detached": (
        "return (away.detach() * away).sum(1)",
        "",
        "gradient",
        "from a central difference of its energy",
    ),
}


@pytest.mark.process
@pytest.mark.parametrize("kind", WRONG)
def test_an_energy_that_breaks_its_contract(user_module, kind: str):
    evaluate, more, expected, words = WRONG[kind]
    user_module(f"energy_{kind}", energy(evaluate, more))
    check, message = failure("fit", *SMALL[:2], "--model.energy", f"energy_{kind}.Bowl")
    assert check == expected
    assert f"Bowl {words}" in message or words in message


def test_an_energy_that_keeps_its_contract(user_module):
    user_module("fine", energy())
    passed(checks(["fit", *SMALL[:2], "--model.energy", "fine.Bowl"]))


class Quartic(Energy):
    """Σ(y + x)⁴, whose gradient is right up to a factor."""

    def __init__(self, factor: float) -> None:
        super().__init__(5, 5)
        self.factor = factor

    def evaluate(self, context, y):
        return (y + context[0]).pow(4).sum(1)

    def evaluate_with_gradient(self, context, y):
        return self.evaluate(context, y), self.factor * 4 * (y + context[0]).pow(3)


def test_the_gradient_is_held_against_its_stated_tolerance():
    problems = Problems(*torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0)))
    for factor in (1, 1.0005):
        module = IREDModule(Quartic(factor))
        check_energy(module, problems)
        check_gradient(module, problems)
    with pytest.raises(Fault, match="autograd"):
        check_gradient(IREDModule(Quartic(1.005)), problems)
