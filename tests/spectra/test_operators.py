"""Operators against dense float64 matrices, held to 1e-10 of the norm: double rounding with
room."""

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ired_interp.errors import InputError, RunError
from ired_interp.spectra import GaussNewtonOperator, HessianOperator, empirical_fisher
from spectra_cases import Case, case, dense_hessian

CASES = [
    (m, o)
    for m in ("linear", "mlp", "convolution", "norm")
    for o in ("square", "entropy", "score", "input")
]
CASES.remove(("norm", "score"))  # PyTorch's own truth is wrong there: pytorch issue 175754


def close(a: Tensor, b: Tensor, rtol: float = 1e-10) -> None:
    """Fails with the entries that differ most."""
    difference = (a - b).abs()
    limit = rtol * max(1.0, float(b.abs().max()))
    worst = np.unravel_index(int(difference.argmax()), difference.shape)
    assert float(difference.max()) <= limit, (
        f"at {worst}: {a[worst]} instead of {b[worst]} (limit {limit:.1e})"
    )


def truth(c: Case) -> Tensor:
    return dense_hessian(lambda: c.objective(c.data), list(c.parameters.values()))


@pytest.mark.parametrize(("model", "objective"), CASES)
def test_products_equal_dense_hessian(model: str, objective: str) -> None:
    c = case(model, objective)
    operator = HessianOperator(lambda: c.objective(c.data), c.parameters)
    expected = truth(c)
    v = torch.randn(
        operator.shape[0], 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5)
    )
    close(operator @ v, expected @ v)
    assert operator.matvecs == 3
    close(operator.dense(), expected)


@pytest.mark.parametrize("memory", [None, "5KB", "90KB"])
def test_chunks_of_unequal_size_make_the_whole(memory: str | None) -> None:
    c = case("mlp", "square")
    data = [(c.data[0][:5], c.data[1][:5]), (c.data[0][5:], c.data[1][5:])]
    operator = HessianOperator(c.objective, c.parameters, batches=data, memory=memory)
    close(operator.dense(), truth(c))
    assert (len(operator.weights) > 2) == (memory == "5KB"), operator.plan


def test_memory_below_one_row_is_refused() -> None:
    c = case("mlp", "square")
    with pytest.raises(InputError, match="product over 2 rows needs more"):
        HessianOperator(c.objective, c.parameters, batch=c.data, memory=100)


def test_sum_reduction_adds_chunks() -> None:
    c = case("mlp", "square")
    whole = HessianOperator(c.objective, c.parameters, batches=[c.data, c.data], weights="sum")
    close(whole.dense(), 2 * truth(c))


def test_blocks_are_diagonal_blocks() -> None:
    c = case("mlp", "score")
    operator = HessianOperator(lambda: c.objective(c.data), c.module)
    expected, position = truth(c), 0
    assert list(operator.layers()) == ["0", "2", "4"]
    for layer in operator.layers().values():
        stop = position + layer.shape[0]
        close(layer.dense(), expected[position:stop, position:stop])
        position = stop


def test_gradient_and_pieces() -> None:
    c = case("mlp", "square")
    operator = HessianOperator(c.objective, c.parameters, batch=c.data)
    expected = torch.autograd.grad(c.objective(c.data), list(c.parameters.values()))
    pieces = operator.unflatten(operator.gradient())
    for piece, g in zip(pieces.values(), expected, strict=True):
        close(piece, g)


def test_float32_keeps_single_precision() -> None:
    c, exact = case("mlp", "score", torch.float32), case("mlp", "score")
    operator = HessianOperator(lambda: c.objective(c.data), c.parameters)
    for p, q in zip(exact.parameters.values(), c.parameters.values(), strict=True):
        p.data.copy_(q.data)
    same = Case(exact.objective, exact.parameters, tuple(d.double() for d in c.data))
    close(operator.dense().double(), truth(same), 200 * torch.finfo(torch.float32).eps)


@pytest.mark.parametrize("loss", ["square", "entropy"])
def test_gauss_newton_is_jacobian_product(loss: str) -> None:
    c = case("mlp", loss)

    def value(z: Tensor) -> Tensor:
        return (
            (z - c.data[1]).square().mean()
            if loss == "square"
            else nn.functional.cross_entropy(z, c.data[1])
        )

    operator = GaussNewtonOperator(lambda: c.module(c.data[0]), value, c.parameters)
    z = c.module(c.data[0])
    rows = [
        torch.autograd.grad(e, list(c.parameters.values()), retain_graph=True)
        for e in z.reshape(-1)
    ]
    jacobian = torch.stack([torch.cat([g.reshape(-1) for g in row]) for row in rows])
    middle = torch.autograd.functional.hessian(value, z.detach()).reshape(z.numel(), z.numel())
    close(operator.dense(), jacobian.T @ middle @ jacobian)


def test_empirical_fisher_is_mean_of_gradient_squares() -> None:
    c = case("mlp", "entropy")

    def losses(d: tuple[Tensor, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(c.module(d[0]), d[1], reduction="none")

    parameters = list(c.parameters.values())
    gradients = [torch.autograd.grad(e, parameters, retain_graph=True) for e in losses(c.data)]
    g = torch.stack([torch.cat([p.reshape(-1) for p in row]) for row in gradients])
    data = [(c.data[0][:3], c.data[1][:3]), (c.data[0][3:], c.data[1][3:])]
    close(empirical_fisher(losses, c.parameters, batches=data).dense(), g.T @ g / len(g))


def test_works_in_inference_mode() -> None:
    c = case("mlp", "score")
    expected = truth(c)
    with torch.inference_mode():
        operator = HessianOperator(c.objective, c.parameters, batch=c.data)
        found = operator.dense()
    close(found.clone(), expected)


def test_attention_has_a_hessian() -> None:
    torch.manual_seed(0)
    q = torch.randn(1, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    operator = HessianOperator(
        lambda: nn.functional.scaled_dot_product_attention(q, q, q).square().sum(), q
    )
    reference = dense_hessian(lambda: (torch.softmax(q @ q.mT / 2, -1) @ q).square().sum(), [q])
    close(operator.dense(), reference)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (nn.Dropout(0.5), r"draws random numbers \(.*\): call .eval\(\) on 1 \(Dropout\)"),
        (None, "draw the noise once"),
    ],
)
def test_random_objectives_are_named(layer: nn.Module | None, words: str) -> None:
    x = torch.ones(8, 4)
    module = nn.Sequential(nn.Linear(4, 8), layer or nn.Tanh(), nn.Linear(8, 1))
    noise = 0.0 if layer else 1.0
    operator = HessianOperator(
        lambda: (module(x) + noise * torch.randn(8, 1) * module(x)).square().sum(), module
    )
    with pytest.raises(RunError, match=words):
        operator.check()
    module.eval()
    HessianOperator(lambda: module(x).square().sum(), module).check()


def score_of(layer: nn.Module, x: Tensor) -> tuple[Callable[[], Tensor], nn.Module]:
    """A loss that contains a gradient through a norm."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), layer, nn.Tanh(), nn.Linear(6, 1)).double()

    def score() -> Tensor:
        y = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(module(y).sum(), y, create_graph=True)
        return (slope - 1).square().mean()

    return score, module


class ElementaryNorm(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        z = centred * (centred.square().mean(-1, keepdim=True) + self.eps).rsqrt()
        return z * self.weight + self.bias


def test_third_derivatives_that_are_wrong_in_torch_are_right_or_found() -> None:
    x = torch.randn(7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    operator = HessianOperator(*score_of(nn.LayerNorm(6), x))
    operator.check()
    objective, module = score_of(ElementaryNorm(6), x)
    close(operator.dense(), dense_hessian(objective, list(module.parameters())))
    with pytest.raises(RunError, match="not symmetric"):
        HessianOperator(*score_of(nn.BatchNorm1d(6), x)).check()


def test_changing_data_are_found() -> None:
    w = torch.ones(3, requires_grad=True)
    count = iter(range(100))
    with pytest.raises(RunError, match="data that change"):
        HessianOperator(lambda: (1 + next(count)) * w.square().sum(), w).check()


@pytest.mark.parametrize(
    ("objective", "parameters", "words"),
    [
        (lambda w: w, torch.ones(3, requires_grad=True), "scalar"),
        (lambda w: w.detach().sum(), torch.ones(3, requires_grad=True), "does not depend"),
        (lambda w: w.sum(), torch.ones(3), "requires_grad_"),
    ],
)
def test_unusable_objectives_are_refused(objective: object, parameters: Tensor, words: str) -> None:
    with pytest.raises(InputError, match=words):
        HessianOperator(lambda: objective(parameters), parameters) @ torch.ones(3)


@pytest.mark.process
def test_a_first_spectrum_imports_neither_the_compiler_nor_a_computer_algebra_system():
    """Each takes over a second, and PyTorch imports them at unlikely places."""
    program = """
import sys
import torch
from ired_interp.spectra import GaussNewtonOperator, HessianOperator, lanczos
w = torch.ones(5, requires_grad=True)
H = HessianOperator(lambda rows: (rows @ w**4).mean(), w, batch=torch.rand(4, 5), memory="1MiB")
lanczos(H, 2, progress=False)
rows = torch.rand(4, 5)
G = GaussNewtonOperator(lambda: rows @ w, lambda z: z.square().mean(), w)
lanczos(G, 2, progress=False)
assert not {"torch._dynamo", "sympy"} & set(sys.modules), set(sys.modules)
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True)


def test_a_released_graph_is_built_again_at_the_next_product():
    builds = []
    w = torch.tensor([1.0, 2.0], requires_grad=True)

    def objective():
        builds.append(None)
        return (w**3).sum()

    operator = HessianOperator(objective, w)
    first, again = operator @ torch.ones(2), operator @ torch.ones(2)
    operator.release()
    assert torch.equal(operator @ torch.ones(2), first)
    assert torch.equal(again, first)
    assert len(builds) == 2
