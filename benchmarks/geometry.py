"""Geometry beside geomstats and SciPy: accuracy, cost, and memory at a million parameters.

python benchmarks/geometry.py accuracy     # principal angles against planes with known angles
python benchmarks/geometry.py cost         # CPU seconds, one thread, also of the Karcher mean
python benchmarks/geometry.py memory       # 100 frames of 20 directions in 10^6 parameters; 4 GB of
disk
"""

import argparse
import math
import resource
import tempfile
import time
from collections.abc import Callable

import numpy as np
import scipy.linalg
import torch
from rich.progress import track

import ired_interp.geometry as geometry


def planes(n: int, angles: list[float], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal bases of two planes in R^n with the given principal angles."""
    theta = np.asarray(angles)
    q = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, 2 * len(theta))))[0]
    u, w = q[:, : len(theta)], q[:, len(theta) :]
    return u, u * np.cos(theta) + w * np.sin(theta)


def geomstats_distance(u: np.ndarray, v: np.ndarray) -> float:
    from geomstats.geometry.grassmannian import Grassmannian

    return float(Grassmannian(*u.shape).metric.dist(u @ u.T, v @ v.T)) / math.sqrt(2)


def cpu(call: Callable[[], object]) -> float:
    """CPU seconds of a call, the least of three after a warm-up when it is short."""
    start = time.process_time()
    call()
    first = time.process_time() - start
    if first > 2:
        return first
    times = []
    for _ in range(3):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def accuracy() -> None:
    print("two lines in R^40, one angle; absolute error")
    print(f"{'angle':>14}  {'ours':>9}  {'scipy':>9}  {'geomstats':>9}  {'arccos':>9}")
    for angle in (1e-12, 1e-8, 1e-4, 0.1, 1.0, math.pi / 2 - 1e-8, math.pi / 2):
        u, v = planes(40, [angle])
        found = (
            geometry.principal_angles(u, v)[0],
            scipy.linalg.subspace_angles(u, v)[0],
            geomstats_distance(u, v),
            np.arccos(np.clip(u.T @ v, -1, 1))[0, 0],
        )
        print(f"{angle:14.10g}  " + "  ".join(f"{abs(value - angle):9.1e}" for value in found))


def cost() -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    print("CPU s of one geodesic distance, p = 20")
    for n in (40, 400, 100_000, 1_000_000):
        u, v = (rng.standard_normal((n, 20), dtype=np.float32) for _ in range(2))
        ours = cpu(lambda u=u, v=v: geometry.grassmann_distance(u, v))
        scipys = cpu(
            lambda u=u, v=v: scipy.linalg.subspace_angles(u.astype(float), v.astype(float))
        )
        row = f"N = {n:8d}: ours {ours:.4f}, scipy {scipys:.4f}"
        if n <= 400:
            q, r = (np.linalg.qr(basis.astype(float))[0] for basis in (u, v))
            row += f", geomstats {cpu(lambda q=q, r=r: geomstats_distance(q, r)):.4f}"
        print(row)
    base = rng.standard_normal((2000, 20))
    frames = torch.from_numpy(
        np.stack([base + 0.3 * rng.standard_normal(base.shape) for _ in range(100)])
    )
    mean = cpu(lambda: geometry.karcher_mean(frames))
    print(f"Karcher mean of 100 planes, p = 20, in 2000 coordinates: {mean:.1f} s")
    draws = cpu(lambda: geometry.chance_angles(10**6, 20, 20, 2000, rng))
    print(f"2000 null draws, N = 10^6, p = 20: {draws:.2f} s")


def memory(frames: int = 100, n: int = 1_000_000, p: int = 20) -> None:
    def peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

    print(f"peak after imports: {peak():.2f} GiB")
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(n, p, generator=generator)
    with tempfile.TemporaryDirectory() as folder:
        history = geometry.DriftHistory(folder)
        start = time.process_time()
        for step in track(range(frames), description="frames"):
            for rows in basis.split(10_000):  # a random walk, without a second full-size array
                rows.add_(torch.randn(rows.shape, generator=generator), alpha=0.1)
            history.append(step, basis)
        print(f"{frames} frames: {time.process_time() - start:.0f} CPU s, peak {peak():.2f} GiB")
        start = time.process_time()
        geodesic = geometry.distance_from_angles(history.angles())
        print(f"all pairs: {time.process_time() - start:.0f} CPU s, peak {peak():.2f} GiB")
        exact = torch.linalg.vector_norm(history.between(-2, -1))
        print(
            f"last step: {geodesic[-2, -1]:.9f} rad by the Gram matrix, {exact:.9f} by streamed QR"
        )
        start = time.process_time()
        mean = geometry.karcher_mean(history.coordinates()[-10:])
        seconds = time.process_time() - start
        print(f"mean of the last ten: dispersion {mean.dispersion:.4f}, {seconds:.0f} CPU s")
    print(f"peak {peak():.2f} GiB")


if __name__ == "__main__":
    parts = {"accuracy": accuracy, "cost": cost, "memory": memory}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=parts)
    parts[parser.parse_args().part]()
