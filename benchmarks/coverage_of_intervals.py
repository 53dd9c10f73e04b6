"""Coverage of every interval that tables and the page print, on perfect energies and planted data.

python benchmarks/coverage_of_intervals.py                 # all, five minutes on one core; prints a table
python benchmarks/coverage_of_intervals.py --only noise    # cases whose name holds a word
python benchmarks/coverage_of_intervals.py --draws 50      # fewer repetitions

An interval is value ± 2 standard errors, or the ends that are stored. Of many independent draws the
share whose interval holds the truth should lie between 90 and 99 %; an interval with an open end,
and one whose estimates are exact, hold it always.

Over 300 lines: one script, whose table must come from one run.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr

import ired_interp.geometry as geometry
from ired_interp.diffusion import Inference
from ired_interp.energy import Energy, MLPEnergy
from ired_interp.geometry.corrected import corrected_pairs
from ired_interp.geometry.leading import leading_directions
from ired_interp.geometry.travel import travel
from ired_interp.metrics import ProblemError
from ired_interp.module import IREDModule
from ired_interp.probes import (
    Curvature,
    EffectiveRank,
    GradientField,
    GradientStatisticsY,
    HessianSpectrumY,
    InferenceTrajectory,
    Minimum,
    Patching,
    Path,
    Probe,
    Slice,
    Snapshot,
    TangentKernel,
)
from ired_interp.probes.gradient_variables import landscape_cosines
from ired_interp.probes.gram_statistics import gram_statistics, noise_statistics
from ired_interp.probes.landscape_patches import landscape_restored
from ired_interp.probes.subspace_pairs import frame_of_matrices, frame_of_vectors
from ired_interp.random import stream
from ired_interp.report.half_way import halves_of_mean, mean_of_runs, passing
from ired_interp.spectra import MatrixOperator, trace
from ired_interp.tasks import Completion, ExactEnergy, Inverse, Task, TwoAnswers
from ired_interp.tasks.base import Problems
from ired_interp.tasks.linear_gaussian import LinearGaussian


@dataclass
class Row:
    """Coverage of one interval."""

    what: str
    data: str
    inside: np.ndarray  # of the draws that told something
    told: float
    open: float = 0.0

    @property
    def line(self) -> str:
        share = f"{self.inside.mean():.1%}" if len(self.inside) else "–"
        return f"| {self.what} | {self.data} | {share} | {self.told:.0%} | {self.open:.0%} |"


def covered(what: str, data: str, value, error, truth) -> Row:
    value, error = np.asarray(value, float), np.asarray(error, float)
    truth = np.broadcast_to(np.asarray(truth, float), value.shape)
    known = np.isfinite(value) & np.isfinite(error)
    inside = np.abs(value - truth)[known] <= 2 * error[known] + 1e-12 * np.abs(truth[known])
    return Row(what, data, inside, float(known.mean()))


class Curved(Energy):
    """½ Σ a_i(x) y_i² with a of each problem its own."""

    def condition(self, x: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        return torch.linspace(1, 2, x.shape[1]) * (0.5 + x[:, :1])

    def evaluate(self, context: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (context * y.square()).sum(1) / 2


def hessian_y(draws: int) -> Iterator[Row]:
    names = ["lambda_min", "lambda_median", "lambda_max", "negative_share", "effective_rank"]
    module, rng = IREDModule(Curved(6, 6)), torch.Generator().manual_seed(0)
    for count in (8, 32):
        x = torch.randn(draws, count, 6, generator=rng)
        y = torch.zeros(count, 6)
        parts = [
            HessianSpectrumY(landscapes=[0], point="answer")(Snapshot(module, Problems(part, y)))
            for part in x
        ]
        every = Problems(torch.randn(20_000, 6, generator=rng), torch.zeros(20_000, 6))
        whole = HessianSpectrumY(landscapes=[0], point="answer")(Snapshot(module, every))
        for name in names:
            value, error = (stacked(parts, name + part) for part in ("", "_error"))
            yield covered(name, f"y-Hessian, {count} problems", value, error, whole[name])


def stacked(parts: list[xr.Dataset], name: str) -> np.ndarray:
    return np.stack([part[name].values for part in parts])


def gradients_y(draws: int) -> Iterator[Row]:
    task = LinearGaussian(6)
    module = IREDModule(ExactEnergy(task))
    for count in (12, 48):
        parts = []
        for i in range(draws):
            snapshot = Snapshot(module, task.sample(count, stream("cpu", i)), task)
            parts.append(GradientStatisticsY(landscapes=[0, 4], seed=i)(snapshot))
        for name in [
            "norm_mean",
            "norm_ratio",
            "alignment",
            "cosine",
            "participation",
            "entropy_rank",
        ]:
            value, error = (stacked(parts, name + part) for part in ("", "_error"))
            truth = parts[0]["theory_ratio"].values if name in ("norm_ratio", "alignment") else 0
            truth = value.mean(0) if np.ndim(truth) == 0 else truth
            yield covered(
                name, f"gradients in y, exact energy, {count} problems", value, error, truth
            )


def trajectory(draws: int) -> Iterator[Row]:
    task, count = LinearGaussian(25), 32
    rules = Inference(steps=1, jump=False)
    module = IREDModule(ExactEnergy(task), inference=rules).double()
    probe = InferenceTrajectory(rank=2)

    def measured(i: int, count: int) -> xr.Dataset:
        x = task.sample(count, stream("cpu", i)).x.double()
        factors = torch.randn(2, count, 5, 2, generator=stream("cpu", i, "y")).double()
        y = (factors[0] @ factors[1].mT).flatten(1)
        # As if y* were of rank 2; what inference finds does not know it.
        found = probe.with_settings(seed=i)(Snapshot(module, Problems(x, y), task))
        return found.sel(landscape=[9, 4])

    parts, whole = [measured(i, count) for i in range(draws)], measured(draws, 5_000)
    names = "energy_mean gradient_norm_mean error_mean effective_rank_mean normal_ratio_mean"
    for name in names.split():
        value, error = (stacked(parts, name + part)[..., -1] for part in ("", "_error"))
        yield covered(name, f"inference, {count} problems", value, error, whole[name][:, -1])
    for name in ["contraction", "gradient_contraction", "predicted_contraction"]:
        value, error = (stacked(parts, name + part)[..., 0] for part in ("", "_error"))
        yield covered(name, f"inference, {count} problems", value, error, whole[name][:, 0])


def rises(draws: int) -> Iterator[Row]:
    task, count = LinearGaussian(25), 32
    module, probe = IREDModule(ExactEnergy(task)).double(), Curvature([9, 4], rank=2)

    def measured(i: int, count: int) -> xr.Dataset:
        x = task.sample(count, stream("cpu", i)).x.double()
        factors = torch.randn(2, count, 5, 2, generator=stream("cpu", i, "y")).double()
        y = (factors[0] @ factors[1].mT).flatten(1)
        # As if y* were of rank 2.
        found = probe.with_settings(seed=i)(Snapshot(module, Problems(x, y), task))
        return found.sel(length=0.5)

    parts, whole = [measured(i, count) for i in range(draws)], measured(draws, 5_000)
    for name in ("preference", "rise"):
        value, error = (stacked(parts, name + part) for part in ("", "_error"))
        rows = slice(1 if name == "preference" else 0, None)  # `random` is the first family
        exact = whole[f"theory_{name}"].values[:, rows]
        data = f"exact energy, {count} problems"
        yield covered(name, data, value[..., rows], error[..., rows], exact)


def network_probes(draws: int) -> Iterator[Row]:
    """Means over problems of a random network; the truth is that of many problems."""
    task, small, two = Completion(4, rank=1, noise=0.0), Inverse(2), TwoAnswers(4)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module, other = (IREDModule(MLPEnergy(d, d, 16)) for d in (16, 4))
    exact = IREDModule(ExactEnergy(two))
    wanted: list[tuple[IREDModule, Task, Probe, int, list[str]]] = [
        (module, task, Curvature([2, 6]), 3000, _CURVATURE),
        (module, task, Slice([2, 6], hessian=False), 3000, ["curvature", "anharmonicity"]),
        (module, task, Minimum([0, 5], starts=3), 2000, _MINIMUM),
        (exact, two, Path([0, 3], between="answers", bands=1, band_steps=1), 2000, ["barrier"]),
        (module, task, EffectiveRank([2, 6]), 3000, ["rank"]),
        (module, task, GradientField([2, 6], permutations=40), 1000, ["overlap", "block_share"]),
        (module, task, Patching([2, 6]), 3000, ["restored"]),
        (other, small, TangentKernel([2, 6], vectors=4), 512, ["alignment", "landscape_cka"]),
    ]
    for model, problems, probe, many, names in wanted:
        parts = [_of_network(model, problems, probe, i, 32) for i in range(draws)]
        whole = _of_network(model, problems, probe, draws, many)
        for name in names:
            value, error = (stacked(parts, name + part) for part in ("", "_error"))
            scattered = error > 1e-6 * np.abs(value)  # what is exact but for rounding says nothing
            value, error = (np.where(scattered, part, np.nan) for part in (value, error))
            some = np.isfinite(value).any(0)
            truth = whole[name].values[some]
            yield covered(name, f"{probe.name}, 32 problems", value[:, some], error[:, some], truth)


def landscapes(draws: int) -> Iterator[Row]:
    """Which landscape decides, of a perfect energy: another network does not see the problem."""
    task, asked = LinearGaussian(9), [0, 4]
    module = IREDModule(ExactEnergy(task)).double()

    def measured(i: int, count: int) -> dict[str, np.ndarray]:
        x, y = (part.double() for part in task.sample(count, stream("cpu", i)))
        found = landscape_restored(Snapshot(module, Problems(x, y), task), asked, i)
        return {name: np.asarray(values) for name, (_, values, _) in found.items()}

    parts, truth = [measured(i, 32) for i in range(draws)], measured(draws, 5_000)
    name = "landscape_restored"
    value, error = (np.stack([one[name + part] for one in parts]) for part in ("", "_error"))
    scattered = error > 1e-6 * np.abs(value)
    value, error = (np.where(scattered, part, np.nan) for part in (value, error))
    some = np.isfinite(value).any(0)
    data = "exact energy, 32 problems"
    yield covered(name, data, value[:, some], error[:, some], truth[name][some])


_MINIMUM = ["displacement", "error", "bias_square", "spread"]
_CURVATURE = [
    *("curvature", "off_block", "curvature_ratio", "calibration"),
    *("predicted_error_mean", "measured_error_mean", "intrinsic_dimension_mean", "gap"),
]


def _of_network(module: IREDModule, task: Task, probe: Probe, i: int, count: int) -> xr.Dataset:
    snapshot = Snapshot(module, task.sample(count, stream("cpu", 1000 + i)), task)
    return probe.with_settings(seed=i)(snapshot)


def emergence_points(draws: int) -> Iterator[Row]:
    rng, k, point = np.random.default_rng(8), np.arange(10), 4.3
    line = np.clip((point + 1 - k) / 2, 0, 1)[:, None]
    for count, runs in ((8, 1), (32, 1), (32, 3)):
        inside = []
        for _ in range(draws):
            common = 0.2 * rng.standard_normal((10, count))
            own = 0.05 * rng.standard_normal((runs, 10, 1)) if runs > 1 else np.zeros((1, 10, 1))
            every = line + common + own
            one = np.ones((10, count))
            drawn = mean_of_runs(np.stack([halves_of_mean(values, one) for values in every]))
            found = passing(k, every.mean((0, 2)), drawn, np.zeros(10))
            inside.append([found.low <= point <= found.high, np.isfinite(found.k)])
        held, told = np.array(inside).T
        data = f"planted, {count} problems" + (f", {runs} runs" if runs > 1 else "")
        yield Row("emergence", data, held[told], float(told.mean()))


def noise_scale(draws: int) -> Iterator[Row]:
    rng, d = np.random.default_rng(0), 60
    for tails in ("normal", "few directions", "t3", "log-normal"):
        for count, truth in ((8, 200.0), (8, 10.0), (32, 10.0), (128, 10.0)):
            shape = (draws, count, 1)
            scale, power, spectrum = np.ones(shape), 1.0, np.ones(d)
            if tails == "t3":
                scale, power = np.sqrt(3 / rng.chisquare(3, shape)), 3.0
            if tails == "log-normal":
                scale, power = np.exp(rng.standard_normal(shape)), float(np.exp(2))
            if tails == "few directions":
                spectrum = 1 / np.arange(1, d + 1)
                spectrum /= np.sqrt((spectrum**2).mean())
            g = rng.standard_normal((draws, count, d)) * scale * spectrum
            g *= np.sqrt(truth / d / power)
            g[..., 0] += 1
            found = noise_statistics(g @ g.swapaxes(1, 2))
            low, high = found["noise_scale_low"], found["noise_scale_high"]
            data = f"{tails} noise, {count} gradients, truth {truth:.0f}"
            inside = (low <= truth) & (truth <= high)
            yield Row("noise_scale, snr", data, inside, 1.0, float(np.isinf(high).mean()))


def gradients_theta(draws: int) -> Iterator[Row]:
    rng = np.random.default_rng(1)
    for count in (12, 48):
        g = 0.3 + rng.standard_normal((draws, count, 40)) * np.linspace(0.3, 1.5, 40)
        found = gram_statistics(g @ g.swapaxes(1, 2))
        big = 0.3 + rng.standard_normal((2000, 40)) * np.linspace(0.3, 1.5, 40)
        unit = big / np.linalg.norm(big, axis=1, keepdims=True)
        truths = {
            "mean_cosine": ((unit @ unit.T).sum() - 2000) / (2000 * 1999),
            "participation": found["participation"].mean(),
        }
        for name, truth in truths.items():
            data = f"gradients in θ, {count} of them"
            yield covered(name, data, found[name], found[f"{name}_error"], truth)
    generator = torch.Generator().manual_seed(2)
    for planted in (0.0, 0.5):
        values, errors = [], []
        for _ in range(draws):
            q = torch.linalg.qr(torch.randn(300, 2, generator=generator).double()).Q.T
            means = torch.stack([q[0], planted * q[0] + (1 - planted**2) ** 0.5 * q[1]])
            noise = torch.randn(1, 8, 300, generator=generator).double() * (8 * 0.44 / 300) ** 0.5
            found = landscape_cosines(means[:, None] + noise)
            values.append(found["landscape_cosine_corrected"][0, 1])
            errors.append(found["landscape_cosine_corrected_error"][0, 1])
        data = f"shared noise that shows {0.31 + 0.69 * planted:.2f}, truth {planted}"
        yield covered("landscape_cosine_corrected", data, values, errors, planted)


def overlaps(draws: int) -> Iterator[Row]:
    rng = torch.Generator().manual_seed(3)
    short = ((60, 2, 1, 6), (1000, 3, 1, 6), (16, 2, 12, 6), (60, 2, 32, 6))
    for ambient, p, count, frames in (*short, (16, 2, 12, 24)):
        for shared in (False, True):
            found: dict[str, list[float]] = {}
            for _ in range(draws):
                drift = planted_drift(ambient, p, count, frames, 0.4 / (frames - 1), shared, rng)
                for name, value in drift.items():
                    found.setdefault(name, []).append(value)
            batch = "one subspace" if count == 1 else f"{count} subspaces"
            noise = "shared" if shared else "own"
            data = f"{batch}, R^{ambient}, p = {p}, {frames} frames, {noise} noise"
            for name in ("overlap_corrected", "displacement", "path_length"):
                yield covered(
                    name, data, found[name], found[f"{name}_error"], found[f"{name}_truth"][0]
                )


def planted_drift(
    ambient: int,
    p: int,
    count: int,
    frames: int,
    speed: float,
    shared: bool,
    rng: torch.Generator,
) -> dict[str, float]:
    """A geodesic of constant speed (rad a frame), seen twice through noise."""
    q = torch.linalg.qr(torch.randn(count, ambient, 2 * p, generator=rng).double()).Q

    def drawn() -> torch.Tensor:
        return 0.5 * torch.randn(2, count, ambient, p, generator=rng).double() / ambient**0.5

    batch, estimates = drawn(), []
    for i in range(frames):
        angle = torch.tensor(speed * i / p**0.5)
        plane = angle.cos() * q[..., :p] + angle.sin() * q[..., p:]
        estimates.append(plane + (batch if shared else drawn()))
    bases = torch.stack(estimates)  # (m, 2, B, N, p)
    first, repeat = bases[:, 0], bases[:, 1]
    same = geometry.principal_angles(first[:, None], first[None])
    crossed = geometry.principal_angles(first[:, None], repeat[None])
    overlap = [angles.cos().square().mean(-1) for angles in (crossed, same)]
    high = geometry.chance_band(ambient, p, p, count=count).high
    corrected = corrected_pairs(*overlap, ambient, p, high)
    places = torch.arange(frames, dtype=torch.float64)
    floor = torch.zeros(same.shape[:3], dtype=torch.float64)
    moved = travel(same, floor, corrected, p, places)
    end = speed * (frames - 1)
    result = {name: float(values[-1]) for name, values in moved.items()}
    return result | {
        "overlap_corrected": float(corrected.value[0, -1]),
        "overlap_corrected_error": float(corrected.error[0, -1]),
        "overlap_corrected_truth": float(np.cos(end / p**0.5) ** 2),
        "displacement_truth": end,
        "path_length_truth": end,
    }


def eigengaps(draws: int) -> Iterator[Row]:
    rng = torch.Generator().manual_seed(4)
    for truth, p in ((0.0, 2), (0.5, 2), (0.8, 1)):
        scale = torch.ones(16, dtype=torch.float64)
        scale[:p] = (1 / (1 - truth)) ** 0.5
        gaps, shown = [], []
        for _ in range(draws):
            rows = torch.randn(128, 16, generator=rng).double() * scale
            halves = rows[::2], rows[1::2]
            gaps.append(frame_of_vectors(halves, p, "vectors").gap)
            # What the directions of both halves show of the covariance.
            sizes = [(scale[:, None] * leading_directions(h, p, p + 1)[0]) for h in halves]
            sizes = [part.square().sum(0) for part in sizes]
            shown.append(sum(float((s[p - 1] - s[p]) / s[0]) for s in sizes) / 2)
        value, error = ([getattr(gap, part) for gap in gaps] for part in ("value", "error"))
        data = f"64 + 64 vectors, p = {p}, truth {truth}"
        yield covered("eigengap", data, value, error, shown)
        share = np.mean([gap.identified for gap in gaps])
        print(f"{data}: identified in {share:.1%}", file=sys.stderr)
    gaps = []
    for _ in range(draws):
        q = torch.linalg.qr(torch.randn(12, 8, 8, generator=rng).double()).Q
        noise = torch.randn(2, 12, 8, 8, generator=rng).double() * 0.2
        core = (q * torch.tensor([2.0, 2, 1, 1, 1, 1, 1, 1])) @ q.mT
        seen = core + (noise + noise.mT)
        gaps.append(frame_of_matrices(seen[0], seen[1], 2).gap)
    value, error = ([getattr(gap, part) for gap in gaps] for part in ("value", "error"))
    yield covered("eigengap", "12 noisy matrices, twice", value, error, float(np.mean(value)))


def bands(draws: int) -> Iterator[Row]:
    rng = np.random.default_rng(5)
    for n, p, count in ((6, 1, 4), (36, 2, 128), (16, 2, 32), (1000, 5, 1)):
        angles = geometry.chance_angles(n, p, p, draws * 5 * count, rng).reshape(-1, count, p)
        for metric in ("overlap", "geodesic"):
            band = geometry.chance_band(n, p, p, metric, draws=4000, count=count)
            overlap = np.square(np.cos(angles)).mean(-1)
            each = overlap if metric == "overlap" else np.linalg.norm(angles, axis=-1)
            inside = (band.low <= each.mean(1)) & (each.mean(1) <= band.high)
            yield Row(f"{metric}_chance", f"R^{n}, p = {p}, mean of {count}", inside, 1.0)


def test_errors(draws: int) -> Iterator[Row]:
    rng = torch.Generator().manual_seed(6)
    for count in (32, 500):
        value, error = [], []
        for _ in range(draws):
            score = ProblemError(sync_on_compute=False)
            score.update(torch.randn(count, 9, generator=rng), torch.zeros(count, 9))
            mean, spread = score.compute()
            value.append(float(mean))
            error.append(float(spread))
        yield covered("test error", f"{count} problems", value, error, 1.0)


def traces(draws: int) -> Iterator[Row]:
    rng = torch.Generator().manual_seed(7)
    raw = torch.randn(60, 60, generator=rng, dtype=torch.float64)
    operator = MatrixOperator(raw + raw.mT)
    truth = float((raw + raw.mT).trace())
    found = [trace(operator, 40, seed=seed, progress=False) for seed in range(draws)]
    inside = np.array([estimate.low <= truth <= estimate.high for estimate in found])
    yield Row("trace", "random matrix of order 60, 40 products", inside, 1.0)


CASES: dict[str, Callable[[int], Iterator[Row]]] = {
    "test_error": test_errors,
    "hessian_y": hessian_y,
    "trace": traces,
    "gradients_y": gradients_y,
    "gradients_theta": gradients_theta,
    "noise_scale": noise_scale,
    "overlaps": overlaps,
    "eigengaps": eigengaps,
    "bands": bands,
    "trajectory": trajectory,
    "rises": rises,
    "network_probes": network_probes,
    "landscapes": landscapes,
    "emergence": emergence_points,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="a word in the names of cases")
    parser.add_argument("--draws", type=int, default=300, help="repetitions of each case")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| interval | data | holds the truth | told | open end |\n|---|---|---|---|---|")
    for name, case in CASES.items():
        if options.only in name:
            start = time.process_time()
            for row in case(options.draws):
                print(row.line, flush=True)
            seconds = time.process_time() - start
            print(f"{name}: {seconds:.0f} CPU s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
