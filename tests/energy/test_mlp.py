"""The closed form of the MLP energy against autograd, in every mode it is used in."""

import pytest
import torch

from ired_interp.energy import Energy, MLPEnergy
from ired_interp.errors import InputError


@pytest.fixture
def points(small_energy):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(7, 6, generator=generator, dtype=torch.float64)
    y = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    return x, y, torch.tensor([0, 9, 4, 4, 2, 7, 1])


def autograd(energy, x, y, k, create_graph=False):
    y = y.clone().requires_grad_()
    return torch.autograd.grad(energy(x, y, k).sum(), y, create_graph=create_graph)[0]


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_gradient_equals_autograd_in_every_mode(small_energy, points, mode):
    expected = autograd(small_energy, *points)
    with mode():
        value, gradient = small_energy.energy_and_gradient(*points)
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-12)  # float64 rounding
    torch.testing.assert_close(value, small_energy(*points), rtol=1e-12, atol=0)


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_general_route_equals_closed_form(small_energy, points, mode):
    x, y, k = points
    with mode():
        value, gradient = Energy.evaluate_with_gradient(
            small_energy, small_energy.condition(x, k), y
        )
        torch.testing.assert_close(gradient, small_energy.gradient(x, y, k), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(value, small_energy(x, y, k), rtol=1e-12, atol=0)


def test_parameter_gradients_of_a_loss_on_the_gradient(small_energy, points):
    found = torch.autograd.grad(
        small_energy.gradient(*points).square().sum(), list(small_energy.parameters())
    )
    loss = autograd(small_energy, *points, create_graph=True).square().sum()
    expected = torch.autograd.grad(loss, list(small_energy.parameters()), materialize_grads=True)
    for name, a, b in zip(dict(small_energy.named_parameters()), found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12, msg=name)


@pytest.mark.process
def test_compiles_without_graph_breaks(small_energy, points):
    compiled = torch.compile(small_energy.energy_and_gradient, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*points), small_energy.energy_and_gradient(*points))


def test_energies_are_told_apart_under_autocast():
    energy = MLPEnergy(6, 5, width=16)
    x, y = torch.randn(2, 6), torch.randn(2, 5)
    with torch.autocast("cpu", torch.bfloat16):
        value, gradient = energy.energy_and_gradient(x, y, 0)
    assert value.dtype == gradient.dtype == torch.float32


def test_int_landscape_means_every_row(small_energy, points):
    x, y, _ = points
    torch.testing.assert_close(small_energy(x, y, 3), small_energy(x, y, torch.full((7,), 3)))


class Vector(MLPEnergy):
    """Wrong on purpose: an energy per entry."""

    def evaluate(self, context, y):
        return self.output(context, y)


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda e, x, y: e(x[:, 1:], y, 0), r"x has shape \(7, 5\)"),
        (lambda e, x, y: e(x, y[0], 0), r"y has shape \(5,\)"),
        (lambda e, x, y: e(x[:2], y, 0), "x has 2 rows and y has 7"),
        (lambda e, x, y: e(x, y, 10), "landscape 10 does not exist"),
        (lambda e, x, y: e(x, y, torch.zeros(7)), "k is torch.float32"),
        (lambda e, x, y: MLPEnergy(6, 5, landscapes=0), "landscapes=0"),
        (lambda e, x, y: Vector(6, 5, 16).double()(x, y, 0), r"shape \(7, 5\) for 7 rows"),
    ],
)
def test_bad_input_is_one_sentence(small_energy, points, break_it, words):
    with pytest.raises(InputError, match=words):
        break_it(small_energy, points[0], points[1])
