"""How often a copy of a multiple eigenvalue is missed, and how often `converged` is wrong.

    OMP_NUM_THREADS=1 python benchmarks/multiple_eigenvalues.py --seeds 40

Diagonal float32 operators of known spectra, drawn anew from every seed, tol 1e-3. A run is wrong
where one of its eigenvalues is further than tol from that of the same rank. A pair that is said to
have converged is wrong where its residual, measured in float64, exceeds tol·|λ|. Beside them
scipy's eigsh from the same kind of start vector; products are ours over its, the mean of all runs.
"""

import argparse
import warnings
from collections.abc import Callable

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh

from ired_interp.spectra import FunctionOperator, Spectrum, lanczos

TOL = 1e-3
Draw = Callable[[np.random.Generator], np.ndarray]


def doubled_top(source: np.random.Generator) -> np.ndarray:
    return np.r_[1.2, 1.2, 1.15, 1.1, source.uniform(0, 1, 4996)]


def doubled_somewhere(source: np.random.Generator) -> np.ndarray:
    top = 2 - 0.08 * np.arange(10)
    return np.r_[top, source.choice(top), source.uniform(0, 1, 1990)]


def normal(count: int) -> Draw:
    def draw(source: np.random.Generator) -> np.ndarray:
        values = source.standard_normal(count)
        return np.append(values, values.max())

    return draw


def power_law(source: np.random.Generator) -> np.ndarray:
    """As of a trained network: few large ones, some negative ones, many near 0, one doubled."""
    top = 1 / np.arange(1, 31) ** 1.2 * np.where(source.uniform(size=30) < 0.2, -1, 1)
    return np.r_[top, source.choice(top[:10]), 0.01 * source.standard_normal(3000)]


def graded(source: np.random.Generator) -> np.ndarray:
    """One dominant eigenvalue, as raw features give; the next are below float32's rounding of it."""
    return np.r_[1, 1e-4, 0.9e-4, 0.8e-4, 1e-6 * source.uniform(0, 1, 4996)]


def graded_and_doubled(source: np.random.Generator) -> np.ndarray:
    return np.r_[1, 3e-2, 2e-2, 2e-2, 1.5e-2, 1e-2 * source.uniform(0, 1, 2995)]


FAMILIES: dict[str, tuple[Draw, int, str]] = {
    "top doubled, uniform bulk": (doubled_top, 3, "LA"),
    "one of ten doubled": (doubled_somewhere, 10, "LA"),
    "1001 normal numbers, top doubled": (normal(1000), 10, "LA"),
    "2001 normal numbers, top doubled": (normal(2000), 10, "LA"),
    "power law of both signs, one doubled": (power_law, 10, "LM"),
    "one dominant, float32 resolves no other": (graded, 4, "LA"),
    "one dominant, another doubled": (graded_and_doubled, 5, "LA"),
}


def errors(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Relative, each eigenvalue against that of its rank."""
    return np.abs(np.sort(found) - np.sort(truth)) / np.abs(np.sort(truth))


def false_claims(found: Spectrum, values: np.ndarray) -> int:
    """Pairs said to have converged whose residual is larger than tol·|λ|."""
    vectors, ritz = found.eigenvectors.double().numpy(), found.eigenvalues.numpy()
    images = values.astype(np.float32).astype(float)[:, None] * vectors
    residuals = np.linalg.norm(images - vectors * ritz, axis=0) / np.linalg.norm(vectors, axis=0)
    return int((found.converged.numpy() & (residuals > TOL * np.abs(ritz))).sum())


def run(name: str, seed: int) -> dict[str, float]:
    draw, k, which = FAMILIES[name]
    values = draw(np.random.default_rng([seed, 7])).astype(np.float32)
    entries, products = torch.from_numpy(values), 0
    found = lanczos(
        FunctionOperator(lambda v: entries * v, len(values)),
        k,
        which,
        TOL,
        seed=seed,
        progress=False,
    )

    def product(v: np.ndarray) -> np.ndarray:
        nonlocal products
        products += 1
        return values * v.ravel()

    start = np.random.default_rng(seed).standard_normal(len(values)).astype(np.float32)
    operator = LinearOperator((len(values), len(values)), product, dtype=np.float32)
    theirs, _ = eigsh(operator, k, which=which, tol=TOL, v0=start)
    size = np.abs(values) if which == "LM" else values
    truth = values[np.argsort(-size, kind="stable")[:k]].astype(float)
    wrong = errors(found.eigenvalues.numpy(), truth) > TOL
    return {
        "wrong": wrong.any(),
        "unmarked": wrong.any() and bool(found.converged.all()) and not found.notes,
        "claims": false_claims(found, values),
        "pairs": int(found.converged.sum()),
        "eigsh": (errors(theirs, truth) > TOL).any(),
        "ratio": found.matvecs / products,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=40, help="runs of every kind")
    parser.add_argument("--first", type=int, default=1000, help="the first seed")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(
        "| spectrum | runs | wrong | wrong without a mark | false `converged` | eigsh wrong | products |"
    )
    print("|---|---|---|---|---|---|---|", flush=True)
    for name in FAMILIES:
        runs = [run(name, options.first + i) for i in range(options.seeds)]
        total = {key: sum(r[key] for r in runs) for key in runs[0]}
        print(
            f"| {name} | {len(runs)} | {total['wrong']} | {total['unmarked']} | "
            f"{total['claims']} of {total['pairs']} | {total['eigsh']} | "
            f"{total['ratio'] / len(runs):.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
