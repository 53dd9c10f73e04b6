"""One batch of any structure: its Hessian, its device, its checksum."""

from collections import UserDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence
from torch.utils.data import DataLoader, TensorDataset

from ired_interp.spectra import GaussNewtonOperator, HessianOperator
from ired_interp.spectra.structure import fingerprint, tensors, to_device
from spectra_cases import GraphBatch, functional_hessian

Pair = namedtuple("Pair", "x y")


@dataclass(frozen=True)
class Both:
    x: Tensor
    y: Tensor


X, Y = torch.linspace(-2, 2, 40, dtype=torch.float64).sin().reshape(10, 4), torch.arange(10) % 3
EDGES = torch.randint(0, 10, (2, 17), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3)).double()


@pytest.fixture(scope="module")
def expected(model: nn.Module) -> Tensor:
    return functional_hessian(model, lambda f: F.cross_entropy(f(X), Y))


def same(operator: HessianOperator | GaussNewtonOperator, matrix: Tensor) -> None:
    torch.testing.assert_close(operator.dense(), matrix, rtol=0, atol=1e-12)


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
        (GraphBatch(X, Y, EDGES), lambda b: (b.x, b.y)),
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
    graph = GraphBatch(X, Y, EDGES)
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
