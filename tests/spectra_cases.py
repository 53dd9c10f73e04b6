"""Objectives and matrices with known spectra, and what ranks of the distributed test run."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.func import functional_call, hessian

from ired_interp.errors import RunError
from ired_interp.spectra import HessianOperator, density, lanczos, trace

SPECTRA = {
    "repeated": [10.0] * 4 + [9.0] * 3 + [8.5, *np.linspace(0.5, 5, 292)],
    "even": list(np.linspace(-3, 5, 300)),
    "identity": [2.0] * 50,
    "low rank": [3.0, 2.0, 1.0] + [0.0] * 97,
    "negative": list(-(np.linspace(1, 5, 100) ** 3)),
    "two": [1.0, 2.0],
}


@dataclass
class Case:
    """A scalar objective of a chunk of data, its parameters, and the data."""

    objective: Callable[[tuple[Tensor, Tensor]], Tensor]
    parameters: dict[str, Tensor]
    data: tuple[Tensor, Tensor]
    module: nn.Module | None = None


def _module(name: str, dtype: torch.dtype) -> nn.Module:
    layers: dict[str, list[nn.Module]] = {
        "linear": [nn.Linear(4, 3)],
        "mlp": [nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5), nn.SiLU(), nn.Linear(5, 3)],
        "convolution": [
            nn.Unflatten(1, (1, 4)),
            nn.Conv1d(1, 2, 2),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(6, 3),
        ],
        "norm": [nn.Linear(4, 6), nn.LayerNorm(6), nn.GELU(), nn.Linear(6, 3)],
    }
    return nn.Sequential(*layers[name]).to(dtype)


def case(model: str, objective: str, dtype: torch.dtype = torch.float64) -> Case:
    """Models "linear", "mlp", "convolution", "norm"; objectives "square", "entropy", "score",
    "input"."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        module = _module(model, dtype)
        x, z = torch.randn(7, 4, dtype=dtype), torch.randn(7, 4, dtype=dtype)
        target = torch.randn(7, 3, dtype=dtype)
    named = dict(module.named_parameters())
    if objective == "square":
        return Case(lambda d: (module(d[0]) - d[1]).square().mean(), named, (x, target), module)
    if objective == "entropy":
        return Case(
            lambda d: nn.functional.cross_entropy(module(d[0]), d[1]),
            named,
            (x, target.argmax(1)),
            module,
        )
    if objective == "input":
        y = x.clone().requires_grad_()
        return Case(lambda d: module(y).square().sum(), {"y": y}, (x, target), module)

    def score(d: tuple[Tensor, Tensor]) -> Tensor:
        y = d[0].detach().requires_grad_()
        (slope,) = torch.autograd.grad(module(y).square().sum(), y, create_graph=True)
        return (slope - d[1]).square().mean()

    return Case(score, named, (x, z), module)


def dense_hessian(objective: Callable[[], Tensor], parameters: list[Tensor]) -> Tensor:
    """The Hessian row by row, by differentiating each entry of the gradient: independent of every
    operator."""
    gradient = torch.autograd.grad(
        objective(), parameters, create_graph=True, materialize_grads=True
    )
    flat = torch.cat([g.reshape(-1) for g in gradient])
    rows = []
    for entry in flat:
        row = (
            torch.autograd.grad(entry, parameters, retain_graph=True, materialize_grads=True)
            if entry.requires_grad
            else [torch.zeros_like(p) for p in parameters]
        )
        rows.append(torch.cat([r.reshape(-1) for r in row]))
    return torch.stack(rows)


def functional_hessian(model: nn.Module, loss: Callable[[Callable[..., Tensor]], Tensor]) -> Tensor:
    """The Hessian by `torch.func` of a loss of the model, which it gets as a function."""
    named = dict(model.named_parameters())
    sizes = [p.numel() for p in named.values()]

    def of_vector(v: Tensor) -> Tensor:
        parts = zip(named.items(), v.split(sizes), strict=True)
        weights = {name: part.view_as(p) for (name, p), part in parts}
        return loss(lambda *args: functional_call(model, weights, args))

    return hessian(of_vector)(torch.cat([p.detach().reshape(-1) for p in named.values()]))


class GraphBatch:
    """As graph libraries have them: node tensors, edges, and a way to move that changes itself."""

    def __init__(self, x: Tensor, y: Tensor, edges: Tensor) -> None:
        self.x, self.y, self.edges = x, y, edges

    def to(self, device: torch.device) -> "GraphBatch":
        self.x, self.y, self.edges = (t.to(device) for t in (self.x, self.y, self.edges))
        return self

    def to_dict(self) -> dict[str, Tensor]:
        return {"x": self.x, "y": self.y, "edges": self.edges}


def matrix(eigenvalues: list[float], dtype: torch.dtype = torch.float64) -> Tensor:
    n = len(eigenvalues)
    q, _ = torch.linalg.qr(
        torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(n))
    )
    a = (q * torch.tensor(eigenvalues, dtype=torch.float64)) @ q.T
    return ((a + a.T) / 2).to(dtype)


class Skew(torch.autograd.Function):
    """Half of xᵀD x, whose second derivative has a share of each neighbour's entry in it."""

    @staticmethod
    def forward(ctx, x: Tensor, d: Tensor, share: float) -> Tensor:
        ctx.d, ctx.share = d, share
        ctx.save_for_backward(x)
        return (d * x * x).sum() / 2

    @staticmethod
    def backward(ctx, g: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        neighbour = (ctx.d * x).roll(1)
        return g * (ctx.d * x + ctx.share * (neighbour - neighbour.detach())), None, None


def skewed(
    dtype: torch.dtype, scale: float = 1.0, group: dist.ProcessGroup | None = None
) -> HessianOperator:
    """Five batches of which the last, which the check does not look at, is not symmetric.

    With a group, it is the second rank's.
    """
    w = torch.linspace(1, 2, 200, dtype=torch.float64).to(dtype).requires_grad_()
    d = torch.linspace(-1, 3, 200, dtype=torch.float64).to(dtype) * scale
    share = 0.05 if group is None or dist.get_rank(group) == 1 else 0.0
    data = [(torch.zeros(1), part) for part in (0.0, 0.0, 0.0, 0.0, share)]
    return HessianOperator(
        lambda b: Skew.apply(w, d, b[1]), w, batches=data, weights="equal", group=group
    )


def measure(operator: HessianOperator, folder: Path | None) -> dict[str, np.ndarray]:
    """What every solver finds with an operator."""
    found = lanczos(operator, 5, "BE", 1e-8, seed=4, progress=False, checkpoint=folder)
    return {
        "products": np.array(found.matvecs),
        "eigenvalues": found.eigenvalues.numpy(),
        "residuals": found.residuals.numpy(),
        "gradient": operator.gradient().numpy(),
        "density": density(operator, 3, 10, progress=False).values,
        "trace": np.array(trace(operator, 16, progress=False).value),
        "budget": np.array(lanczos(operator, 5, max_seconds=0.0, progress=False).matvecs),
    }


def sharded_product(rank: int) -> tuple[np.ndarray, np.ndarray]:
    """By differences of gradients, with parameters that FSDP shards, over three rows a rank."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    c = case("mlp", "square")
    fully_shard(c.module, mesh=init_device_mesh("cpu", (2,)))
    rows = tuple(d[3 * rank : 3 * rank + 3] for d in c.data)
    operator = HessianOperator(c.objective, c.module, batch=rows, product="finite_difference")
    operator.check()
    v = torch.ones(operator.shape[0], dtype=operator.dtype)
    product = (operator @ v).numpy()
    assert all(p.grad is None for p in c.module.parameters())
    return product, np.array(operator.product_error)


def worker(rank: int, port: int, folder: str) -> None:
    """One rank: joins the group, measures with its share of the data, writes what it found."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    c = case("mlp", "score")
    share = [tuple(d[:5] for d in c.data)] if rank == 0 else [tuple(d[5:] for d in c.data)]
    operator = HessianOperator(c.objective, c.parameters, batches=share, group=dist.group.WORLD)
    results = measure(operator, Path(folder) / "run")
    kept = Path(folder) / f"seen by {rank} alone"  # as on another host's disk
    for budget in (4, None):
        resumed = lanczos(
            operator, 5, "BE", 1e-8, seed=4, max_matvecs=budget, progress=False, checkpoint=kept
        )
    results["resumed"] = resumed.eigenvalues.numpy()
    results["products of all calls"] = np.array(resumed.matvecs)
    file = kept / "density.npz"
    results["resumed density"] = [
        density(operator, n, 10, progress=False, checkpoint=file) for n in (2, 3)
    ][1].values
    idle = HessianOperator(
        c.objective,
        c.parameters,
        batches=[c.data] if rank == 0 else [],
        group=dist.group.WORLD,
    )
    try:
        lanczos(skewed(torch.float64, group=dist.group.WORLD), 3, progress=False)
    except RunError as error:
        results["fault"] = np.array(str(error))
    results["idle"] = (idle @ torch.ones(idle.shape[0], dtype=idle.dtype)).numpy()
    results["sharded"], results["sharded error"] = sharded_product(rank)
    np.savez(Path(folder) / f"rank{rank}.npz", **results)
    dist.destroy_process_group()
