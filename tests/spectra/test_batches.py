"""Data in every form that people have, against the float64 Hessian of the loss of all of it."""

import weakref
from collections import UserDict, namedtuple
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, hessian
from torch.nn.utils.rnn import pack_sequence
from torch.utils.data import DataLoader, Dataset, TensorDataset

from ired_interp.errors import InputError
from ired_interp.spectra import GaussNewtonOperator, HessianOperator
from ired_interp.spectra.meter import MemoryMeter
from ired_interp.spectra.structure import fingerprint, tensors, to_device

Pair = namedtuple("Pair", "x y")
VOCABULARY, PADDING = 5, -100


@dataclass(frozen=True)
class Both:
    x: Tensor
    y: Tensor


class Graph:
    """As graph libraries have them: node tensors, edges, and a way to move that changes itself."""

    def __init__(self, x: Tensor, y: Tensor, edges: Tensor) -> None:
        self.x, self.y, self.edges = x, y, edges

    def to(self, device: torch.device) -> "Graph":
        self.x, self.y, self.edges = (t.to(device) for t in (self.x, self.y, self.edges))
        return self

    def to_dict(self) -> dict[str, Tensor]:
        return {"x": self.x, "y": self.y, "edges": self.edges}


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


def truth(model: nn.Module, loss: Callable[[Callable[..., Tensor]], Tensor]) -> Tensor:
    """The Hessian by `torch.func`, of a loss of the model as a function."""
    named = dict(model.named_parameters())
    sizes = [p.numel() for p in named.values()]

    def of_vector(v: Tensor) -> Tensor:
        parts = zip(named.items(), v.split(sizes), strict=True)
        weights = {name: part.view_as(p) for (name, p), part in parts}
        return loss(lambda *args: functional_call(model, weights, args))

    return hessian(of_vector)(torch.cat([p.detach().reshape(-1) for p in named.values()]))


@pytest.fixture(scope="module")
def expected(model: nn.Module) -> Tensor:
    return truth(model, lambda f: F.cross_entropy(f(X), Y))


def same(operator: HessianOperator | GaussNewtonOperator, matrix: Tensor) -> None:
    torch.testing.assert_close(operator.dense(), matrix, rtol=0, atol=1e-12)


def entropy(model: nn.Module) -> Callable[[Any], Tensor]:
    return lambda b: F.cross_entropy(model(b[0]), b[1])


# ---- one batch


@pytest.mark.parametrize(
    ("batch", "read"),
    [
        ((X, Y), lambda b: (b[0], b[1])),
        (next(iter(DataLoader(TensorDataset(X, Y), 10))), lambda b: (b[0], b[1])),
        ({"x": X, "y": Y, "name": "of a task"}, lambda b: (b["x"], b["y"])),
        ({"in": {"x": [X, None]}, "out": (Y, 3)}, lambda b: (b["in"]["x"][0], b["out"][0])),
        (Pair(X, Y), lambda b: (b.x, b.y)),
        (Both(X, Y), lambda b: (b.x, b.y)),
        (UserDict(x=X, y=Y), lambda b: (b["x"], b["y"])),
        (Graph(X, Y, EDGES), lambda b: (b.x, b.y)),
        ((X, Y, EDGES), lambda b: (b[0], b[1])),
        (torch.cat([X, Y[:, None].double()], 1), lambda b: (b[:, :4], b[:, 4].long())),
    ],
    ids=["tuple", "collated", "dict", "nested", "named", "frozen", "user", "graph", "edges", "one"],
)
def test_one_batch_of_any_structure(
    model: nn.Module, expected: Tensor, batch: Any, read: Callable[[Any], tuple[Tensor, Tensor]]
) -> None:
    def loss(b: Any) -> Tensor:
        x, y = read(b)
        return F.cross_entropy(model(x), y)

    same(HessianOperator(loss, model, batch=batch), expected)
    # For the cross-entropy of a linear map, both matrices are one.
    linear = model[2]
    hidden = HessianOperator(
        lambda b: F.cross_entropy(linear(read(b)[0][:, :4]), read(b)[1]), linear, batch=batch
    )
    squared = GaussNewtonOperator(
        lambda b: linear(read(b)[0][:, :4]),
        lambda z, b: F.cross_entropy(z, read(b)[1]),
        linear,
        batch=batch,
    )
    same(squared, hidden.dense())


def test_a_batch_is_moved_as_a_whole_and_the_given_one_stays() -> None:
    packed = pack_sequence([torch.ones(3, 2), torch.ones(2, 2)])
    graph = Graph(X, Y, EDGES)
    batch = {"a": Both(X, Y), "b": [Pair(X, Y), 7], "c": UserDict(x=X), "d": graph}
    moved = to_device(batch, torch.device("meta"))
    assert {t.device.type for t in tensors(moved)} == {"meta"}
    assert {t.device.type for t in tensors(batch)} == {"cpu"}
    assert [type(part) for part in moved.values()] == [type(part) for part in batch.values()]
    assert moved["b"][1] == 7
    assert graph.x.device.type == "cpu"
    assert to_device(batch, torch.device("cpu")) is batch
    assert type(to_device(packed, torch.device("cpu"))) is type(packed)


def test_checksums_know_order_shape_and_values() -> None:
    a = torch.tensor([[1.0, float("nan")], [2.0, 3.0]])
    assert fingerprint((a, {"b": a.bool()})) == fingerprint((a.clone(), {"b": a.bool()}))
    assert fingerprint(X) != fingerprint(X.flip(0))
    assert fingerprint(X) != fingerprint(X.T)
    assert fingerprint(torch.tensor(2)) != fingerprint(torch.tensor(3))
    assert fingerprint(torch.tensor([1j])) != fingerprint(torch.tensor([2j]))
    assert fingerprint(torch.zeros(0, 3)) == fingerprint(torch.zeros(0, 3))


# ---- many batches


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
    same(streamed, truth(model, lambda f: F.cross_entropy(f(x), y)))


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
    wanted = truth(net, lambda f: loss(whole, f))
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
    parts = [truth(model, lambda f, b=b: F.cross_entropy(f(b[0]), b[1])) for b in batches]
    same(HessianOperator(entropy(model), model, batches=batches, weights="equal"), sum(parts) / 2)
    same(HessianOperator(entropy(model), model, batches=batches, weights="sum"), sum(parts))


def test_graphs_are_weighted_by_what_counts_their_nodes(model: nn.Module) -> None:
    def loss(g: Graph) -> Tensor:
        near = g.x.index_add(0, g.edges[0], g.x[g.edges[1]])
        return F.cross_entropy(model(near), g.y)

    graphs = [Graph(X[:6], Y[:6], EDGES % 6), Graph(X[6:], Y[6:], EDGES % 4)]
    with pytest.raises(InputError, match=r"rows .* cannot be counted: it holds a Graph; give"):
        HessianOperator(loss, model, batches=graphs)
    joined = Graph(X, Y, torch.cat([EDGES % 6, EDGES % 4 + 6], 1))
    near = X.index_add(0, joined.edges[0], X[joined.edges[1]])
    operator = HessianOperator(loss, model, batches=graphs, weights=lambda g: len(g.x))
    same(operator, truth(model, lambda f: F.cross_entropy(f(near), Y)))


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
