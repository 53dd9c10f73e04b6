"""Residual energies against autograd, their exact truth, and the laws they state."""

import pytest
import torch

from ired_interp.energy import Energy, MatrixEnergy, MLPEnergy, ResidualMLPEnergy
from ired_interp.energy.moments import Moments
from ired_interp.errors import InputError
from ired_interp.schedule import Schedule

CASES = {
    "squared, scaled condition": lambda: MLPEnergy(18, 9, 16, scale_condition=True),
    "residual": lambda: ResidualMLPEnergy(18, 9, 16),
    "residual, homogeneous": lambda: ResidualMLPEnergy(18, 9, 16, homogeneity=1.0),
    "residual, inverse size": lambda: ResidualMLPEnergy(9, 9, 16, linear=False, homogeneity=-1.0),
    "matrix": lambda: MatrixEnergy(9, 9, channels=5, hidden=7, blocks=2),
    "matrix, homogeneous": lambda: MatrixEnergy(18, 9, 5, 7, blocks=2, homogeneity=1.0),
}


@pytest.fixture(params=CASES)
def energy(request):
    torch.manual_seed(0)
    energy = CASES[request.param]().double()
    for parameter in energy.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    generator = torch.Generator().manual_seed(1)
    problems, answers = (
        torch.randn(50, width, generator=generator, dtype=torch.float64)
        for width in (energy.condition_dim, energy.solution_dim)
    )
    energy.adapt(1 + 2 * problems, 3 * answers)
    return energy


@pytest.fixture
def points(energy):
    generator = torch.Generator().manual_seed(2)
    x, y = (
        torch.randn(6, width, generator=generator, dtype=torch.float64)
        for width in (energy.condition_dim, energy.solution_dim)
    )
    return x, y, torch.tensor([0, 9, 4, 4, 2, 7])


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_gradient_equals_autograd_in_every_mode(energy, points, mode):
    x, y, k = points
    free = y.clone().requires_grad_()
    (expected,) = torch.autograd.grad(energy(x, free, k).sum(), free)
    with mode():
        value, gradient = energy.energy_and_gradient(x.clone(), y.clone(), k)
    # float64 rounding through a few layers; landscape 9 and small σ make numbers of 1e3.
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(value, energy(x, y, k), rtol=1e-12, atol=0)


def test_hessian_equals_autograd_and_is_symmetric(energy, points):
    hessian = energy.hessian(*points)
    expected = Energy.hessian(energy, *points)
    torch.testing.assert_close(
        hessian, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max())
    )
    if type(energy).hessian is not Energy.hessian:
        assert torch.equal(hessian, hessian.mT)
        few = energy.hessian(*points, memory=1.0)  # one row at a time
        torch.testing.assert_close(few, hessian, rtol=1e-12, atol=1e-12)


def test_parameter_gradients_of_a_loss_on_the_gradient(energy, points):
    x, y, k = points
    weights = list(energy.parameters())
    found = torch.autograd.grad(
        energy.gradient(x, y, k).square().sum(), weights, materialize_grads=True
    )
    free = y.clone().requires_grad_()
    (g,) = torch.autograd.grad(energy(x, free, k).sum(), free, create_graph=True)
    expected = torch.autograd.grad(g.square().sum(), weights, materialize_grads=True)
    for name, a, b in zip(dict(energy.named_parameters()), found, expected, strict=True):
        scale = float(b.abs().max())
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10 * max(scale, 1.0), msg=name)


@pytest.mark.process  # a compilation takes seconds
def test_compiles_without_graph_breaks(energy, points):
    compiled = torch.compile(energy.energy_and_gradient, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*points), energy.energy_and_gradient(*points))


def test_an_untrained_residual_energy_is_a_bowl_around_the_mean():
    energy = ResidualMLPEnergy(4, 3, 8)
    torch.nn.init.zeros_(energy.fc4.weight)
    torch.nn.init.zeros_(energy.fc4.bias)
    x, y = torch.randn(200, 4), 2 + torch.randn(200, 3)
    energy.adapt(x, y)
    schedule = Schedule()
    for k in (0, 5, 9):
        hessian = energy.hessian(x[:2], y[:2], k)
        expected = (torch.eye(3) / schedule.noise[k]).expand(2, 3, 3)
        torch.testing.assert_close(hessian, expected)  # the truth where a problem has one answer
        lowest = schedule.signal[k] * y.mean(0).expand(2, 3)
        gradient = energy.gradient(x[:2], lowest, k)
        # float32 rounding of the mean
        torch.testing.assert_close(gradient, torch.zeros(2, 3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("power", [1.0, -1.0])
@pytest.mark.parametrize("kind", [MatrixEnergy, ResidualMLPEnergy])
def test_proposals_scale_as_the_homogeneity_says(kind, power):
    torch.manual_seed(0)
    energy = kind(9, 9, homogeneity=power).double()
    for parameter in energy.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    x, y = torch.randn(2, 100, 9, dtype=torch.float64)
    energy.adapt(x, y)
    k = torch.full((100,), 3)
    before = energy.propose(energy.condition(x, k), y)
    after = energy.propose(energy.condition(3 * x, k), 3**power * y)
    # Sizes carry a floor of 1e-4 of the mean square, so that a condition of zeros has one.
    torch.testing.assert_close(after, 3**power * before, rtol=2e-3, atol=2e-3)


def test_a_matrix_energy_respects_permutations_of_rows_and_columns():
    torch.manual_seed(0)
    energy = MatrixEnergy(9, 9, channels=5, hidden=7, blocks=2).double()
    for parameter in energy.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x, y = torch.randn(2, 4, 3, 3, dtype=torch.float64)
    p = torch.tensor([2, 0, 1])

    def turned(z):  # the same permutation of rows and columns keeps the identity
        return z[:, p][:, :, p].flatten(1)

    torch.testing.assert_close(
        energy(x.flatten(1), y.flatten(1), 2), energy(turned(x), turned(y), 2)
    )


def test_matrix_energies_refuse_what_is_no_matrix():
    with pytest.raises(InputError, match="takes n × n matrices"):
        MatrixEnergy(5, 5)


def test_moments_are_those_of_the_problems():
    x, y = 2 + 3 * torch.randn(1000, 4), torch.randn(1000, 4)
    x[:, 1] = 7.0  # never varies
    moments = Moments(4, 4)
    moments.adapt(x, y)
    standard = moments.condition(x)
    assert standard[:, 1].abs().max() == 0
    kept = standard[:, [0, 2, 3]]
    torch.testing.assert_close(kept.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(kept.std(0), torch.ones(3), atol=1e-5, rtol=0)
    with pytest.raises(InputError, match="moments of 1 problems"):
        moments.adapt(x[:1], y[:1])
