"""`memory=`: what it bounds is measured, and it never changes an answer."""

import warnings
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ired_interp.errors import InputError
from ired_interp.spectra import HessianOperator, SpectrumWarning, chunking
from ired_interp.spectra.host_memory import free_host_memory
from ired_interp.spectra.meter import MemoryMeter, OverLimitError
from spectra_cases import dense_hessian

KIB, MIB = 2**10, 2**20
Objective = Callable[[Any], Tensor]


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(7))


def net(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers).double()


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def masked() -> tuple[Objective, nn.Module, Any]:
    """A mean over the rows that a mask leaves, which are the first ones."""
    model = net(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1))
    data = draw(96, 4), draw(96), torch.arange(96) < 16

    def loss(b: Any) -> Tensor:
        return ((model(b[0])[:, 0] - b[1]).square() * b[2]).sum() / b[2].sum().clamp_min(1)

    return loss, model, data


def normalised() -> tuple[Objective, nn.Module, Any]:
    """BatchNorm in training mode."""
    model = net(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Tanh(), nn.Linear(3, 2))
    return lambda b: F.cross_entropy(model(b[0]), b[1]), model, (draw(96, 4), torch.arange(96) % 2)


def contrastive() -> tuple[Objective, nn.Module, Any]:
    """Every row against every other."""
    model = net(nn.Linear(4, 3))

    def loss(b: Any) -> Tensor:
        a, z = F.normalize(model(b[0]), dim=1), F.normalize(model(b[1]), dim=1)
        return F.cross_entropy(5 * a @ z.T, torch.arange(len(a)))

    return loss, model, (draw(96, 4), draw(96, 4).flip(0))


def summed() -> tuple[Objective, nn.Module, Any]:
    """A sum, though weights say a mean."""
    model = net(nn.Linear(4, 3), nn.Tanh())
    return lambda b: model(b).square().sum(), model, draw(96, 4)


def whole_only() -> tuple[Objective, nn.Module, Any]:
    """Fixed to the number of rows."""
    model = net(nn.Linear(4, 3), nn.Tanh())
    target = draw(96, 3)
    return lambda b: (model(b) - target).square().mean(), model, draw(96, 4)


def graph() -> tuple[Objective, nn.Module, Any]:
    """Edges between nodes: rows that cannot be counted."""
    model = net(nn.Linear(4, 3), nn.Tanh())
    edges = torch.randint(0, 96, (2, 300))

    def loss(b: Any) -> Tensor:
        return model(b[0].index_add(0, b[1][0], b[0][b[1][1]])).square().mean()

    return loss, model, (draw(96, 4), edges)


NO_MEANS = {
    masked: "no mean over the rows",
    normalised: "no mean over the rows",
    contrastive: "no mean over the rows",
    summed: "no mean over the rows",
    whole_only: "part of a batch cannot be computed",
    graph: "cannot be counted",
}


@pytest.mark.parametrize(
    ("case", "words"), NO_MEANS.items(), ids=lambda c: getattr(c, "__name__", "")
)
def test_a_loss_that_is_no_mean_over_rows_is_kept_whole_and_named(
    case: Callable[[], tuple[Objective, nn.Module, Any]],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loss, model, data = case()
    with pytest.warns(SpectrumWarning, match=rf"{words}.* not cut to fit memory=10 KiB: a product"):
        operator = HessianOperator(loss, model, batch=data, memory="10KiB")
    expected = dense_hessian(lambda: loss(data), list(model.parameters()))
    torch.testing.assert_close(operator.dense(), expected, rtol=0, atol=1e-12)
    assert "in 1 chunks" in operator.plan
    assert words in operator.plan
    monkeypatch.setattr(chunking, "available_memory", lambda device: 12 * KIB)
    with pytest.raises(InputError, match=rf"{words}.* more than the 12 KiB that are free"):
        HessianOperator(loss, model, batch=data, memory="10KiB")


def test_a_function_that_counts_makes_a_masked_mean_one_that_can_be_cut() -> None:
    loss, model, data = masked()
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpectrumWarning)
        operator = HessianOperator(
            loss, model, batch=data, memory="10KiB", weights=lambda b: b[2].sum()
        )
    assert len(operator.weights) > 2
    expected = dense_hessian(lambda: loss(data), list(model.parameters()))
    torch.testing.assert_close(operator.dense(), expected, rtol=0, atol=1e-12)


@pytest.mark.process
@pytest.mark.parametrize("several", [False, True])
def test_products_take_no_more_than_the_limit_and_use_it(several: bool) -> None:
    model = net(nn.Linear(20, 16), nn.Tanh(), nn.Linear(16, 3))
    x, y = draw(500, 20), torch.arange(500) % 3
    expected = dense_hessian(lambda: F.cross_entropy(model(x), y), list(model.parameters()))
    parts = [(x[i : i + 130], y[i : i + 130]) for i in range(0, 500, 130)]
    given: dict[str, Any] = {"batches": parts} if several else {"batch": (x, y)}
    kept = []
    for limit in (100 * KIB, 250 * KIB, 700 * KIB, 3 * MIB):
        operator = HessianOperator(
            lambda b: F.cross_entropy(model(b[0]), b[1]), model, **given, memory=limit
        )
        v = torch.ones(operator.shape[0], dtype=torch.float64)
        with MemoryMeter(model.parameters()) as meter:
            for _ in range(2):
                product = operator @ v
        assert meter.peak <= limit, operator.plan
        torch.testing.assert_close(product, expected @ v, rtol=0, atol=1e-12)
        kept.append(len(operator._kept) / len(operator.weights))
    assert kept == sorted(kept)
    assert kept[0] < 1 == kept[-1]


def test_a_measurement_ends_at_its_limit() -> None:
    w = torch.ones(MIB // 8, dtype=torch.float64, requires_grad=True)

    def forward() -> Tensor:
        return reduce(lambda value, _: value.sin(), range(4), w).sum()

    with MemoryMeter([w]) as free:
        forward()
    assert free.peak // MIB == 4
    for limit in (2 * MIB, free.peak):  # on the way there, and on the way back
        meter = MemoryMeter([w], limit)
        with pytest.raises(OverLimitError), meter:
            torch.autograd.grad(forward(), w, create_graph=True)
        assert limit < meter.peak <= limit + MIB


# ---- what the host has


def host(root: Path, available: int, groups: str, files: dict[str, dict[str, str]]) -> int:
    """What is free, in KiB, of a system with these files."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(f"MemTotal: 99999 kB\nMemAvailable:   {available} kB\n")
    (root / "proc/self/cgroup").write_text(groups)
    for folder, texts in files.items():
        place = root / "sys/fs/cgroup" / folder
        place.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (place / name).write_text(f"{text}\n")
    return free_host_memory(root) // KIB


def second(most: int | None, used: int, cached: int = 0) -> dict[str, str]:
    """Files of a cgroup of version 2, of sizes in KiB."""
    return {
        "memory.max": "max" if most is None else str(most * KIB),
        "memory.current": str(used * KIB),
        "memory.stat": f"anon 7\ninactive_file {cached * KIB}",
    }


def first(most: int, used: int, cached: int = 0) -> dict[str, str]:
    """Files of a cgroup of version 1, of sizes in KiB."""
    return {
        "memory.limit_in_bytes": str(most * KIB),
        "memory.usage_in_bytes": str(used * KIB),
        "memory.stat": f"inactive_file 1\ntotal_inactive_file {cached * KIB}",
    }


V1 = "5:devices:/\n4:cpu,memory:/slurm/job_7\n0::/\n"


@pytest.mark.parametrize(
    ("groups", "files", "left"),
    [
        ("0::/job\n", {}, 9000),
        ("0::/job\n", {"job": second(None, 10)}, 9000),
        ("0::/job\n", {"job": second(8000, 3000)}, 5000),
        ("0::/job\n", {"job": second(8000, 3000, 1000)}, 6000),
        ("0::/job/step\n", {"job/step": second(None, 5), "job": second(4000, 3000)}, 1000),
        ("0::/seen/from/outside\n", {"": second(2000, 500)}, 1500),
        ("0::/job\n", {"job": second(100, 300)}, 0),
        (V1, {"memory/slurm/job_7": first(7000, 3000, 500)}, 4500),
        (V1, {"memory/slurm/job_7": first(1 << 53, 0), "memory/slurm": first(6000, 0)}, 6000),
        (V1, {"memory": first(50000, 0)}, 9000),
    ],
    ids=lambda value: "" if isinstance(value, dict) else None,
)
def test_free_memory_is_what_system_and_cgroups_leave(
    tmp_path: Path, groups: str, files: dict[str, dict[str, str]], left: int
) -> None:
    assert host(tmp_path, 9000, groups, files) == left


def test_a_system_that_says_nothing_bounds_nothing(tmp_path: Path) -> None:
    assert free_host_memory(tmp_path) > 1 << 60
