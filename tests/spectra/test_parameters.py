"""What can be differentiated in, in which precision, and whether it is still what it was."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ired_interp.errors import InputError, RunError
from ired_interp.spectra import HessianOperator, SpectrumWarning, lanczos
from spectra_cases import dense_hessian


@pytest.mark.parametrize(
    ("parameter", "words"),
    [
        (nn.Parameter(torch.randn(3, dtype=torch.complex64)), "complex.*view_as_real"),
        (nn.Parameter(torch.randn(3, device="meta")), "meta device.*load the weights"),
        (torch.eye(3).to_sparse().requires_grad_(), "make it dense"),
        (nn.UninitializedParameter(), "run the module once"),
    ],
)
def test_parameters_without_a_hessian_are_refused(parameter: Tensor, words: str) -> None:
    with pytest.raises(InputError, match=words):
        HessianOperator(lambda: parameter.sum(), [parameter])


def test_one_parameter_under_two_names_counts_once() -> None:
    w = torch.ones(3, requires_grad=True)
    operator = HessianOperator(lambda: (w**4).sum(), {"first": w, "second": w})
    assert list(operator.named) == ["first"]
    torch.testing.assert_close(operator.dense(), 12 * torch.eye(3))


def in_place(p: Tensor) -> None:
    with torch.no_grad():
        p.mul_(2)


def through_data(p: Tensor) -> None:
    p.data.mul_(-1)


def one_number(p: Tensor) -> None:
    p.data[-1, -1] += 1e-6


def exchanged_rows(p: Tensor) -> None:
    p.data.copy_(p.data.flip(0))


def from_vector(p: Tensor) -> None:
    nn.utils.vector_to_parameters(3 * nn.utils.parameters_to_vector([p]).detach(), [p])


def by_numpy(p: Tensor) -> None:
    p.detach().numpy()[0, 0] = 0


@pytest.mark.parametrize(
    "write", [in_place, through_data, one_number, exchanged_rows, from_vector, by_numpy]
)
@pytest.mark.parametrize("kept", [True, False])
def test_changed_parameters_are_refused(write: Callable[[Tensor], None], kept: bool) -> None:
    w = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    batches = [torch.ones(2, 6), torch.ones(2, 6)]
    data = {"batch": batches[0]} if kept else {"batches": batches}
    operator = HessianOperator(lambda x: (x @ w**3).sum(), {"w": w}, **data)
    first = operator @ torch.ones(30)
    assert torch.equal(operator @ torch.ones(30), first)
    write(w)
    with pytest.raises(InputError, match=r"parameters changed after the first product \(w\)"):
        operator @ torch.ones(30)
    with pytest.raises(InputError, match="parameters changed"):
        operator.check()


@pytest.fixture
def bfloat16() -> tuple[nn.Module, Callable[[], Tensor], Tensor]:
    """A module in bfloat16, its loss, and the Hessian of the same weights in float64."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 5)).bfloat16()
    x, y = torch.randn(24, 8).bfloat16(), torch.randint(0, 5, (24,))
    exact = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 5)).double()
    exact.load_state_dict(module.state_dict())
    expected = dense_hessian(
        lambda: F.cross_entropy(exact(x.double()), y), list(exact.parameters())
    )
    return module, lambda: F.cross_entropy(module(x).float(), y), expected


@pytest.mark.parametrize("dtype", [None, torch.float64])
def test_vectors_of_a_bfloat16_model_are_float32_or_float64(bfloat16, dtype) -> None:
    module, loss, expected = bfloat16
    operator = HessianOperator(loss, module, dtype=dtype)
    assert operator.dtype == (dtype or torch.float32)
    assert operator.precision == torch.bfloat16
    found = operator.dense()
    assert 1e-4 < float((found - expected).norm() / expected.norm()) < 2e-2
    with pytest.warns(SpectrumWarning, match="bfloat16"):
        top = lanczos(operator, 2, "LA", 0.05, progress=False)
    assert top.converged.all()
    exact = torch.linalg.eigvalsh(expected).flip(0)[:2]
    torch.testing.assert_close(top.eigenvalues, exact, rtol=6e-2, atol=0)  # tol and rounding
    with pytest.warns(SpectrumWarning, match="rounding in bfloat16 .* the objective in float32"):
        fine = lanczos(operator, 2, "LA", 1e-5, progress=False)
    assert not fine.converged.any()


def test_autocast_is_named_and_keeps_float32_vectors(bfloat16) -> None:
    module, _, expected = bfloat16
    module.float()
    torch.manual_seed(0)
    nn.Linear(8, 6), nn.Linear(6, 5)  # the draws before the data
    x, y = torch.randn(24, 8), torch.randint(0, 5, (24,))

    def loss() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            logits = module(x)
        return F.cross_entropy(logits.float(), y)

    operator = HessianOperator(loss, module)
    with pytest.warns(SpectrumWarning, match=r"bfloat16 \(autocast"):
        operator.check()
    assert operator.precision == torch.bfloat16
    assert float((operator.dense() - expected).norm() / expected.norm()) < 2e-2
    differences = HessianOperator(loss, module, product="finite_difference")
    with pytest.raises(RunError, match="without autocast"):
        differences.check()


def test_parameters_of_several_dtypes_have_one_vector() -> None:
    a = torch.ones(2, dtype=torch.float64, requires_grad=True)
    b = torch.ones(2, dtype=torch.bfloat16, requires_grad=True)
    operator = HessianOperator(lambda: (a**2 * b.double() ** 2).sum(), [a, b])
    assert operator.dtype == torch.float64
    expected = 2 * torch.eye(4, dtype=torch.float64) + 4 * (torch.ones(2, 2) - torch.eye(2)).kron(
        torch.eye(2)
    )
    torch.testing.assert_close(operator.dense(), expected, rtol=1e-2, atol=0)


def test_vectors_in_half_precision_are_refused() -> None:
    w = torch.ones(3, requires_grad=True)
    with pytest.raises(InputError, match=r"expected torch\.float32 or torch\.float64"):
        HessianOperator(lambda: w.sum(), w, dtype=torch.float16)
