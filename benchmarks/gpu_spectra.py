"""Hessian products, eigenpairs, eigenvalues and probes on a GPU, for benchmarks/gpu.py."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from autograd_ired import AutogradEnergy
from gpu_figures import Figures, milliseconds, seconds
from ired_interp.diffusion import Noise, Schedule
from ired_interp.energy import MLPEnergy
from ired_interp.module import IREDModule
from ired_interp.probes import (
    GradientStatisticsTheta,
    HessianSpectrumTheta,
    HessianSpectrumY,
    Probe,
    Snapshot,
    SubspaceDrift,
)
from ired_interp.random import stream
from ired_interp.spectra import HessianOperator, lanczos, many_eigenvalues
from ired_interp.tasks import Inverse

TOP, TOL = 20, 1e-3


def trained(out: Path) -> MLPEnergy:
    """The energy after 2000 steps, trained once."""
    energy, file = MLPEnergy(400, 400).cuda(), out / "trained.pt"
    if file.exists():
        energy.load_state_dict(torch.load(file, weights_only=True))
        return energy
    source, task, schedule = stream("cuda", 1, "training"), Inverse(20), Schedule().cuda()
    optimizer = torch.optim.Adam(energy.parameters(), 1e-3, fused=True)
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, 2000)
    for _ in range(2000):
        x, y = task.sample(256, source)
        k, eps, _ = Noise.draw(256, 400, 10, source)
        optimizer.zero_grad()
        context = energy.condition(x, k)
        found = energy.evaluate_with_gradient(context, schedule.noised(y, k, eps))[1]
        (found - eps).square().mean().backward()
        nn.utils.clip_grad_norm_(energy.parameters(), 1.0)
        optimizer.step()
        decay.step()
    torch.save(energy.state_dict(), file)
    return energy


def objective(
    energy: nn.Module, batch: int, dtype: torch.dtype = torch.float32, device: str = "cuda"
) -> Callable[[], Tensor]:
    """The score term on problems drawn on the CPU, so that every device has the same."""
    source, task = stream("cpu", 7, "data"), Inverse(20)
    x, y = task.sample(batch, source)
    k, eps, _ = Noise.draw(batch, 400, 10, source)
    noised = Schedule().noised(y, k, eps)
    x, noised, eps = (t.to(device, dtype) for t in (x, noised, eps))
    k = k.to(device)

    def value() -> Tensor:
        gradient = energy.evaluate_with_gradient(energy.condition(x, k), noised)[1]
        return (gradient - eps).square().mean()

    return value


def eigenpairs(figures: Figures, out: Path) -> None:
    """Products and top 20 in θ, beside curvlinops and eigsh where they are installed."""
    energy = trained(out)
    double = MLPEnergy(400, 400).cuda().double()
    double.load_state_dict(energy.state_dict())
    for batch in (32, 256, 2048):
        value = objective(energy, batch)
        products(figures, energy, value, batch)
        truth = lanczos(
            HessianOperator(objective(double, batch, torch.float64), double),
            TOP,
            "LM",
            1e-6,
            progress=False,
        )
        lanczos(HessianOperator(value, energy), TOP, "LM", TOL, progress=False)
        taken = []
        for _ in range(3):
            start = time.perf_counter()
            found = lanczos(HessianOperator(value, energy), TOP, "LM", TOL, progress=False)
            taken.append(time.perf_counter() - start)
        right = correct(found.eigenvalues, truth.eigenvalues)
        note = f"{found.matvecs} products, {found.sweeps} sweeps, {right} of {TOP} right"
        figures.add(f"top {TOP}, batch {batch} ({note})", min(taken), "s", "≤ .5")
        try:
            theirs, right = eigsh(energy, batch, truth.eigenvalues)
        except ImportError:
            continue
        figures.add(f"curvlinops + eigsh, batch {batch} ({right} of {TOP} right)", theirs, "s")
        figures.add(f"theirs over ours, batch {batch}", theirs / min(taken), "×", "≥ 15")


def products(figures: Figures, energy: MLPEnergy, value: Callable[[], Tensor], batch: int) -> None:
    """One product, called and replayed."""
    operator = HessianOperator(value, energy)
    v = torch.randn(operator.shape[0], device="cuda", generator=stream("cuda", 3))
    called, parts = operator @ v, list(operator.unflatten(v).values())
    plain = milliseconds(lambda: operator._weighted_sum(lambda g: operator._apply(g, parts)))
    replayed = milliseconds(lambda: operator @ v)
    figures.add(f"product, batch {batch}, called", plain, "ms")
    figures.add(f"product, batch {batch}, replayed", replayed, "ms")
    same = str(torch.equal(called, operator @ v))
    figures.add(f"batch {batch}: {operator.plan}; the same", same, "", "True")


def correct(found: Tensor, truth: Tensor) -> int:
    found, truth = found.cpu().double().sort().values, truth.cpu().double().sort().values
    return int(((found - truth).abs() <= TOL * truth.abs()).sum())


def eigsh(energy: MLPEnergy, batch: int, truth: Tensor) -> tuple[float, int]:
    from curvlinops import HessianLinearOperator
    from scipy.sparse.linalg import eigsh as solve

    plain = AutogradEnergy(400, 400).cuda()
    plain.load_state_dict(energy.state_dict())
    source, task = stream("cpu", 7, "data"), Inverse(20)
    x, y = task.sample(batch, source)
    k, eps, _ = Noise.draw(batch, 400, 10, source)
    packed = torch.cat([x, Schedule().noised(y, k, eps), k[:, None].to(x)], 1).cuda()

    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.energy = plain

        def forward(self, packed: Tensor) -> Tensor:
            x, y, k = packed[:, :400], packed[:, 400:800], packed[:, 800].long()
            return torch.func.grad(lambda y: self.energy(x, y, k).sum())(y)

    class Score(nn.Module):
        reduction = "mean"

        def forward(self, output: Tensor, target: Tensor) -> Tensor:
            return (output - target).square().mean()

    parameters = list(plain.parameters())
    data = [(packed, eps.cuda())]
    operator = HessianLinearOperator(Packed(), Score(), parameters, data).to_scipy()
    start = np.random.default_rng(0).standard_normal(operator.shape[0]).astype(np.float32)
    begin = time.perf_counter()
    values, _ = solve(operator, TOP, which="LM", tol=TOL, v0=start)
    return time.perf_counter() - begin, correct(torch.from_numpy(values), truth)


def agreement(figures: Figures, out: Path) -> None:
    """The same float64 product on GPU and CPU."""
    energy, products = trained(out), []
    for device in ("cpu", "cuda"):
        double = MLPEnergy(400, 400).to(device).double()
        double.load_state_dict(energy.state_dict())
        operator = HessianOperator(objective(double, 32, torch.float64, device), double)
        v = torch.randn(operator.shape[0], generator=stream("cpu", 3), dtype=torch.float64)
        for _ in range(6):  # the last ones are replayed
            found = operator @ v.to(device)
        products.append(found.cpu())
    difference = float((products[0] - products[1]).norm() / products[0].norm())
    figures.add("float64 product, GPU − CPU, relative", difference, "", "≤ 1e-12")


def eigenvalues(figures: Figures, out: Path) -> None:
    """All eigenvalues of 320 matrices of 400 × 400."""
    random = torch.randn(320, 400, 400, generator=stream("cpu", 0), dtype=torch.float64)
    matrices = (random + random.mT).cuda()
    truth = many_eigenvalues(matrices)
    taken = seconds(lambda: many_eigenvalues(matrices), 3)
    threads = torch.get_num_threads()
    figures.add(f"eigenvalues, 320 × 400², {threads} CPU threads", taken, "s", "≤ .12")
    taken = seconds(lambda: many_eigenvalues(matrices.float()), 3)
    figures.add("the same, copied as float32", taken, "s")
    routes: dict[str, Callable[[], Tensor]] = {
        "torch, float64": lambda: torch.linalg.eigvalsh(matrices),
        "torch, float32": lambda: torch.linalg.eigvalsh(matrices.float()),
    }
    try:
        import cupy

        routes["CuPy, float64"] = lambda: torch.from_dlpack(
            cupy.linalg.eigvalsh(cupy.from_dlpack(matrices))
        )
    except ImportError:
        pass
    for name, route in routes.items():
        found = route()
        error = float((found.cpu().double() - truth).abs().max() / truth.abs().max())
        figures.add(f"the same by {name} (error {error:.0e})", seconds(route, 2), "s")


def probes(figures: Figures, out: Path) -> None:
    """Probes at default settings."""
    task, module = Inverse(20), IREDModule(trained(out)).cuda()

    def take(probe: Probe, problems: int, what: str, aim: str) -> None:
        snapshot = Snapshot(module, task.sample(problems, stream("cuda", 5)), task)
        probe(Snapshot(module, task.sample(8, stream("cuda", 5)), task))  # first calls
        start = time.perf_counter()
        result = probe(snapshot)
        products = f" ({int(result.matvecs.sum())} products)" if "matvecs" in result else ""
        figures.add(f"{what}, {problems} problems{products}", time.perf_counter() - start, "s", aim)

    take(HessianSpectrumTheta(landscapes="mixed"), 64, "θ spectrum, mixed", "< 3")
    take(HessianSpectrumTheta(landscapes=[0]), 64, "θ spectrum, landscape 0", "< 3")
    take(GradientStatisticsTheta(), 256, "gradients in θ", "< 1")
    take(HessianSpectrumY(), 32, "y spectrum", "")
    take(SubspaceDrift(), 8, "drift", "")
