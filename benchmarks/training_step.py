"""One training step of IRED on inverse (n = 20, batch 2048): ours beside plain autograd double backward, in one run.

    python benchmarks/training_step.py                  # CPU, one thread: CPU seconds
    python benchmarks/training_step.py --device cuda    # GPU: seconds between device events

A step is loss, gradients and Adam. GFLOP/s is the work of its matrix products over its time; "of peak" compares that with one large
float32 matrix product measured in the same run. "score" and "gradient" are relative differences from the float32 autograd loss and its gradient.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from autograd_ired import AutogradEnergy, autograd_loss
from ired_interp.diffusion import Noise, Objective, Schedule
from ired_interp.energy import MLPEnergy
from ired_interp.random import stream
from ired_interp.tasks import Inverse


class ProductCounter(TorchDispatchMode):
    """Counts the floating-point operations of matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.operations += count(*args, **(kwargs or {}), out_val=result)
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


@contextmanager
def products_in(precision: str) -> Iterator[None]:
    """float32 matrix products at full ("highest") or reduced ("high": TF32, "medium": bf16) precision."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def step_of(module: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], object]:
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-4, betas=(0.9, 0.99), fused=True)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--no-compile",
        action="store_true",
        help="leave out the compiled variants (20 to 60 s each)",
    )
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cpu":
        torch.set_num_threads(1)

    plain = AutogradEnergy(400, 400).to(device)
    schedule, objective = Schedule().to(device), Objective()
    x, y = Inverse(20).sample(options.batch, stream(device, 0, "data"))
    noise = Noise.draw(options.batch, 400, 10, stream(device, 0, "noise"))

    def twin() -> MLPEnergy:
        energy = MLPEnergy(400, 400).to(device)
        energy.load_state_dict(plain.state_dict())
        return energy

    def ours(energy: MLPEnergy, compiled: bool, autocast: bool) -> Callable[[], Tensor]:
        def total(x: Tensor, y: Tensor, *draws: Tensor) -> Tensor:
            return objective(energy, schedule, x, y, Noise(*draws)).total

        if compiled:
            total = torch.compile(
                total, dynamic=False, mode="reduce-overhead" if device.type == "cuda" else None
            )
        context = (lambda: torch.autocast(device.type, torch.bfloat16)) if autocast else nullcontext

        def loss() -> Tensor:
            with context():
                return total(x, y, *noise)

        return loss

    baseline = lambda: autograd_loss(plain, schedule, x, y, noise)  # noqa: E731
    variants: dict[str, tuple[nn.Module, Callable[[], Tensor], str]] = {
        "autograd, double backward": (plain, baseline, "highest")
    }
    for compiled in (False,) if options.no_compile else (False, True):
        suffix = ", compiled" if compiled else ""
        for name, precision, autocast in (
            ("float32", "highest", False),
            ("TF32", "high", False),
            ("bf16", "highest", True),
        ):
            if name == "TF32" and device.type == "cpu":
                continue
            energy = twin()
            variants[f"ours, {name}{suffix}"] = (
                energy,
                ours(energy, compiled, autocast),
                precision,
            )

    reference = baseline()
    gradient = torch.autograd.grad(reference, list(plain.parameters()))
    norm = torch.stack([g.square().sum() for g in gradient]).sum().sqrt()
    work, agreement, steps = {}, {}, {}
    for name, (module, loss, precision) in variants.items():
        with products_in(precision):
            value = loss()
            found = torch.autograd.grad(value, list(module.parameters()))
            difference = (
                torch.stack([(a - b).square().sum() for a, b in zip(found, gradient, strict=True)])
                .sum()
                .sqrt()
            )
            agreement[name] = (float((value / reference - 1).abs()), float(difference / norm))
            if "compiled" not in name:
                with ProductCounter() as counter:
                    torch.autograd.grad(loss(), list(module.parameters()))
                work[name] = counter.operations / 1e9
            steps[name] = step_of(module, loss)
            for _ in range(3):
                steps[name]()
    a, b = torch.randn(2048, 512, device=device), torch.randn(512, 512, device=device)
    times: dict[str, list[float]] = {name: [] for name in (*variants, "product")}
    for _ in range(options.repeats):
        for name, (_, _, precision) in variants.items():
            with products_in(precision):
                times[name].append(clock(device, steps[name]))
        times["product"].append(clock(device, lambda: [a @ b for _ in range(20)]) / 20)
    seconds = {name: sorted(values)[len(values) // 2] for name, values in times.items()}
    peak = 2 * 2048 * 512 * 512 / 1e9 / seconds["product"]
    print(
        f"\n{device}, torch {torch.__version__}, batch {options.batch}; float32 product {peak:.0f} GFLOP/s"
    )
    print(
        f"{'variant':32}{'ms':>9}{'faster':>8}{'GFLOP':>8}{'GFLOP/s':>9}{'of peak':>9}{'loss':>10}{'gradient':>10}"
    )
    for name in variants:
        gflop = work.get(name, work["ours, float32"])
        rate = gflop / seconds[name]
        faster = seconds["autograd, double backward"] / seconds[name]
        a1, a2 = agreement[name]
        print(
            f"{name:32}{1e3 * seconds[name]:9.2f}{faster:8.2f}{gflop:8.1f}{rate:9.0f}{rate / peak:9.0%}{a1:10.1e}{a2:10.1e}"
        )


if __name__ == "__main__":
    main()
