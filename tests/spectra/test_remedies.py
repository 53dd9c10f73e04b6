"""Models as people have them, against dense float64 Hessians: what lacks second derivatives gets them,
or is named."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from ired_interp.errors import InputError, RunError
from ired_interp.spectra import HessianOperator, SpectrumWarning, lanczos
from spectra_cases import dense_hessian


def agrees(
    objective: Callable[[Any], Tensor],
    module: nn.Module,
    batch: Any,
    reference: Callable[[Any], Tensor] | None = None,
) -> None:
    """Products pass the check without a warning and equal those of the dense Hessian, and the module
    is as it was."""
    before = {name: t.clone() for name, t in module.state_dict().items()}
    operator = HessianOperator(objective, module, batch=batch)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpectrumWarning)
        operator.check()
    v = torch.randn(
        operator.shape[0], dtype=operator.dtype, generator=torch.Generator().manual_seed(1)
    )
    found = operator @ v
    for name, t in module.state_dict().items():
        assert torch.equal(t, before[name]), f"{name} changed"
    with sdpa_kernel([SDPBackend.MATH]):
        dense = dense_hessian(lambda: (reference or objective)(batch), operator.parameters)
    assert float((found - dense @ v).norm() / (dense @ v).norm()) < 1e-10


class GPT(nn.Module):
    """One block of attention, the embedding tied to the output, padded sequences."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.position = nn.Embedding(7, 4), nn.Parameter(0.1 * torch.randn(5, 4))
        self.norm, self.qkv, self.join = nn.LayerNorm(4), nn.Linear(4, 12), nn.Linear(4, 4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embedding.weight
        self.kept = True

    def attention(self, h: Tensor, mask: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(h)).unflatten(-1, (3, 2, 2)).permute(2, 0, 3, 1, 4)
        seen = mask[:, None, None] & torch.ones(5, 5, dtype=torch.bool).tril()
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return h + self.join(mixed.transpose(1, 2).flatten(2))

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        h = self.embedding(tokens) + self.position
        h = (
            self.attention(h, mask)
            if self.kept
            else checkpoint(self.attention, h, mask, use_reentrant=False)
        )
        return self.head(h)


@pytest.fixture
def gpt() -> tuple[GPT, Callable[[dict[str, Tensor]], Tensor], dict[str, Tensor]]:
    torch.manual_seed(0)
    module = GPT().double()
    tokens, mask = torch.randint(0, 7, (3, 5)), torch.ones(3, 5, dtype=torch.bool)
    mask[0, 3:] = False

    def loss(b: dict[str, Tensor]) -> Tensor:
        logits = module(b["tokens"], b["mask"])[:, :-1]
        labels = b["tokens"].masked_fill(~b["mask"], -100)[:, 1:]
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten())

    return module, loss, {"tokens": tokens, "mask": mask}


def test_a_padded_gpt_with_tied_weights(gpt) -> None:
    module, loss, batch = gpt
    agrees(loss, module, batch)
    assert "head.weight" not in HessianOperator(loss, module, batch=batch).named


def test_attention_rebuilt_by_checkpointing_inside_products(gpt) -> None:
    module, loss, batch = gpt
    module.kept = False

    def without_checkpointing(b: dict[str, Tensor]) -> Tensor:
        module.kept = True
        value = loss(b)
        module.kept = False
        return value

    agrees(loss, module, batch, without_checkpointing)


def classes(*shape: int) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(2)
    x = torch.randn(6, *shape, generator=draws, dtype=torch.float64)
    return x, torch.randint(0, 3, (6,), generator=draws)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("norm", [nn.BatchNorm2d, lambda width: nn.GroupNorm(2, width)])
def test_a_convolutional_net_keeps_its_running_statistics(norm: Any, training: bool) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        *(nn.Conv2d(2, 4, 3), norm(4), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten()),
        nn.Linear(16, 3),
    )
    module = module.double().train(training)

    def fresh(b: tuple[Tensor, Tensor]) -> Tensor:
        state = {name: t.clone() for name, t in module.state_dict().items()}
        return F.cross_entropy(
            torch.func.functional_call(module, state | dict(module.named_parameters()), b[0]), b[1]
        )

    agrees(lambda b: F.cross_entropy(module(b[0]), b[1]), module, classes(2, 6, 6), fresh)


def test_running_statistics_stay_where_checkpointing_runs_a_layer_again() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3)).double()
    before = {name: t.clone() for name, t in module.state_dict().items()}

    def loss(b: tuple[Tensor, Tensor]) -> Tensor:
        return F.cross_entropy(checkpoint(module, b[0], use_reentrant=False), b[1])

    HessianOperator(loss, module, batch=classes(4)).check()
    assert all(torch.equal(t, before[name]) for name, t in module.state_dict().items())
    assert int(module[1].num_batches_tracked) == 0


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_a_recurrent_net(kind: type[nn.RNNBase]) -> None:
    torch.manual_seed(0)
    module = nn.ModuleList([kind(2, 3, batch_first=True), nn.Linear(3, 3)]).double()
    agrees(
        lambda b: F.cross_entropy(module[1](module[0](b[0])[0][:, -1]), b[1]), module, classes(4, 2)
    )
    assert torch.backends.cudnn.enabled


def test_an_embedding_with_sparse_gradients_counts_as_a_dense_one() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Embedding(6, 3, sparse=True), nn.Flatten(), nn.Linear(6, 3)).double()
    batch = torch.randint(0, 6, (8, 2)), torch.randint(0, 3, (8,))

    def dense(b: tuple[Tensor, Tensor]) -> Tensor:
        return F.cross_entropy(module[2](F.embedding(b[0], module[0].weight).flatten(1)), b[1])

    agrees(lambda b: F.cross_entropy(module(b[0]), b[1]), module, batch, dense)
    assert module[0].sparse


@pytest.mark.process  # compiling takes its time
def test_a_compiled_module_counts_as_an_uncompiled_one() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 3), nn.Tanh()).double()
    compiled = torch.compile(module, backend="aot_eager")
    compiled(classes(4)[0]).sum().backward()  # which compiles it
    agrees(
        lambda b: F.cross_entropy(compiled(b[0]), b[1]),
        module,
        classes(4),
        lambda b: F.cross_entropy(module(b[0]), b[1]),
    )


def test_autocast_around_the_solver_is_that_around_the_operator() -> None:
    torch.manual_seed(0)
    module, (x, y) = nn.Linear(8, 5), (torch.randn(24, 8), torch.randint(0, 5, (24,)))

    def loss() -> Tensor:
        return F.cross_entropy(module(x).float(), y)

    plain = HessianOperator(loss, module).dense()
    with torch.autocast("cpu", torch.bfloat16):
        inside = HessianOperator(loss, module)
        found = inside.dense()
        late = HessianOperator(loss, module)
    assert 1e-4 < float((found - plain).norm() / plain.norm()) < 2e-2
    assert torch.equal(late.dense(), found)
    outside = HessianOperator(loss, module)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(outside.dense(), plain)


q = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()


def forced() -> Tensor:
    with sdpa_kernel([SDPBackend.FLASH_ATTENTION]):
        return F.scaled_dot_product_attention(q, q, q).square().sum()


def reentrant() -> Tensor:
    return checkpoint(torch.tanh, q, use_reentrant=True).square().sum()


def sparse() -> Tensor:
    return F.embedding(torch.tensor([0, 1, 1]), q[0, 0], sparse=True).square().sum()


def without_derivative() -> Tensor:
    lengths = torch.tensor([8]), torch.tensor([2])
    return F.ctc_loss(q.view(8, 1, 4).log_softmax(-1), torch.tensor([[1, 2]]), *lengths)


@pytest.mark.parametrize(
    ("objective", "words", "differences_exist"),
    [
        (forced, r"attention kernel .* leave out its sdpa_kernel", True),
        (reentrant, "use_reentrant=False", False),
        (without_derivative, "_ctc_loss_backward has no derivative", True),
        (sparse, "sparse=False", False),
    ],
)
def test_what_lacks_second_derivatives_is_named(
    objective: Callable[[], Tensor], words: str, differences_exist: bool
) -> None:
    with pytest.raises(InputError, match=words):
        lanczos(HessianOperator(objective, [q]), 2, progress=False)
    with pytest.raises(InputError, match=words):
        HessianOperator(objective, [q]) @ torch.ones(32)
    if differences_exist:
        operator = HessianOperator(objective, [q], product="finite_difference")
        found = lanczos(operator, 2, progress=False, tol=1e-2)
        assert found.converged.all()


def test_differences_of_random_objectives_are_refused() -> None:
    module = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 3)).double()
    x, y = classes(4)
    operator = HessianOperator(
        lambda: F.cross_entropy(module(x), y), module, product="finite_difference"
    )
    with pytest.raises(RunError, match=r"draws random numbers .* call .eval\(\) on 1 \(Dropout\)"):
        operator.check()


def test_an_unknown_product_is_refused() -> None:
    with pytest.raises(InputError, match="expected 'autograd' or 'finite_difference'"):
        HessianOperator(forced, [q], product="forward")
