"""Top eigenvalues of models that nobody tuned for, beside what people write themselves.

    OMP_NUM_THREADS=1 python benchmarks/plain_models.py --out /tmp/plain-models
    python benchmarks/plain_models.py --out /tmp/plain-models-gpu --device cuda

A ResNet with GroupNorm (.27 M parameters, 64 images) and a small GPT (1.03 M, 32 × 24 tokens),
each after 50 steps of Adam; ten eigenvalues largest in magnitude, to 1e-3, float32. Home-made is
the double backward pass of the tutorials with scipy's eigsh. Truth is a float64 run to 1e-7; an
eigenvalue is right when it is within 1e-3 of its value.

Every measurement runs in a process of its own and gives CPU seconds (user and system; on a GPU
seconds) and by how much the peak of resident memory (of the GPU's memory) rises over what model and
imports take. Ours and the home-made one run in turn, --pairs times, the first of a pair
alternating; the ratio is the median over pairs. "bounds" is what single products cost, home-made
ones over ours, the fewest seconds of ten each in turn: the ratio that equal numbers of products
would give to a solver that costs nothing.
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
import torch.nn.functional as F
from torch import Tensor, nn

from ired_interp.spectra import HessianOperator, lanczos

K, TOL, STEPS, VOCABULARY, CONTEXT = 10, 1e-3, 50, 256, 24
METHODS = {"ours": "`lanczos`", "home": "home-made + eigsh"}
OTHERS = {"curvlinops": "curvlinops + eigsh", "pyhessian": "PyHessian"}


class Block(nn.Module):
    """Two convolutions with GroupNorm around a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList(nn.GroupNorm(4, outputs) for _ in range(2))
        self.shortcut = nn.Identity() if stride == 1 else nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.norms[1](self.second(F.relu(self.norms[0](self.first(x)))))
        return F.relu(self.shortcut(x) + inner)


def resnet() -> nn.Module:
    """ResNet-20 with GroupNorm in place of BatchNorm."""
    widths = [(16, 16, 1)] * 3 + [(16, 32, 2)] + [(32, 32, 1)] * 2 + [(32, 64, 2)]
    blocks = [Block(*width) for width in [*widths, (64, 64, 1), (64, 64, 1)]]
    stem = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.GroupNorm(4, 16), nn.ReLU()
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)
    return nn.Sequential(*stem, *blocks, *head)


class Layer(nn.Module):
    """Causal attention and a perceptron, each behind a LayerNorm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.inputs, self.outputs = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.perceptron = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        split = self.inputs(self.norms[0](x)).unflatten(2, (3, self.heads, -1))
        q, k, v = split.permute(2, 0, 3, 1, 4)
        size = x.shape[1]
        later = torch.ones(size, size, dtype=torch.bool, device=x.device).triu(1)
        scores = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(later, -torch.inf)
        x = x + self.outputs((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
        return x + self.perceptron(self.norms[1](x))


class GPT(nn.Module):
    """Five layers of width 128 and tied embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.place = nn.Embedding(VOCABULARY, 128), nn.Embedding(CONTEXT, 128)
        self.layers = nn.Sequential(*(Layer(128, 4) for _ in range(5)), nn.LayerNorm(128))
        for table in (self.embedding, self.place):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (vocabulary, as cross_entropy wants them, second)."""
        x = self.embedding(tokens) + self.place.weight
        return (self.layers(x) @ self.embedding.weight.T).mT


def problem(name: str, source: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images whose brightest corner gives the class; texts of repeated steps."""
    if name == "resnet":
        images, classes = (
            torch.randn(64, 3, 16, 16, generator=source),
            torch.randint(10, (64,), generator=source),
        )
        images[:, :, 0, :10] += 2 * F.one_hot(classes, 10)[:, None]
        return images, classes
    step = torch.randint(1, 9, (32, 1), generator=source)
    start = torch.randint(VOCABULARY, (32, 1), generator=source)
    text = (start + step * torch.arange(CONTEXT + 1)) % VOCABULARY
    return text[:, :-1], text[:, 1:]


def load(name: str, out: Path, seed: int) -> nn.Module:
    """The model after a short training, which is done once."""
    torch.manual_seed(seed)
    model, file = resnet() if name == "resnet" else GPT(), out / f"{name}.pt"
    if not file.exists():
        source, optimizer = torch.Generator().manual_seed(1), torch.optim.Adam(model.parameters())
        for _ in range(STEPS):
            x, y = problem(name, source)
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        torch.save(model.state_dict(), file)
    model.load_state_dict(torch.load(file, weights_only=True))
    return model


def home_made(model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, int]:
    """A graph of the gradient for every product, and scipy."""
    from scipy.sparse.linalg import LinearOperator

    size, products = sum(p.numel() for p in model.parameters()), 0

    def product(v: np.ndarray) -> np.ndarray:
        nonlocal products
        products += 1
        along = torch.from_numpy(v.astype(np.float32).reshape(-1)).to(y.device)
        return home_product(model, x, y, along).cpu().numpy()

    return _eigsh(LinearOperator((size, size), product, dtype=np.float32)), products


def home_product(model: nn.Module, x: Tensor, y: Tensor, v: Tensor) -> Tensor:
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(F.cross_entropy(model(x), y), parameters, create_graph=True)
    along = torch.cat([g.reshape(-1) for g in gradients]) @ v
    return torch.cat([h.reshape(-1) for h in torch.autograd.grad(along, parameters)])


def bounds(model: nn.Module, x: Tensor, y: Tensor, device: str) -> dict:
    """Seconds of a gradient, of our product and of the home-made one: the least of ten each."""
    parameters = list(model.parameters())
    operator = HessianOperator(lambda: F.cross_entropy(model(x), y), model)
    v = torch.randn(operator.shape[0], generator=torch.Generator().manual_seed(0)).to(device)
    ways: dict[str, Callable[[], object]] = {
        "gradient": lambda: torch.autograd.grad(F.cross_entropy(model(x), y), parameters),
        "ours": lambda: operator @ v,
        "home": lambda: home_product(model, x, y, v),
    }
    for _ in range(6):  # until ours is replayed on a GPU
        operator @ v
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(10):
        for name, way in ways.items():
            begin = _clock(device)
            way()
            seconds[name].append(_clock(device) - begin)
    return {name: min(each) for name, each in seconds.items()}


def _eigsh(operator) -> Tensor:
    from scipy.sparse.linalg import eigsh

    start = np.random.default_rng(0).standard_normal(operator.shape[0]).astype(np.float32)
    values, _ = eigsh(operator, K, which="LM", tol=TOL, v0=start)
    return torch.from_numpy(values)


def curvlinops(model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, int]:
    from curvlinops import HessianLinearOperator
    from scipy.sparse.linalg import LinearOperator

    loss = nn.CrossEntropyLoss()
    theirs = HessianLinearOperator(model, loss, list(model.parameters()), [(x, y)]).to_scipy()
    products = 0

    def product(v: np.ndarray) -> np.ndarray:
        nonlocal products
        products += 1
        return theirs @ v.astype(np.float32)

    return _eigsh(LinearOperator(theirs.shape, product, dtype=np.float32)), products


def pyhessian(model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, int]:
    from pyhessian import hessian

    torch.manual_seed(0)
    theirs, products = hessian(model, nn.CrossEntropyLoss(), data=(x, y), cuda=x.is_cuda), 0

    def count(_: Tensor) -> None:
        nonlocal products
        products += 1

    next(g for g in theirs.gradsH if g.requires_grad).register_hook(count)
    return torch.tensor(theirs.eigenvalues(top_n=K)[0]), products


def ours(model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, int]:
    operator = HessianOperator(lambda: F.cross_entropy(model(x), y), model)
    found = lanczos(operator, K, "LM", TOL, progress=False)
    return found.eigenvalues, found.matvecs


def measure(name: str, method: str, out: Path, device: str, seed: int) -> dict:
    """One method on one model."""
    model = load(name, out, seed).to(device)
    x, y = (part.to(device) for part in problem(name, torch.Generator().manual_seed(2 + seed)))
    if method == "train":
        return {"parameters": sum(p.numel() for p in model.parameters())}
    if method == "truth":
        model, x = model.double(), x.double() if x.is_floating_point() else x
        operator = HessianOperator(lambda: F.cross_entropy(model(x), y), model)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = lanczos(operator, K + 1, "LM", 1e-7, progress=False)
        return {"values": found.eigenvalues.tolist()}
    if method == "bounds":
        return bounds(model, x, y, device)
    solve: dict[str, Callable[..., tuple[Tensor, int]]] = {
        "ours": ours,
        "home": home_made,
        "curvlinops": curvlinops,
        "pyhessian": pyhessian,
    }
    parameters = list(model.parameters())
    torch.autograd.grad(F.cross_entropy(model(x), y), parameters)  # kernels are chosen
    before, begin = _peak(device), _clock(device)
    values, products = solve[method](model, x, y)
    values = values.cpu()
    seconds, memory = _clock(device) - begin, _peak(device) - before
    truth = torch.tensor(json.loads((out / f"{name}-truth.json").read_text())["values"][:K])
    values = values.double()[values.abs().argsort(descending=True)]
    errors = (values - truth.double()).abs() / truth.abs()
    right, error = int((errors <= TOL).sum()), float(errors.max())
    cost = {"products": products, "seconds": seconds, "memory": memory}
    return cost | {"right": right, "error": error}


def _peak(device: str) -> float:
    """MiB."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _clock(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def child(
    name: str, method: str, out: Path, device: str, seed: int, turn: int | None = None
) -> dict:
    """A measurement in a process of its own; a finished one is read from its file."""
    file = out / f"{name}-{method}{'' if turn is None else f'-{turn}'}.json"
    if not file.exists():
        command = [sys.executable, "-W", "ignore", __file__, "--out", str(out)]
        command += ["--device", device, "--seed", str(seed), "--one", name, method]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode:
            return {"failed": run.stderr.strip().splitlines()[-1]}
        file.write_text(run.stdout.strip().splitlines()[-1])
    return json.loads(file.read_text())


def row(name: str, heading: str, runs: list[dict]) -> str:
    """Medians over the runs of one method."""
    if failed := next((r["failed"] for r in runs if "failed" in r), None):
        return f"| {name} | {heading} | {failed} | | | | |"
    seconds, memory = (float(np.median([r[key] for r in runs])) for key in ("seconds", "memory"))
    first = runs[0]
    return (
        f"| {name} | {heading} | {first['products']} | {seconds:.2f} | {memory:.0f} | "
        f"{first['right']} of {K} | {first['error']:.0e} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    folder = "folder for weights and results; finished measurements are kept"
    parser.add_argument("--out", type=Path, required=True, help=folder)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--pairs", type=int, default=3, help="of ours and the home-made one")
    parser.add_argument("--seed", type=int, default=0, help="of weights, training and batch")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    out: Path = options.out
    device, seed = options.device, options.seed
    out.mkdir(parents=True, exist_ok=True)
    if options.one:
        print(json.dumps(measure(*options.one, out, device, seed)))
        return
    seconds = "CPU s" if device == "cpu" else torch.cuda.get_device_name() + ", s"
    print(f"| model | method | products | {seconds} | MiB more | right | worst error |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for name in ("resnet", "gpt"):
        child(name, "train", out, device, seed)
        child(name, "truth", out, device, seed)
        runs: dict[str, list[dict]] = {method: [] for method in METHODS}
        for turn in range(options.pairs):
            for method in list(METHODS)[:: 1 if turn % 2 else -1]:
                runs[method].append(child(name, method, out, device, seed, turn))
        for method, heading in METHODS.items():
            print(row(name, heading, runs[method]), flush=True)
        for method, heading in OTHERS.items():
            print(row(name, heading, [child(name, method, out, device, seed)]), flush=True)
        bounds = child(name, "bounds", out, device, seed)
        costs = ", ".join(f"{key} {bounds[key]:.4f}" for key in ("gradient", "ours", "home"))
        bound = bounds["home"] / bounds["ours"]
        print(f"| {name} | single products | {costs} | {bound:.2f} | | | |", flush=True)
        pairs = zip(runs["home"], runs["ours"], strict=True)
        ratios = sorted(home["seconds"] / own["seconds"] for home, own in pairs)
        fewest = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
        print(f"| {name} | home-made / ours | | {np.median(ratios):.2f} ({fewest}) | | | |")


if __name__ == "__main__":
    main()
