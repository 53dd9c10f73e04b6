"""Hessian spectra beside PyHessian, curvlinops with scipy's eigsh, and hessian-eigenthings.

    OMP_NUM_THREADS=1 python benchmarks/spectra.py --out /tmp/spectra-benchmark
    python benchmarks/spectra.py --out FOLDER --weights trained --methods ours curvlinops  # no more

Every measurement runs in a process of its own and gives CPU seconds (user and system) and the peak of resident memory.
The model is the MLP energy with 400 + 400 inputs (1.44 M parameters) on the inverse task, at its initialisation and
after 1500 training steps on the score term. Truth is a float64 run with tolerance 1e-7. An
eigenvalue is right when it is within 1e-3 of its value. Models that nobody tuned for: plain_models.py.

Over 300 lines: one script, whose ratios must come from one run.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import grad, hessian, vmap

sys.path.insert(0, str(Path(__file__).parent))
from autograd_ired import AutogradEnergy
from ired_interp.diffusion import Schedule
from ired_interp.energy import MLPEnergy
from ired_interp.random import stream
from ired_interp.spectra import HessianOperator, batched_hessian, lanczos, residual_norms
from ired_interp.tasks.inverse import Inverse

K, TOL, TRAINING_STEPS = 20, 1e-3, 1500
CASES = [
    ("initial", "energy", 32),
    ("initial", "score", 32),
    ("initial", "score", 256),
    ("trained", "energy", 32),
    ("trained", "score", 32),
    ("trained", "score", 256),
]
METHODS = [
    "products",
    "ours",
    "ours, 300 MiB",
    "curvlinops",
    "eigenthings",
    "eigenthings, m=100",
    "pyhessian",
]


def draw(count: int, source: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Conditions, noised answers, landscapes and noise."""
    problems, schedule = Inverse(20).sample(count, source), Schedule()
    k = torch.randint(10, (count,), generator=source)
    eps = torch.randn(count, 400, generator=source)
    return problems.x, schedule.noised(problems.y, k, eps), k, eps


def load(state: str, out: Path) -> MLPEnergy:
    """The energy with initial or trained weights; trained ones are made once and kept in the output folder."""
    torch.manual_seed(0)
    energy, file = MLPEnergy(400, 400), out / "trained.pt"
    if state == "trained":
        energy.load_state_dict(torch.load(file, weights_only=True))
    return energy


def plain(energy: MLPEnergy) -> AutogradEnergy:
    """The same energy without F.silu, whose derivative has no forward mode, as curvlinops needs it."""
    other = AutogradEnergy(400, 400)
    other.load_state_dict(energy.state_dict())
    return other


def train(out: Path) -> None:
    energy, source = load("initial", out), stream("cpu", 1, "training")
    optimiser = torch.optim.Adam(energy.parameters(), 1e-3)
    decay = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, TRAINING_STEPS)
    for _ in range(TRAINING_STEPS):
        x, y, k, eps = draw(256, source)
        optimiser.zero_grad()
        (energy.gradient(x, y, k) - eps).square().mean().backward()
        nn.utils.clip_grad_norm_(energy.parameters(), 1.0)
        optimiser.step()
        decay.step()
    torch.save(energy.state_dict(), out / "trained.pt")


class Packed(nn.Module):
    """The objective as a model of one input tensor [x, y, k], the form that the other libraries ask for."""

    def __init__(self, energy: nn.Module, objective: str) -> None:
        super().__init__()
        self.energy, self.objective = energy, objective

    def forward(self, packed: Tensor) -> Tensor:
        x, y, k = packed[:, :400], packed[:, 400:800], packed[:, 800].long()
        if self.objective == "energy":
            return self.energy(x, y, k)[:, None]
        return grad(lambda y: self.energy(x, y, k).sum())(y)


class Loss(nn.Module):
    """Mean of the energies, or mean squared deviation from the noise, written so that forward mode can follow."""

    reduction = "mean"

    def __init__(self, objective: str) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return output.mean() if self.objective == "energy" else (output - target).square().mean()


def measure(method: str, state: str, objective: str, batch: int, out: Path) -> dict:
    """One method on one case: CPU seconds, products, peak memory, right eigenvalues, worst true residual."""
    energy = plain(load(state, out))
    x, y, k, eps = draw(batch, stream("cpu", 7, "data"))
    if method == "truth":
        energy, x, y, eps = energy.double(), x.double(), y.double(), eps.double()
    packed, loss = Packed(energy, objective), Loss(objective)
    data = torch.cat([x, y, k[:, None].to(x)], 1), eps
    parameters = list(energy.parameters())

    def value() -> Tensor:
        return loss(packed(data[0]), data[1])

    begin, products, restarts = time.process_time(), 0, 0
    if method == "truth":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = lanczos(HessianOperator(value, parameters), K + 2, "LM", 1e-7, progress=False)
        return {
            "values": found.eigenvalues[:K].tolist(),
            "notes": found.notes,
            "products": found.matvecs,
        }
    if method == "products":
        operator = HessianOperator(value, parameters)
        v = torch.randn(operator.shape[0], generator=stream("cpu", 0, "vector"))
        operator @ v
        begin = time.process_time()
        for _ in range(10):
            operator @ v
        product = (time.process_time() - begin) / 10
        begin = time.process_time()
        for _ in range(10):
            torch.autograd.grad(value(), parameters, allow_unused=True)
        return {
            "product": product,
            "gradient": (time.process_time() - begin) / 10,
            "memory": peak(),
        }
    if method.startswith("ours"):
        limit = "300MiB" if "300" in method else None
        found = lanczos(
            HessianOperator(value, parameters), K, "LM", TOL, memory=limit, progress=False
        )
        values, vectors, products, restarts = (
            found.eigenvalues,
            found.eigenvectors,
            found.matvecs,
            found.restarts,
        )
    elif method == "curvlinops":
        from curvlinops import HessianLinearOperator
        from scipy.sparse.linalg import LinearOperator, eigsh

        operator = HessianLinearOperator(packed, loss, parameters, [data]).to_scipy()

        def counted(v: np.ndarray) -> np.ndarray:
            nonlocal products
            products += 1
            return operator @ v.astype(np.float32)

        start = np.random.default_rng(0).standard_normal(operator.shape[0]).astype(np.float32)
        found = eigsh(
            LinearOperator(operator.shape, counted, dtype=np.float32),
            K,
            which="LM",
            tol=TOL,
            v0=start,
        )
        values, vectors = torch.from_numpy(found[0]), torch.from_numpy(found[1])
    elif method.startswith("eigenthings"):
        import hessian_eigenthings as library

        operator = library.HessianOperator(packed, [data], lambda model, b: loss(model(b[0]), b[1]))
        steps = {"max_iter": 100, "reorthogonalize": True} if "100" in method else {}
        found = library.lanczos(operator, k=K, tol=TOL, which="LM", seed=0, **steps)
        values, vectors, products = (
            found.eigenvalues,
            found.eigenvectors,
            steps.get("max_iter", 2 * K),
        )
        vectors = vectors if vectors.shape[1] == K else vectors.T
    elif method == "pyhessian":
        from pyhessian import hessian as PyHessian

        torch.manual_seed(0)
        library = PyHessian(packed, loss, data=data, cuda=False)

        def count(_: Tensor) -> None:
            nonlocal products
            products += 1

        next(g for g in library.gradsH if g.requires_grad).register_hook(count)
        values, lists = library.eigenvalues(top_n=K)
        values = torch.tensor(values)
        vectors = torch.stack([torch.cat([part.reshape(-1) for part in v]) for v in lists], 1)
    seconds, memory = time.process_time() - begin, peak()
    order = values.abs().argsort(descending=True)
    values, vectors = values[order].double(), vectors[:, order].float()
    truth = torch.tensor(
        json.loads((out / f"{state}-{objective}-{batch}-truth.json").read_text())["values"]
    ).double()
    errors = (values - truth).abs() / truth.abs()
    operator = HessianOperator(value, parameters)
    residuals = residual_norms(operator, values, vectors.detach()) / values.abs()
    return {
        "seconds": seconds,
        "products": products,
        "restarts": restarts,
        "memory": memory,
        "right": int((errors <= TOL).sum()),
        "error": float(errors.max()),
        "residual": float(residuals.max()),
    }


def measure_y(method: str, out: Path) -> dict:
    """All Hessians in y of 32 problems on 10 landscapes, and their eigenvalues."""
    energy = load("trained", out)
    x, y, _, _ = draw(32, stream("cpu", 7, "data"))
    x, y, k = x.repeat(10, 1), y.repeat(10, 1), torch.arange(10).repeat_interleave(32)
    if method == "eigenvalues":
        matrices = energy.hessian(x, y, k)
        begin = time.process_time()
        torch.linalg.eigvalsh(matrices)
        return {"seconds": time.process_time() - begin, "memory": peak()}
    if method == "matrix product":
        a, b = torch.randn(1600, 512), torch.randn(512, 512)
        a @ b
        begin = time.process_time()
        for _ in range(100):
            a @ b
        return {"gflops": 100 * 2e-9 * 1600 * 512 * 512 / (time.process_time() - begin)}
    written_out = plain(energy)
    one = hessian(lambda y, x, k: written_out(x[None], y[None], k[None])[0])
    routes: dict[str, Callable[[], Tensor]] = {
        "vmap(hessian)": lambda: vmap(one, chunk_size=16)(y, x, k),
        "batched_hessian": lambda: batched_hessian(lambda y, x, k: energy(x, y, k), y, x, k),
        "mlp_hessian": lambda: energy.hessian(x, y, k, memory=2**25),
    }
    with torch.set_grad_enabled(method == "batched_hessian"):
        begin = time.process_time()
        found = routes[method]()
        first = time.process_time() - begin
        memory = peak()
        begin = time.process_time()
        found = routes[method]()
        second = time.process_time() - begin
    with torch.no_grad():
        written_out.double()
        exact = vmap(one)(y[:2].double(), x[:2].double(), k[:2])
    error = float((found[:2] - exact).abs().max() / exact.abs().max())
    return {"seconds": first, "again": second, "memory": memory, "error": error}


def peak() -> float:
    """Peak resident memory of this process, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def child(*words: str, out: Path) -> dict:
    """One measurement in a process of its own; a finished one is read from its file."""
    file = out / ("-".join(words).replace(" ", "_").replace(",", "") + ".json")
    if not file.exists():
        command = [sys.executable, "-W", "ignore", __file__, "--out", str(out), "--one", *words]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode:
            return {"failed": run.stderr.strip().splitlines()[-1]}
        file.write_text(run.stdout.strip().splitlines()[-1])
    return json.loads(file.read_text())


def table_y(out: Path) -> None:
    """Print what Hessians in y take."""
    print(
        "| Hessians in y | CPU s, first call | CPU s, second call | MiB | error |\n|---|---|---|---|---|",
        flush=True,
    )
    for method in ("vmap(hessian)", "batched_hessian", "mlp_hessian"):
        r = child("y", method, out=out)
        print(
            f"| {method} | {r['seconds']:.2f} | {r['again']:.2f} | {r['memory']:.0f} | {r['error']:.0e} |",
            flush=True,
        )
    print(f"| their eigenvalues | {child('y', 'eigenvalues', out=out)['seconds']:.2f} | | | |")
    print(f"\nMatrix product: {child('y', 'matrix product', out=out)['gflops']:.0f} GFLOP/s\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder for weights and results; finished measurements are kept",
    )
    states = ("initial", "trained")
    parser.add_argument("--weights", choices=states, nargs="+", default=states, help="cases in θ")
    parser.add_argument("--methods", choices=METHODS, nargs="+", help="in θ; all, and in y, if not")
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    if arguments.one:
        if arguments.one[0] == "train":
            result: dict = train(out) or {}
        elif arguments.one[0] == "y":
            result = measure_y(arguments.one[1], out)
        else:
            state, objective, batch, method = arguments.one
            result = measure(method, state, objective, int(batch), out)
        print(json.dumps(result))
        return
    child("train", out=out)
    if arguments.methods is None:
        table_y(out)
    print(
        "| weights, objective, batch | method | products | CPU s | MiB | right | worst error | worst residual |"
    )
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for state, objective, batch in CASES:
        if state not in arguments.weights:
            continue
        words = state, objective, str(batch)
        child(*words, "truth", out=out)
        for method in arguments.methods or METHODS:
            r = child(*words, method, out=out)
            head = f"| {state}, {objective}, {batch} | {method} |"
            if "failed" in r:
                print(f"{head} failed: {r['failed']} | | | | | |", flush=True)
            elif method == "products":
                ratio = r["product"] / r["gradient"]
                print(
                    f"{head} 1 | {r['product']:.4f} ({ratio:.1f} gradients) | {r['memory']:.0f} | | | |",
                    flush=True,
                )
            else:
                print(
                    f"{head} {r['products']} | {r['seconds']:.1f} | {r['memory']:.0f} | {r['right']} of {K} | "
                    f"{r['error']:.0e} | {r['residual']:.0e} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
