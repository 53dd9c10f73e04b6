"""Small objectives with known or computable dense Hessians, shared by the tests of operators."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


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
        "convolution": [nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(6, 3)],
        "norm": [nn.Linear(4, 6), nn.LayerNorm(6), nn.GELU(), nn.Linear(6, 3)],
    }
    return nn.Sequential(*layers[name]).to(dtype)


def case(model: str, objective: str, dtype: torch.dtype = torch.float64) -> Case:
    """Models "linear", "mlp", "convolution", "norm"; objectives "square", "entropy", "score", "input"."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        module = _module(model, dtype)
        x, z = torch.randn(7, 4, dtype=dtype), torch.randn(7, 4, dtype=dtype)
        target = torch.randn(7, 3, dtype=dtype)
    named = dict(module.named_parameters())
    if objective == "square":
        return Case(lambda d: (module(d[0]) - d[1]).square().mean(), named, (x, target), module)
    if objective == "entropy":
        return Case(lambda d: nn.functional.cross_entropy(module(d[0]), d[1]), named, (x, target.argmax(1)), module)
    if objective == "input":
        y = x.clone().requires_grad_()
        return Case(lambda d: module(y).square().sum(), {"y": y}, (x, target), module)

    def score(d: tuple[Tensor, Tensor]) -> Tensor:
        y = d[0].detach().requires_grad_()
        (slope,) = torch.autograd.grad(module(y).square().sum(), y, create_graph=True)
        return (slope - d[1]).square().mean()

    return Case(score, named, (x, z), module)


def dense_hessian(objective: Callable[[], Tensor], parameters: list[Tensor]) -> Tensor:
    """The Hessian row by row, by differentiating each entry of the gradient: independent of every operator."""
    gradient = torch.autograd.grad(objective(), parameters, create_graph=True, materialize_grads=True)
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
