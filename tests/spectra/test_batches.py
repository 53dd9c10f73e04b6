"""Batches from every source that people have, against the float64 Hessian of the loss of all data."""

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from ired_interp.errors import InputError
from ired_interp.spectra import HessianOperator
from ired_interp.spectra.meter import MemoryMeter
from spectra_cases import GraphBatch, functional_hessian

VOCABULARY, PADDING = 5, -100


class Again:
    """Batches that are made anew for every pass."""

    def __init__(self, make: Callable[[], list[Any]]) -> None:
        self.make = make

    def __iter__(self) -> Iterator[Any]:
        return iter(self.make())


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(
        *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + sum(shape))
    )


X, Y = draw(10, 4), torch.arange(10) % 3
EDGES = torch.randint(0, 10, (2, 17), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3)).double()


@pytest.fixture(scope="module")
def expected(model: nn.Module) -> Tensor:
    return functional_hessian(model, lambda f: F.cross_entropy(f(X), Y))


def same(operator: HessianOperator, matrix: Tensor) -> None:
    torch.testing.assert_close(operator.dense(), matrix, rtol=0, atol=1e-12)


def entropy(model: nn.Module) -> Callable[[Any], Tensor]:
    return lambda b: F.cross_entropy(model(b[0]), b[1])


@pytest.mark.parametrize(
    "batches",
    [
        [(X[:4], Y[:4]), (X[4:], Y[4:])],
        ((X[:4], Y[:4]), (X[4:], Y[4:])),
        DataLoader(TensorDataset(X, Y), batch_size=4),
        DataLoader(TensorDataset(X, Y), batch_size=4, shuffle=True),
        Again(lambda: [(X[:1].clone(), Y[:1]), (X[1:].clone(), Y[1:])]),
    ],
    ids=["list", "tuple", "loader", "shuffling loader", "iterable"],
)
@pytest.mark.parametrize("memory", [None, "2GiB"])
def test_batches_make_the_hessian_of_all_data(
    model: nn.Module, expected: Tensor, batches: Any, memory: str | None
) -> None:
    state = torch.random.get_rng_state()
    operator = HessianOperator(entropy(model), model, batches=batches, memory=memory)
    operator.check()
    same(operator, expected)
    expected_gradient = torch.autograd.grad(F.cross_entropy(model(X), Y), list(model.parameters()))
    torch.testing.assert_close(operator.gradient(), operator.flatten(expected_gradient))
    assert torch.equal(state, torch.random.get_rng_state())


def test_batches_that_change_between_passes_are_refused(model: nn.Module) -> None:
    own = torch.Generator().manual_seed(0)
    shuffled = DataLoader(TensorDataset(X, Y), batch_size=4, shuffle=True, generator=own)
    lengths = iter([2, 1, 1, 3])
    shorter = Again(lambda: [(X, Y)] * next(lengths))
    for batches in (shuffled, shorter):
        operator = HessianOperator(entropy(model), model, batches=batches)
        with pytest.raises(InputError, match=r"changed between two passes .*shuffle=False"):
            operator @ torch.ones(operator.shape[0], dtype=torch.float64)


def test_batches_come_one_at_a_time_with_one_graph(model: nn.Module) -> None:
    x, y = draw(64, 4), torch.arange(64) % 3
    alive: list[weakref.ref[Tensor]] = []
    most = 0

    def fresh() -> Iterator[tuple[Tensor, Tensor]]:
        nonlocal most
        for start in range(0, 64, 8):
            made = x[start : start + 8].clone()
            alive.append(weakref.ref(made))
            most = max(most, sum(r() is not None for r in alive))
            yield made, y[start : start + 8]

    class Stream:
        def __iter__(self) -> Iterator[Any]:
            return fresh()

    def peak(operator: HessianOperator) -> int:
        v = torch.ones(operator.shape[0], dtype=torch.float64)
        with MemoryMeter(model.parameters()) as meter:
            operator @ v
            operator @ v
        return meter.peak

    streamed = HessianOperator(entropy(model), model, batches=Stream())
    one = HessianOperator(entropy(model), model, batches=[(x[:8], y[:8])])
    assert "0 of their graphs kept" in streamed.plan
    extra = x[:8].nbytes + streamed.shape[0] * 8  # a batch, and the sum of products so far
    assert peak(streamed) <= peak(one) + 2 * extra
    assert most <= 2
    same(streamed, functional_hessian(model, lambda f: F.cross_entropy(f(x), y)))


# ---- weights


def tokens(model: nn.Module) -> tuple[list[dict[str, Tensor]], nn.Module, Callable[..., Tensor]]:
    """Padded batches of 8 and of 24 tokens, a mean over tokens."""
    source = torch.Generator().manual_seed(0)
    ids, labels = torch.randint(0, VOCABULARY, (2, 8, 6), generator=source)
    labels[:4, 2:] = PADDING
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = nn.Sequential(nn.Embedding(VOCABULARY, 2), nn.Linear(2, VOCABULARY)).double()

    def loss(b: dict[str, Tensor], forward: Callable[..., Tensor] = net) -> Tensor:
        return F.cross_entropy(forward(b["ids"]).flatten(0, 1), b["labels"].flatten())

    parts = [slice(0, 4), slice(4, 8)]
    return [{"ids": ids[p], "labels": labels[p]} for p in parts], net, loss


def count_tokens(batch: dict[str, Tensor]) -> Tensor:
    return (batch["labels"] != PADDING).sum()


def test_a_mean_over_tokens_is_weighted_by_tokens(model: nn.Module) -> None:
    batches, net, loss = tokens(model)
    whole = {name: torch.cat([b[name] for b in batches]) for name in ("ids", "labels")}
    wanted = functional_hessian(net, lambda f: loss(whole, f))
    operator = HessianOperator(loss, net, batches=batches, weights=count_tokens)
    operator.check()
    same(operator, wanted)
    assert operator.weights == [0.25, 0.75]


def test_weights_by_rows_of_a_mean_over_tokens_are_named(
    model: nn.Module, recwarn: pytest.WarningsRecorder
) -> None:
    batches, net, loss = tokens(model)
    operator = HessianOperator(loss, net, batches=batches)
    with pytest.warns(UserWarning, match=r"no mean over the rows .* give as weights a function"):
        operator.check()
    recwarn.clear()
    for weights in ("equal", count_tokens):
        HessianOperator(loss, net, batches=batches, weights=weights).check()
    ragged = [batches[0], {name: t[:, :5] for name, t in batches[1].items()}]
    HessianOperator(loss, net, batches=ragged[:1]).check()
    assert not recwarn.list
    ragged[0]["labels"][0] = 1
    with pytest.warns(UserWarning, match="no mean over the rows"):
        HessianOperator(loss, net, batches=ragged).check()


def test_equal_weights_give_the_mean_and_sums_the_sum(model: nn.Module) -> None:
    batches = [(X[:2], Y[:2]), (X[2:], Y[2:])]
    parts = [
        functional_hessian(model, lambda f, b=b: F.cross_entropy(f(b[0]), b[1])) for b in batches
    ]
    same(HessianOperator(entropy(model), model, batches=batches, weights="equal"), sum(parts) / 2)
    same(HessianOperator(entropy(model), model, batches=batches, weights="sum"), sum(parts))


def test_graphs_are_weighted_by_what_counts_their_nodes(model: nn.Module) -> None:
    def loss(g: GraphBatch) -> Tensor:
        near = g.x.index_add(0, g.edges[0], g.x[g.edges[1]])
        return F.cross_entropy(model(near), g.y)

    graphs = [GraphBatch(X[:6], Y[:6], EDGES % 6), GraphBatch(X[6:], Y[6:], EDGES % 4)]
    with pytest.raises(InputError, match=r"rows .* cannot be counted: it holds a GraphBatch; give"):
        HessianOperator(loss, model, batches=graphs)
    joined = GraphBatch(X, Y, torch.cat([EDGES % 6, EDGES % 4 + 6], 1))
    near = X.index_add(0, joined.edges[0], X[joined.edges[1]])
    operator = HessianOperator(loss, model, batches=graphs, weights=lambda g: len(g.x))
    same(operator, functional_hessian(model, lambda f: F.cross_entropy(f(near), Y)))


# ---- what is refused


class Items(Dataset[Tensor]):
    def __getitem__(self, index: int) -> Tensor:
        return X[index]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"batches": (b for b in [(X, Y)])}, "generator, which can be gone through only once"),
        ({"batch": iter([(X, Y)])}, "list_iterator, which can be gone through only once"),
        ({"batches": Items()}, r"Items, whose items are no batches; give DataLoader\(dataset"),
        ({"batch": DataLoader(TensorDataset(X, Y), 2)}, "give it as batches="),
        ({"batches": X}, r"batches is one Tensor; .* \[batch\]"),
        ({"batches": {"x": X, "y": Y}}, r"batches is one dict; .* \[batch\]"),
        ({"batches": [X, Y]}, "list of tensors, like one batch"),
        ({"batches": (X, X)}, "tuple of tensors, like one batch"),
        ({"batches": 3}, "batches is a int; expected a DataLoader"),
        ({"batches": []}, "no batches"),
        ({"batch": (X, Y), "batches": [(X, Y)]}, "both batch and batches"),
        ({"batches": [(X, Y)], "weights": "tokens"}, "weights is 'tokens'; expected 'rows'"),
        ({"batches": [(X, Y)], "weights": lambda b: -1}, r"weights gave -1\.0 for a batch"),
        ({"batches": [(X, Y)], "weights": lambda b: 0}, "they weigh nothing"),
        ({"batches": [(X, Y[:9]), (X, Y)]}, r"its tensors have \[9, 10\] of them; give weights="),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_sentence(
    model: nn.Module, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words) as refusal:
        HessianOperator(entropy(model), model, **given)
    assert "\n" not in str(refusal.value)
