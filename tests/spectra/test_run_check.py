"""What a run of Lanczos checks by the vectors that it needs in any case: its start's product is held
against a difference of gradients, its second step tells whether the operator is symmetric."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ired_interp.errors import RunError
from ired_interp.spectra import HessianOperator, MatrixOperator, Spectrum, SpectrumWarning, lanczos
from ired_interp.spectra.curvature_check import CurvatureCheck
from spectra_cases import skewed

BOTH = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
Batch = tuple[Tensor, Tensor, float]


class Fixed(torch.autograd.Function):
    """SiLU whose backward takes a share of the sigmoid from outside the graph."""

    @staticmethod
    def forward(ctx, x: Tensor, share: float) -> Tensor:
        ctx.s, ctx.share = torch.sigmoid(x), share
        ctx.save_for_backward(x)
        return x * ctx.s

    @staticmethod
    def backward(ctx, g: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        s = ctx.share * ctx.s.detach() + (1 - ctx.share) * torch.sigmoid(x)
        return g * (s + x * s * (1 - s)), None


def network(sizes: tuple[float, float] = (1, 1), seed: int = 0) -> nn.Module:
    """Three layers, of which the first two may be larger or smaller."""
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(8, 12), nn.Linear(12, 12), nn.LayerNorm(12), nn.Linear(12, 5))
    with torch.no_grad():
        for layer, size in zip(module, sizes, strict=False):
            layer.weight.mul_(size)
    return module.double()


def loss(module: nn.Module) -> Callable[[Batch], Tensor]:
    """Cross-entropy; a batch says which share of a derivative is left out."""

    def objective(batch: Batch) -> Tensor:
        x, y, share = batch
        hidden = module[1](Fixed.apply(module[0](x), share))
        return F.cross_entropy(module[3](F.silu(module[2](hidden))), y)

    return objective


def batches(*rows: int, share: float = 0.0, dtype: torch.dtype = torch.float64) -> list[Batch]:
    """The last one of them with the share of its derivative that is left out."""
    draws = torch.Generator().manual_seed(2)
    x = torch.randn(sum(rows), 8, generator=draws, dtype=torch.float64).to(dtype)
    y = torch.randint(0, 5, (sum(rows),), generator=draws)
    last = [0.0] * (len(rows) - 1) + [share]
    return list(zip(x.split(rows), y.split(rows), last, strict=True))


def start(operator: HessianOperator, seed: int = 4) -> Tensor:
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(operator.shape[0], generator=draws, dtype=torch.float64).to(operator.dtype)


@pytest.fixture(scope="module")
def bare() -> Spectrum:
    """Of a matrix, which nothing checks."""
    module = network()
    matrix = HessianOperator(loss(module), module, batches=batches(24)).dense()
    return lanczos(MatrixOperator(matrix), 4, "LM", 1e-4, progress=False)


@pytest.mark.parametrize("rows", [(24,), (10, 14), (4, 6, 2, 7, 5)])
def test_a_run_takes_no_product_for_the_check_alone(rows: tuple[int, ...], bare: Spectrum) -> None:
    module = network()
    operator = HessianOperator(loss(module), module, batches=batches(*rows))
    found = lanczos(operator, 4, "LM", 1e-4, progress=False)
    assert found.matvecs == bare.matvecs == operator.matvecs
    torch.testing.assert_close(found.eigenvalues, bare.eigenvalues)


@pytest.mark.parametrize("rows", [(24,), (10, 14), (4, 6, 2, 7, 5)])
def test_the_product_of_the_start_is_that_of_the_operator_to_the_bit(rows: tuple[int, ...]) -> None:
    module = network()
    operator = HessianOperator(loss(module), module, batches=batches(*rows))
    v = start(operator)
    product = operator.check(v)
    assert operator.matvecs == 1
    assert torch.equal(product, operator @ v)
    assert operator.check(v) is None, "nothing is left to check"


def test_where_the_start_shows_nothing_the_check_takes_vectors_of_its_own() -> None:
    def taken(objective: Callable[..., Tensor], parameters: Any, **data: Any) -> int:
        operator = HessianOperator(objective, parameters, **data)
        v = start(operator)
        assert torch.equal(operator.check(v), operator @ v)
        return operator.matvecs - 1

    for ratio, own in ((1e2, 0), (1e4, 1)):  # of sizes, of which the curvature knows nothing
        pair = [(torch.linspace(1, 2, 9) * size).requires_grad_() for size in (1, ratio)]
        assert taken(lambda p=pair: p[0].square().sum() + p[1].square().sum(), pair) == own + 1
    uneven, w = network((1e4, 1e-4)), torch.zeros(6, requires_grad=True)
    assert taken(loss(uneven), uneven, batches=batches(8, 8, 8)) == 3 + 1, "one over each batch"
    assert taken(lambda: w.square().sum(), w) == 2 + 1, "the gradient at a minimum says nothing"
    rough = torch.linspace(1, 2, 20).requires_grad_()
    assert taken(lambda: (300 * rough).sin().sum(), rough) == 1 + 1, "no difference settles"


@BOTH
def test_wrong_derivatives_of_a_batch_that_is_looked_at_end_a_run(dtype: torch.dtype) -> None:
    module = network().to(dtype)
    for rows in ((24,), (8, 8, 8)):
        data = batches(*rows, share=1.0, dtype=dtype)
        with pytest.raises(RunError, match=r"custom autograd\.Function Fixed "):
            lanczos(HessianOperator(loss(module), module, batches=data), 2, progress=False)
    w = torch.linspace(1, 2, 40, dtype=dtype).requires_grad_()
    operator = HessianOperator(lambda: (w**2 * (w**3).detach()).sum(), w)
    with pytest.warns(SpectrumWarning, match="detach"):
        lanczos(operator, 1, progress=False)


def test_a_run_finds_the_wrong_derivatives_that_a_check_alone_finds() -> None:
    """Slight ones, too, in layers whose parameters are small or large beside the others."""
    by_check = by_run = 0
    for share in (0.1, 0.3, 1.0):
        for sizes in ((1, 1), (5, 0.2), (0.1, 5)):
            for seed in range(4):
                for given in (False, True):
                    module = network(sizes, seed).float()
                    data = batches(24, share=share, dtype=torch.float32)
                    operator = HessianOperator(loss(module), module, batches=data)
                    try:
                        operator.check(start(operator, seed) if given else None)
                    except RunError:
                        by_run, by_check = by_run + given, by_check + (not given)
    assert by_check >= 10
    assert by_run >= by_check


@BOTH
@pytest.mark.parametrize("scale", [1.0, 1e30, 1e-30])
def test_an_operator_that_is_not_symmetric_is_found_at_the_second_step(
    dtype: torch.dtype, scale: float
) -> None:
    operator = skewed(dtype, scale)
    with pytest.raises(RunError, match=r"not symmetric \(to .*custom autograd.Function Skew"):
        lanczos(operator, 3, progress=False)
    assert operator.matvecs == 2 + 2, "two of the run, two of random vectors that confirm it"


def test_a_solver_after_a_run_that_ended_early_does_not_trust_it() -> None:
    operator = skewed(torch.float64)
    with pytest.warns(SpectrumWarning, match="did not converge"):
        lanczos(operator, 3, progress=False, max_matvecs=1)
    with pytest.raises(RunError, match="not symmetric"):
        operator.check()


def quadratic(matrix: Tensor) -> HessianOperator:
    w = torch.linspace(1, 2, len(matrix), dtype=matrix.dtype).requires_grad_()
    return HessianOperator(lambda: (w * (matrix @ w if matrix.ndim > 1 else matrix * w)).sum(), w)


def symmetric(n: int) -> Tensor:
    a = torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(n))
    return a + a.T


MATRICES = {
    "the identity": torch.ones(50_000),
    "nearly the identity": 1 + 1e-7 * torch.arange(50_000) / 50_000,
    "one large eigenvalue": torch.cat([torch.full((1,), 1e6), torch.ones(20_000)]),
    "graded": 10.0 ** -torch.linspace(0, 30, 3000, dtype=torch.float64),
    "flat": symmetric(400),
    "rank one": torch.ones(100, 100),
    "two rows": symmetric(2),
    "one row": torch.ones(1),
    "zero": torch.zeros(30),
}


@BOTH
@pytest.mark.parametrize("scale", [1.0, 1e30, 1e-30])
@pytest.mark.parametrize("name", MATRICES)
def test_no_symmetric_operator_is_suspected(
    name: str, scale: float, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the start is an eigenvector, so that rounding alone leads to the second."""
    suspected = []
    monkeypatch.setattr(CurvatureCheck, "asymmetry", lambda self: suspected.append(name))
    operator = quadratic((MATRICES[name] * scale).to(dtype))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpectrumWarning)
        lanczos(operator, 2, progress=False, max_matvecs=4)
    assert not suspected


class Killed(Exception):
    """The process ends here."""


@pytest.mark.parametrize("sizes", [(1, 1), (1e4, 1e-4)])
def test_a_run_that_goes_on_counts_the_products_of_one_without_a_break(
    tmp_path: Path, sizes: tuple[float, float]
) -> None:
    """Whether or not its check took products of its own."""
    module = network(sizes)

    def call(products: float, folder: Path | None) -> Spectrum:
        operator = HessianOperator(loss(module), module, batch=batches(24)[0])
        apply = operator._apply

        def killed(graph: Any, parts: list[Tensor]) -> list[Tensor]:
            nonlocal products
            products -= 1
            if products < 0:
                raise Killed
            return apply(graph, parts)

        operator._apply = killed  # type: ignore[method-assign]
        return lanczos(operator, 3, "LA", 1e-8, progress=False, checkpoint=folder, save_every=-1)

    whole, kills = call(float("inf"), None), 0
    while True:
        try:
            rest = call(8, tmp_path)
            break
        except Killed:
            kills += 1
    assert kills > 1
    assert torch.equal(rest.eigenvalues, whole.eigenvalues)
    assert rest.matvecs == whole.matvecs
