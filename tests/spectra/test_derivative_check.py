"""Products held against differences of gradients: wrong second derivatives are found, kinks and
rounding are not taken for them."""

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ired_interp.errors import RunError
from ired_interp.spectra import HessianOperator, SpectrumWarning
from ired_interp.spectra.finite_difference import Differences
from ired_interp.spectra.meter import MemoryMeter
from ired_interp.spectra.pieces import Pieces
from ired_interp.spectra.remedies import differentiable
from spectra_cases import Skew, dense_hessian

BOTH = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


class Kept(torch.autograd.Function):
    """SiLU whose backward takes the sigmoid from outside the graph."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.s = torch.sigmoid(x)
        ctx.save_for_backward(x)
        return x * ctx.s

    @staticmethod
    def backward(ctx, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return g * (ctx.s + x * ctx.s * (1 - ctx.s))


class Once(torch.autograd.Function):
    """SiLU whose backward is not differentiable; PyTorch then leaves its share out without a word."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return F.silu(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        s = torch.sigmoid(x)
        return g * (s + x * s * (1 - s))


class Activation(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def problem(
    module: nn.Module, shape: tuple[int, ...], dtype: torch.dtype, rows: int = 24
) -> tuple[nn.Module, Callable[[tuple[Tensor, Tensor]], Tensor], tuple[Tensor, Tensor]]:
    """A module with the cross-entropy of five classes and a batch."""
    draws = torch.Generator().manual_seed(2)
    module = module.to(dtype)
    x = torch.randn(rows, *shape, generator=draws, dtype=dtype)
    y = torch.randint(0, 5, (rows,), generator=draws)
    return module, lambda b: F.cross_entropy(module(b[0]), b[1]), (x, y)


def network(*hidden: nn.Module, width: int = 6) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, width), *hidden, nn.Linear(width, 5))


@BOTH
@pytest.mark.parametrize("function", [Kept, Once])
@pytest.mark.parametrize("before", [nn.Identity, nn.ReLU])
def test_wrong_second_derivatives_of_custom_functions_are_found_and_named(
    function: type[torch.autograd.Function], before: type[nn.Module], dtype: torch.dtype
) -> None:
    module = network(before(), nn.Linear(6, 6), Activation(function.apply))
    module, f, batch = problem(module, (8,), dtype)
    with pytest.raises(RunError, match=f"custom autograd.Function {function.__name__} "):
        HessianOperator(f, module, batch=batch).check()


@BOTH
def test_differences_of_gradients_stand_in_for_a_missing_second_derivative(
    dtype: torch.dtype,
) -> None:
    module, f, batch = problem(network(Activation(Once.apply)), (8,), dtype)
    right = nn.Sequential(module[0], nn.SiLU(), module[2])
    expected = dense_hessian(
        lambda: F.cross_entropy(right(batch[0]), batch[1]), list(right.parameters())
    )
    operator = HessianOperator(f, module, batch=batch, product="finite_difference")
    before = [p.detach().clone() for p in module.parameters()]
    operator.check()
    found = operator.dense()
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))
    error = float((found - expected).norm() / expected.norm())
    assert error < {torch.float32: 1e-3, torch.float64: 1e-8}[dtype]
    assert error / 10 < operator.product_error < {torch.float32: 5e-3, torch.float64: 1e-7}[dtype]
    gradient = torch.autograd.grad(F.cross_entropy(right(batch[0]), batch[1]), right.parameters())
    torch.testing.assert_close(operator.gradient(), torch.cat([g.flatten() for g in gradient]))


def deep(activation: Callable[[], nn.Module]) -> nn.Module:
    return network(
        *(layer for _ in range(15) for layer in (nn.Linear(32, 32), activation())), width=32
    )


def convolutional(*middle: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 8, 3), *middle, nn.Flatten(), nn.LazyLinear(5))


NETWORKS = {
    "relu, 15 layers": (lambda: deep(nn.ReLU), (8,)),
    "tanh, 15 layers": (lambda: deep(nn.Tanh), (8,)),
    "relu in place, windows": (
        lambda: convolutional(
            nn.GroupNorm(2, 8),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 8, 3),
            nn.PReLU(),
        ),
        (2, 12, 12),
    ),
    "batch normalisation": (
        lambda: convolutional(nn.BatchNorm2d(8), nn.LeakyReLU(0.1), nn.AdaptiveMaxPool2d(3)),
        (2, 12, 12),
    ),
    "hardswish": (lambda: network(nn.Hardswish(), nn.Linear(6, 6), nn.Hardtanh()), (8,)),
    "selu": (lambda: network(nn.SELU(), nn.Linear(6, 6), nn.Softshrink()), (8,)),
    "where": (lambda: network(Activation(lambda x: torch.where(x > 0, x, 0.1 * x))), (8,)),
    "abs": (lambda: network(Activation(torch.abs)), (8,)),
    "constant": (lambda: network(Activation(lambda x: 0 * x)), (8,)),
    "sharp": (lambda: network(Activation(lambda x: torch.sin(30 * x))), (8,)),
}


@BOTH
@pytest.mark.parametrize("name", NETWORKS)
def test_no_network_is_accused_of_its_kinks_or_its_rounding(name: str, dtype: torch.dtype) -> None:
    make, shape = NETWORKS[name]
    module = make()
    module(torch.zeros(2, *shape))  # lazy layers take their shape
    module, f, batch = problem(module, shape, dtype, rows=100)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpectrumWarning)
        HessianOperator(f, module, batch=batch).check()


def test_a_trained_network_whose_gradients_cancel_is_not_accused() -> None:
    module, f, batch = problem(network(nn.ReLU(), width=32), (8,), torch.float32)
    optimiser = torch.optim.Adam(module.parameters(), 1e-2)
    for _ in range(300):
        optimiser.zero_grad()
        f(batch).backward()
        optimiser.step()
    assert float(f(batch).detach()) < 1e-2
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpectrumWarning)
        HessianOperator(f, module, batch=batch).check()


def test_what_is_held_fixed_in_derivatives_is_warned_of() -> None:
    w = torch.ones(3, requires_grad=True)
    with pytest.warns(SpectrumWarning, match="detach"):
        HessianOperator(lambda: (w**2 * (w**3).detach()).sum(), w).check()


def test_a_difference_on_one_piece_is_the_hessian_and_one_across_kinks_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make, shape = NETWORKS["relu in place, windows"]
    module = make()
    module(torch.zeros(2, *shape))
    module, f, batch = problem(module, shape, torch.float64)
    operator = HessianOperator(f, module, batch=batch)
    draws = torch.Generator().manual_seed(1)
    v = torch.randn(operator.shape[0], generator=draws, dtype=torch.float64)
    parts, expected = list(operator.unflatten(v).values()), operator @ v

    def error() -> float:
        differences = Differences(lambda: f(batch), operator.parameters, differentiable)
        found = operator.flatten(differences.product(parts, 1e-4))
        return float((found - expected).norm() / expected.norm())

    assert error() < 1e-2
    monkeypatch.setattr(
        Pieces, "__torch_dispatch__", lambda s, f, t, a=(), k=None: f(*a, **k or {})
    )
    assert error() > 0.1


def test_the_check_never_holds_two_graphs() -> None:
    module, f, batch = problem(deep(nn.Tanh), (8,), torch.float32, rows=2000)
    operator = HessianOperator(f, module, batch=batch)
    v = torch.ones(operator.shape[0])
    with MemoryMeter(operator.parameters) as product:
        operator @ v
    operator._kept.clear()
    with MemoryMeter(operator.parameters) as check:
        operator.check()
    assert check.peak < 1.1 * product.peak


def test_a_derivative_that_is_wrong_in_a_later_batch_is_found() -> None:
    right, _, batch = problem(network(nn.SiLU()), (8,), torch.float64)
    wrong = nn.Sequential(right[0], Activation(Kept.apply), right[2])

    def objective(b: tuple[Tensor, Tensor, bool]) -> Tensor:
        return F.cross_entropy((wrong if b[2] else right)(b[0]), b[1])

    HessianOperator(objective, right, batches=[(*batch, False)] * 3).check()
    with pytest.raises(RunError, match="Kept"):
        HessianOperator(objective, right, batches=[(*batch, i == 2) for i in range(3)]).check()


def test_an_objective_that_changes_is_found_where_its_gradient_is_zero() -> None:
    calls, weights = [0], torch.zeros(6, requires_grad=True)

    def objective() -> Tensor:
        calls[0] += 1
        return calls[0] * weights.square().sum()

    with pytest.raises(RunError, match="two products of one vector differ"):
        HessianOperator(objective, weights).check()


def test_the_check_takes_two_products_and_builds_one_graph_that_is_kept() -> None:
    module, f, batch = problem(network(nn.Tanh()), (8,), torch.float64)
    calls = [0]

    def objective(b: tuple[Tensor, Tensor]) -> Tensor:
        calls[0] += 1
        return f(b)

    operator = HessianOperator(objective, module, batch=batch)
    operator.check()
    assert (operator.matvecs, calls[0]) == (2, 4), "one for the pieces, two ends of a difference"
    operator @ torch.ones(operator.shape[0], dtype=torch.float64)
    assert calls[0] == 4


@BOTH
@pytest.mark.parametrize("given", [True, False])
def test_a_slight_asymmetry_is_found(dtype: torch.dtype, given: bool) -> None:
    """One that is smaller than what differences of gradients show in float32."""
    w = torch.linspace(1, 2, 50, dtype=dtype).requires_grad_()
    operator = HessianOperator(lambda: Skew.apply(w, 2 * torch.ones_like(w), 5e-3), w)
    v = torch.randn(50, generator=torch.Generator().manual_seed(4)).to(dtype)
    with pytest.raises(RunError, match=r"not symmetric|differs from a difference"):
        operator.check(v if given else None)
