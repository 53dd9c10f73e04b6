"""The energies of connectivity and shortest path beside a plain rendition of the published layers, in one run.

    python benchmarks/discrete_energies.py                  # CPU, one thread: CPU seconds
    python benchmarks/discrete_energies.py --device cuda    # GPU: seconds between device events

The plain forms build every triple of nodes (connectivity) and every pair of nodes at every step (shortest path) and multiply them by the whole
weight matrix, as published; "as released" also computes the layer whose output nothing reads. Traffic is the size of all tensors that
operations read and write, views apart. A training step is score and contrast with their gradients.
"""

import argparse
import time
from collections.abc import Callable
from itertools import permutations
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ired_interp.energy import ConnectivityEnergy, Energy, ShortestPathEnergy
from ired_interp.energy.connectivity import PairComposition
from ired_interp.schedule import Schedule


class PlainConnectivity(ConnectivityEnergy):
    """The published layers, triples and all; `released` adds the layer that nothing reads."""

    released = False

    def output(self, context: Any, y: Tensor) -> Tensor:
        x, time = context.x, context.time
        n = x.shape[1]
        z = torch.cat(
            [
                torch.stack([x, y.view_as(x)], -1),
                time[:, None, None].expand(-1, n, n, -1),
            ],
            -1,
        )
        u = torch.sigmoid(self._logic(0, 1)(reduce(z)))
        b = torch.sigmoid(self._logic(0, 2)(permuted(z)))
        c = torch.sigmoid(self._logic(0, 3)(permuted(z[:, :, :, None].expand(-1, -1, -1, n, -1))))
        f = torch.cat([u[:, :, None].expand(-1, -1, n, -1), b, reduce(c)], -1)
        if self.released:
            wide = torch.cat([b[:, :, :, None].expand(-1, -1, -1, n, -1), c], -1)
            torch.sigmoid(F.linear(permuted(wide), wide.new_ones(32, 384)))
        features = torch.sigmoid(self._logic(1, 2)(permuted(f)))
        for composition in self.compositions:
            features = composed(composition, features, time)
        return self.fc_out(features).flatten(1)


def composed(composition: PairComposition, u: Tensor, time: Tensor) -> Tensor:
    """A composition with all its triples."""
    n = u.shape[1]
    ahead, aside = composition.third(u).chunk(2, -1)
    seen = ahead[:, :, None] + aside[:, None]  # (B, i, j, l, C)
    i, j, third = torch.meshgrid(*[torch.arange(n, device=u.device)] * 3, indexing="ij")
    within = ((third == i) | (third == j))[..., None]
    through = seen.masked_fill(within, -torch.inf).max(3).values if n > 2 else u
    inner = composition.inlet(torch.cat([u, u.transpose(1, 2), through], -1))
    return u + composition.outlet(F.silu(inner + composition.by_time(time)[:, None, None]))


class ReleasedConnectivity(PlainConnectivity):
    released = True


def permuted(z: Tensor) -> Tensor:
    """All orders of the node axes, their channels side by side."""
    axes = z.ndim - 2
    orders = [(0, *(1 + i for i in order), axes + 1) for order in permutations(range(axes))]
    return torch.cat([z.permute(order) for order in orders], -1)


def reduce(z: Tensor) -> Tensor:
    """Maximum and minimum over the last node axis, interleaved; a repeated node counts as 0 and as 1."""
    n, axes = z.shape[1], z.ndim - 2
    places = torch.stack(torch.meshgrid(*[torch.arange(n, device=z.device)] * axes, indexing="ij"))
    repeated = torch.zeros((n,) * axes, dtype=torch.bool, device=z.device)
    for a in range(axes):
        for other in range(a):
            repeated |= places[a] == places[other]
    high = z.masked_fill(repeated[..., None], 0.0).max(axes).values
    low = z.masked_fill(repeated[..., None], 1.0).min(axes).values
    return torch.stack([high, low], -1).flatten(-2)


class PlainShortestPath(ShortestPathEnergy):
    """The published blocks, one product for all pairs of nodes at all steps."""

    def condition(self, x: Tensor, k: Tensor) -> Any:
        n = round((x.shape[1] / 4) ** 0.5)
        return super().condition(x, k)._replace(edges=x.unflatten(1, (n, n, 4)))

    def output(self, context: Any, y: Tensor) -> Tensor:
        time, x = context.time, context.edges
        h = y.unflatten(1, (8, -1))[..., None]
        h = torch.cat([h, time[:, None, None].expand(*h.shape[:3], -1)], -1)
        for block in self._blocks:
            around = block._around(h)
            n = around.shape[2]
            rows, columns = (around.unsqueeze(axis).expand(-1, -1, n, n, -1) for axis in (3, 2))
            edges = torch.cat([x, x.transpose(1, 2)], -1)[:, None].expand(-1, 8, -1, -1, -1)
            h = F.silu(block.linear(torch.cat([rows, columns, edges], -1))).amax(3)
        return self.fc(h).flatten(1)


class Traffic(TorchDispatchMode):
    """Counts the bytes that operations read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [t for t in tree_leaves((args, kwargs, result)) if isinstance(t, Tensor)]
            self.bytes += sum(
                min(t.numel() * t.itemsize, t.untyped_storage().nbytes()) for t in tensors
            )
        return result


def clock(device: torch.device, work: Callable[[], object]) -> float:
    """Seconds of one call: CPU time, or time between device events."""
    if device.type == "cpu":
        start = time.process_time()
        work()
        return time.process_time() - start
    events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
    events[0].record()
    work()
    events[1].record()
    torch.cuda.synchronize()
    return events[0].elapsed_time(events[1]) / 1000


def works(energy: Energy, x: Tensor, y: Tensor) -> dict[str, Callable[[], object]]:
    """What is measured, by name."""
    schedule = Schedule().to(x.device)
    generator = torch.Generator(x.device).manual_seed(0)
    k = torch.randint(10, (len(x),), generator=generator, device=x.device)
    eps = torch.randn(y.shape, generator=generator, device=x.device)
    noised, wrong = schedule.noised(y, k, eps), schedule.noised(y.roll(1, 0), k, eps)

    def step() -> None:
        context = energy.condition(x, k)
        score = (energy.evaluate_with_gradient(context, noised)[1] - eps).square().mean()
        contrast = F.softplus(energy.evaluate(context, noised) - energy.evaluate(context, wrong))
        (score + 0.05 * contrast.mean()).backward()
        energy.zero_grad()

    @torch.no_grad()
    def forward() -> None:
        energy(x, noised, k)

    @torch.no_grad()
    def gradient() -> None:
        energy.energy_and_gradient(x, noised, k)

    return {"forward": forward, "forward + ∇_y": gradient, "training step": step}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    torch.manual_seed(0)
    cases: list[tuple[str, int, int, list[Energy]]] = [
        (
            "connectivity, n = 12",
            144,
            144,
            [ReleasedConnectivity(), PlainConnectivity(), ConnectivityEnergy()],
        ),
        (
            "shortest path, n = 20",
            1600,
            160,
            [PlainShortestPath("published"), ShortestPathEnergy("published")],
        ),
    ]
    print(f"{device}, torch {torch.__version__}, batch {options.batch}")
    for title, condition_dim, solution_dim, energies in cases:
        x, y = (
            torch.randn(options.batch, d, device=device).sign()
            for d in (condition_dim, solution_dim)
        )
        for energy in energies:
            energy.load_state_dict(energies[0].state_dict())
        measured = {type(e).__name__: works(e.to(device), x, y) for e in energies}
        print(f"\n{title}\n{'':24}{'work':>16}{'ms':>9}{'faster':>8}{'MiB':>9}{'less':>7}")
        for work in ("forward", "forward + ∇_y", "training step"):
            seconds: dict[str, list[float]] = {name: [] for name in measured}
            traffic = {}
            for name, found in measured.items():
                found[work]()
                with Traffic() as counter:
                    found[work]()
                traffic[name] = counter.bytes / 2**20
            for _ in range(options.repeats):
                for name, found in measured.items():
                    seconds[name].append(clock(device, found[work]))
            middle = {name: sorted(s)[len(s) // 2] for name, s in seconds.items()}
            first = next(iter(measured))
            for name in measured:
                faster, less = middle[first] / middle[name], traffic[first] / traffic[name]
                print(
                    f"{name:24}{work:>16}{1e3 * middle[name]:9.1f}{faster:8.1f}{traffic[name]:9.0f}{less:7.1f}"
                )


if __name__ == "__main__":
    main()
