"""Twins of shorter second derivatives against PyTorch's own, to every order that objectives take."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad

from ired_interp.energy.silu import silu_derivative
from ired_interp.spectra import HessianOperator
from ired_interp.spectra.causes import custom_functions
from ired_interp.spectra.twins import short_derivatives
from spectra_cases import dense_hessian

OPERATIONS: dict[str, tuple[Callable[..., Tensor], list[tuple[int, ...]]]] = {
    "conv1d": (lambda x, w, b: F.conv1d(x, w, b, padding=1), [(2, 4, 7), (6, 4, 3), (6,)]),
    "conv2d": (lambda x, w: F.conv2d(x, w), [(2, 4, 5, 6), (3, 4, 3, 2)]),
    "conv2d, all settings": (
        lambda x, w, b: F.conv2d(x, w, b, (2, 1), (1, 2), (1, 2), 2),
        [(2, 4, 7, 6), (6, 2, 3, 2), (6,)],
    ),
    "conv3d": (lambda x, w: F.conv3d(x, w, stride=2), [(2, 2, 3, 4, 3), (2, 2, 2, 2, 2)]),
    "linear": (lambda x, w, b: F.linear(x, w, b), [(3, 4), (5, 4), (5,)]),
    "linear, of rows of rows": (lambda x, w: F.linear(x.mT, w), [(2, 4, 3), (5, 4)]),
    "group norm": (lambda x, w, b: F.group_norm(x, 2, w, b, 0.1), [(3, 4, 2, 3), (4,), (4,)]),
    "group norm of vectors": (lambda x, w, b: F.group_norm(x, 2, w, b), [(3, 6), (6,), (6,)]),
    "layer norm": (lambda x, w, b: F.layer_norm(x, (5,), w, b), [(3, 2, 5), (5,), (5,)]),
    "layer norm, no weight": (lambda x: F.layer_norm(x, (2, 5), eps=0.1), [(3, 2, 5)]),
    "relu": (lambda x: F.relu(x) ** 3, [(3, 4)]),
    "gelu": (lambda x: F.gelu(x), [(3, 4)]),
    "silu": (lambda x: F.silu(x), [(3, 4)]),
    "silu's derivative": (silu_derivative, [(3, 4)]),
}


def derivatives(
    f: Callable[..., Tensor], given: list[Tensor], order: int, composed: bool = False
) -> list[list[Tensor]]:
    """Derivatives of a sum of f's squares, each along a random vector, of every order up to one."""
    source = torch.Generator().manual_seed(1)
    value, found = f(*given).pow(2).sum(), []
    for _ in range(order):
        slopes = torch.autograd.grad(value, given, create_graph=True)
        found.append([s.detach() for s in slopes])
        along = [torch.randn(s.shape, dtype=s.dtype, generator=source) for s in slopes]
        value = sum(((s * v).sum() for s, v in zip(slopes, along, strict=True)), value * 0)
    return found


def elementary_norm(x: Tensor, eps: float, dims: tuple[int, ...]) -> Tensor:
    centred = x - x.mean(dims, keepdim=True)
    return centred * (centred.square().mean(dims, keepdim=True) + eps).rsqrt()


def elementary_group_norm(eps: float) -> Callable[..., Tensor]:
    def norm(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        z = elementary_norm(x.reshape(len(x), 2, -1), eps, (2,)).view(x.shape)
        shape = -1, *[1] * (x.ndim - 2)
        return z * w.view(shape) + b.view(shape)

    return norm


# PyTorch's third derivatives of norms are wrong (its issue 175754): the truth is elementary.
ELEMENTARY: dict[str, Callable[..., Tensor]] = {
    "group norm": elementary_group_norm(0.1),
    "group norm of vectors": elementary_group_norm(1e-5),
    "layer norm": lambda x, w, b: elementary_norm(x, 1e-5, (2,)) * w + b,
    "layer norm, no weight": lambda x: elementary_norm(x, 0.1, (1, 2)),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_derivatives_of_four_orders_are_the_true_ones(name: str) -> None:
    operation, shapes = OPERATIONS[name]
    source = torch.Generator().manual_seed(0)
    given = [torch.randn(s, dtype=torch.float64, generator=source) for s in shapes]
    given = [t.requires_grad_() for t in given]
    with short_derivatives():
        assert custom_functions(operation(*given)), "the operation has no twin"
        found = derivatives(operation, given, 4)
    truth = derivatives(ELEMENTARY.get(name, operation), given, 4)
    for mine, true in zip(found, truth, strict=True):
        for a, b in zip(mine, true, strict=True):
            assert float((a - b).abs().max()) <= 1e-10 * (1 + float(b.abs().max()))


class Net(nn.Module):
    """All the operations; an input that needs no gradient, a weight that is fixed."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.norm, self.rows = nn.GroupNorm(2, 4), nn.LayerNorm(4)
        self.fixed, self.last = nn.Linear(4, 6).requires_grad_(False), nn.Linear(6, 4, bias=False)
        self.second.weight.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        h = F.silu(self.norm(F.relu(self.first(x))))
        h = h + self.norm(self.second(h))
        return self.last(self.fixed(self.rows(F.gelu(h.mean((2, 3))))).sin())


def test_a_kept_graph_gives_the_products_of_the_dense_hessian_again_and_again() -> None:
    torch.manual_seed(0)
    net, x = Net().double(), torch.randn(3, 2, 5, 5, dtype=torch.float64)
    y = torch.randn(3, 4, dtype=torch.float64)
    operator = HessianOperator(lambda: (net(x) * y).sum().square(), net)
    dense = dense_hessian(lambda: (net(x) * y).sum().square(), operator.parameters)
    for seed in range(2):
        source = torch.Generator().manual_seed(seed)
        v = torch.randn(operator.shape[0], dtype=torch.float64, generator=source)
        assert float((operator @ v - dense @ v).norm() / (dense @ v).norm()) < 1e-12


def test_what_the_twins_cannot_take_stays_as_it_is() -> None:
    x, w = torch.randn(2, 3, 5), torch.randn(3, 3, 3, requires_grad=True)
    assert not custom_functions(silu_derivative(w))

    with short_derivatives():
        taken: list[Any] = [
            F.conv1d(x, w, padding="same"),
            F.conv1d(x[0], w),
            F.gelu(w, approximate="tanh"),
            F.relu(w * 1, inplace=True),
            F.linear(x[0, 0, :3], w[0]),
            F.conv1d(x.bfloat16(), w.bfloat16()),
        ]
        with torch.autocast("cpu", torch.bfloat16):
            taken.append(F.conv1d(x, w))
        with torch.no_grad():
            assert not F.gelu(w).requires_grad
        slope = torch.func.grad(lambda w: F.gelu(w).sum())(w.detach())
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(w.detach(), torch.ones_like(w))
            assert torch.allclose(forward_ad.unpack_dual(F.gelu(dual)).tangent, slope)
    assert not any(custom_functions(result) for result in taken)


def test_the_functions_are_put_back_also_after_an_error_and_from_two_threads() -> None:
    before = F.gelu, F.conv2d, torch.conv2d
    first, second = short_derivatives(), short_derivatives()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert F.gelu is not before[0]
    second.__exit__(None, None, None)
    with pytest.raises(ZeroDivisionError), short_derivatives():
        1 / 0  # noqa: B018
    assert (F.gelu, F.conv2d, torch.conv2d) == before
