"""Curvature by planes, shrinkage, dimension and rises against the closed forms of perfect models."""

from functools import cache

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor

from ired_interp.energy import Energy, FixedEntries, MLPEnergy
from ired_interp.errors import InputError, RunError
from ired_interp.geometry import tangent_normal_split
from ired_interp.module import IREDModule
from ired_interp.probes import Curvature, Snapshot
from ired_interp.probes.base import measuring_point
from ired_interp.probes.planes import directions, families, frames, plane_curvature
from ired_interp.random import stream
from ired_interp.schedule import Schedule
from ired_interp.tasks import Completion, ExactEnergy, Inverse, LinearGaussian, TwoAnswers
from ired_interp.tasks.base import Problems

SCHEDULE = Schedule().double()
SIGNAL, NOISE = SCHEDULE.signal.numpy(), SCHEDULE.noise.numpy()
SIGMAS = 4.5  # at most 50 comparisons of one seed: a true value lies outside with probability 4e-4


def perfect(task, count: int, **settings) -> xr.Dataset:
    module = IREDModule(ExactEnergy(task)).double()
    problems = Problems(*(part.double() for part in task.sample(count, stream("cpu", 1))))
    return Curvature(dtype="float64", **settings)(Snapshot(module, problems, task))


@cache
def measured() -> xr.Dataset:
    return perfect(LinearGaussian(20, 1.0, 1.0, rank=5), 200)


@pytest.fixture
def support() -> xr.Dataset:
    """x fixes 15 directions of 20, and leaves variance 1 in the other 5."""
    return measured()


def test_a_gaussian_is_flat_on_its_support_and_curved_across_it(support: xr.Dataset) -> None:
    free = NOISE**2 / (SIGNAL**2 + NOISE**2)
    curvature = support["curvature"]
    np.testing.assert_allclose(curvature.sel(family="support"), free, rtol=1e-8)
    np.testing.assert_allclose(curvature.sel(family="kernel"), 1, rtol=1e-8)
    np.testing.assert_allclose(curvature.sel(family="random"), (5 * free + 15) / 20, rtol=1e-8)
    np.testing.assert_allclose(support["theory_curvature"], curvature, rtol=1e-8)
    np.testing.assert_allclose(support["off_block"], 0, atol=1e-9)
    np.testing.assert_allclose(support["family_dimension"], [20, 5, 15])
    shrinkage = support["shrinkage"].transpose(..., "landscape")[:, :5]
    np.testing.assert_allclose(shrinkage, np.broadcast_to(1 - free, shrinkage.shape), rtol=1e-6)
    rise = support["rise"].sel(family="support") / support["rise"].sel(family="kernel")
    np.testing.assert_allclose(rise, np.tile(free[:, None], 5), rtol=1e-7)


def test_its_dimension_is_seen_as_far_as_the_noise_lets_it(support: xr.Dataset) -> None:
    """Σ ᾱs/(ᾱs + σ²): 4.86, 3.24, 1.02 and 0 at k = 0, 3, 6, 9."""
    found = support["intrinsic_dimension_mean"]
    np.testing.assert_allclose(found, 5 * SIGNAL**2 / (SIGNAL**2 + NOISE**2), atol=1e-9)
    np.testing.assert_allclose(found[::3], [4.86, 3.24, 1.02, 0.0], atol=0.005)
    np.testing.assert_allclose(support["theory_dimension"], found, atol=1e-9)
    free = NOISE**2 / (SIGNAL**2 + NOISE**2) < 0.5
    np.testing.assert_allclose(support["free_directions"], 5 * free)


def test_the_largest_gap_holds_the_plane_of_the_support(support: xr.Dataset) -> None:
    assert (support["gap_rank"][:9] == 5).all()
    assert (support["gap_share"][:9] == 1).all()
    overlap = support["plane_overlap"][:9]
    np.testing.assert_allclose(overlap.sel(family="support"), 1, atol=1e-6)
    np.testing.assert_allclose(overlap.sel(family="kernel"), 0, atol=1e-6)
    np.testing.assert_allclose(support["plane_chance"], [1, 0.25, 0.75])
    # g is the mean of ε given y_k: its square is σ²/(ᾱ + σ²) a direction on the support, 1 off it.
    free = NOISE**2 / (SIGNAL**2 + NOISE**2)
    exact = 5 * free / (5 * free + 15)
    assert (abs(support["gradient_share"] - exact)[:9] < 0.03).all()


@pytest.mark.parametrize("task", [LinearGaussian(20, 1.0, 1.0, rank=5), TwoAnswers(6)])
def test_the_error_of_denoising_is_what_the_hessian_predicts(task) -> None:
    """Whatever the posterior: E tr C = E‖D − y*‖², though the two are measured apart."""
    found = perfect(task, 1500, landscapes=[3, 6, 8])
    np.testing.assert_allclose(found["predicted_error_mean"], found["theory_error"], rtol=1e-9)
    gap = found["predicted_error"] - found["measured_error"]
    error = gap.std("problem") / 1500**0.5
    assert (abs(gap.mean("problem")) < SIGMAS * error).all()
    assert (abs(found["calibration"] - 1) < SIGMAS * found["calibration_error"]).all()
    assert float(found["calibration_error"].max()) < 0.2


def test_between_two_answers_more_is_left_than_the_noise_holds() -> None:
    """At the middle σλ = 1 − Δ²/4σ² along a − b: a shrinkage of Δ²/4σ², above 1 where there are two wells."""
    task = TwoAnswers(6)
    x = task.sample(8, stream("cpu", 2)).x.double()
    a, b = x.chunk(2, 1)
    module = IREDModule(ExactEnergy(task)).double()
    middle = Snapshot(module, Problems(x, (a + b) / 2), task)
    found = Curvature(point="answer", dtype="float64")(middle)
    ratio = (SIGNAL / NOISE)[:, None] ** 2 * (a - b).square().sum(1).numpy() / 4
    np.testing.assert_allclose(found["shrinkage"][..., 0], ratio, rtol=1e-6)
    np.testing.assert_allclose(found["shrinkage"][..., 1:], 0, atol=1e-6)
    np.testing.assert_allclose(found["intrinsic_dimension"], ratio, rtol=1e-6)  # g = 0 there
    assert (found["plane_overlap"].sel(family="random")[:5] == pytest.approx(1)).all()


def low_rank(count: int) -> Tensor:
    factors = torch.randn(2, count, 4, 1, generator=torch.Generator().manual_seed(0))
    return (factors[0] @ factors[1].mT).flatten(1).double()


def test_where_x_fixes_y_no_plane_and_no_direction_is_preferred() -> None:
    task = Inverse(4)
    module, x = IREDModule(ExactEnergy(task)).double(), task.sample(40, stream("cpu", 1)).x.double()
    found = Curvature(rank=1, dtype="float64")(Snapshot(module, Problems(x, low_rank(40)), task))
    ranked = ["column", "row", "core", "tangent", "normal"]
    spectral = ["eigenvalues", "eigenvectors", "large", "small"]
    assert list(found["family"].values)[1:] == [*ranked, *spectral]
    np.testing.assert_allclose(found["family_dimension"], [16, 3, 3, 1, 7, 9, 4, 12, 4, 4])
    for name in ("curvature", "theory_curvature", "curvature_ratio"):
        np.testing.assert_allclose(found[name], 1, rtol=1e-6)
    np.testing.assert_allclose(found["intrinsic_dimension"], 0, atol=1e-5)
    assert np.isnan(found["plane_overlap"]).all(), "eigenvectors of a multiple of I are arbitrary"
    # At the answers of rank 1 the energy has no minimum, but ± directions cancel its slope.
    np.testing.assert_allclose(found["preference"], 1, rtol=1e-5)
    own = Snapshot(module, Problems(x, task.posterior(x).mean), task)
    own = Curvature(dtype="float64")(own)
    assert np.isnan(own["calibration"]).all(), "what is 0 but for rounding is not compared"
    assert np.isnan(own["gradient_share"]).all()


class Planted(Energy):
    """Perfect for a posterior of covariance s P_T, P_T tangent to the matrices of rank r at y*."""

    def __init__(self, answer: Tensor, rank: int, s: float) -> None:
        super().__init__(answer.shape[1], answer.shape[1])
        self.answer, self.rank, self.s = answer, rank, s

    def condition(self, x: Tensor, k: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        _, rows = torch.where((x[:, None] == self.answer).all(2))
        return self.answer[rows], SCHEDULE.signal[k, None], SCHEDULE.noise[k]

    def evaluate(self, context: tuple[Tensor, ...], y: Tensor) -> Tensor:
        answer, signal, noise = context
        n = round(answer.shape[1] ** 0.5)
        u, _, vt = torch.linalg.svd(answer.unflatten(1, (n, n)))
        u, v = u[..., : self.rank], vt[..., : self.rank, :].mT
        z = (y - signal * answer).unflatten(1, (n, n))
        across = z - u @ (u.mT @ z)
        normal = (across - (across @ v) @ v.mT).square().sum((1, 2))
        tangent = z.square().sum((1, 2)) - normal
        signal = signal[:, 0]
        return noise / 2 * (normal / noise**2 + tangent / (signal**2 * self.s + noise**2))


def test_an_energy_flat_along_the_manifold_is_found_so() -> None:
    """κ_N/κ_T = (ᾱ s + σ²)/σ², 35.8 at k = 0; tangent families rise by its inverse."""
    y, task = low_rank(5), Completion(4, 1, noise=0.0)
    snapshot = Snapshot(IREDModule(Planted(y, 1, 1.0)).double(), Problems(y, y), task)
    found = Curvature(dtype="float64", memory_gib=4e-5)(snapshot)  # two problems at a time
    exact = (SIGNAL**2 + NOISE**2) / NOISE**2
    np.testing.assert_allclose(found["curvature_ratio"], exact, rtol=1e-6)
    assert float(found["curvature_ratio"][0]) == pytest.approx(35.8, abs=0.05)
    np.testing.assert_allclose(found["curvature"].sel(family="normal"), 1, rtol=1e-6)
    for family in ("column", "row", "core", "tangent"):
        ratio = found["rise"].sel(family=family) / found["rise"].sel(family="normal")
        np.testing.assert_allclose(ratio, np.tile(1 / exact[:, None], 5), rtol=1e-6)
    assert (found["gap_rank"][:9] == 7).all()
    np.testing.assert_allclose(found["plane_overlap"].sel(family="tangent")[:9], 1, atol=1e-6)
    whole = Curvature(dtype="float64")(snapshot)
    xr.testing.assert_allclose(found, whole, rtol=1e-6)


class VisibleAlone(Energy):
    """As a perfect model on the entries that completion shows; flat on the others."""

    def condition(self, x: Tensor, k: Tensor) -> tuple[Tensor, ...]:
        return x, SCHEDULE.signal[k, None].to(x.dtype), SCHEDULE.noise[k].to(x.dtype)

    def evaluate(self, context: tuple[Tensor, ...], y: Tensor) -> Tensor:
        x, signal, noise = context
        return ((y - signal * x).square() * (x != 0)).sum(1) / (2 * noise)


def test_a_perfect_model_of_completion_is_certain_of_what_it_is_shown() -> None:
    task = Completion(4, 1, noise=0.0)
    batch = task.sample(6, stream("cpu", 1))
    found = Curvature()(Snapshot(IREDModule(VisibleAlone(16, 16)), batch, task))
    np.testing.assert_allclose(found["curvature"].sel(family="visible"), 1, rtol=1e-5)
    np.testing.assert_allclose(found["curvature"].sel(family="hidden"), 0, atol=1e-6)
    np.testing.assert_allclose(found["off_block"].sel(family=["visible", "hidden"]), 0, atol=1e-5)
    theory = found["theory_curvature"]
    assert (theory.sel(family="visible") == 1).all()
    assert int(theory.notnull().sum()) == 10
    hidden = (batch.x == 0).sum(1).double().mean()
    np.testing.assert_allclose(found["intrinsic_dimension_mean"], float(hidden), rtol=1e-4)
    np.testing.assert_allclose(found["family_dimension"].sel(family="hidden"), float(hidden))


def test_planes_are_those_of_their_projections() -> None:
    """Curvature and mixing of a random symmetric H against dense projections."""
    y, task = low_rank(3), Completion(4, 1, noise=0.0)
    x = y * (torch.rand(y.shape, generator=torch.Generator().manual_seed(1)) < 0.5)
    every = frames(Snapshot(IREDModule(MLPEnergy(16, 16, 4)), Problems(x, y), task), None)
    h = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(2)).double()
    h = h + h.mT
    found = plane_curvature(h, every, 0.7)
    unit = torch.eye(16).double()
    for i in range(3):
        split = tangent_normal_split(unit.view(16, 4, 4), y[i].view(1, 4, 4).expand(16, -1, -1), 1)
        u, _, vt = torch.linalg.svd(y[i].view(4, 4))
        left, right = u[:, :1] @ u[:, :1].mT, vt[:1].mT @ vt[:1]
        other = torch.eye(4) - torch.stack([left, right])
        projections = {
            "tangent": split.tangent.flatten(1),
            "normal": split.normal.flatten(1),
            "column": torch.kron(other[0], right),
            "row": torch.kron(left, other[1]),
            "core": torch.kron(left, right),
            "visible": (x[i] != 0).double().diag(),
            "hidden": (x[i] == 0).double().diag(),
            "random": unit,
        }
        assert set(projections) == set(families(every))
        for name, p in projections.items():
            mean, off = (part[i] for part in found[name])
            torch.testing.assert_close(mean, 0.7 * (p @ h[i]).trace() / p.trace(), msg=name)
            exact = 0.7 * torch.linalg.matrix_norm(p @ h[i] @ (unit - p))
            torch.testing.assert_close(off, exact, msg=name)


def test_rises_of_a_gaussian_are_those_of_its_curvature_within_their_error() -> None:
    """Of one answer no direction is preferred, at any length (above)."""
    rng = torch.Generator().manual_seed(0)
    y = (torch.randn(16, 3, 2, generator=rng) @ torch.randn(16, 2, 3, generator=rng)).flatten(1)
    task = LinearGaussian(9)
    module, x = IREDModule(ExactEnergy(task)).double(), task.sample(16, stream("cpu", 1)).x.double()
    found = Curvature(rank=2, candidates=3)(Snapshot(module, Problems(x, y.double()), task))
    assert float(abs(found["theory_preference"] - 1).max()) > 0.02
    apart = found["preference"] - found["theory_preference"]
    assert float(abs(apart / (found["preference_error"] + 1e-9)).max()) < 5


class OffColumns(Energy):
    """The squared distance of y from the column space of the answer, of rank 2."""

    def __init__(self, problems: Problems) -> None:
        super().__init__(problems.x.shape[1], problems.y.shape[1])
        u = torch.linalg.svd(problems.y.unflatten(1, (6, 6))).U[..., :2]
        self.x, self.outside = problems.x, torch.eye(6) - u @ u.mT

    def condition(self, x: Tensor, k: Tensor) -> Tensor:
        _, rows = torch.where((x[:, None] == self.x).all(2))
        return self.outside[rows]

    def evaluate(self, context: Tensor, y: Tensor) -> Tensor:
        return (context @ y.unflatten(1, (6, 6))).square().sum((1, 2))


def test_an_energy_that_knows_the_column_space_prefers_to_keep_it() -> None:
    """Only what leaves it costs energy: turning it and raising the rank do, the rest does not."""
    task = Completion(6, rank=2, noise=0.0)
    batch = task.sample(24, stream("cpu", 2))
    snapshot = Snapshot(IREDModule(OffColumns(batch)), batch, task)
    found = Curvature([0])(snapshot).sel(length=0.5, landscape=0)
    for family in ("row", "core"):
        assert float(found["rise"].sel(family=family)) == pytest.approx(0, abs=1e-4)
    for family in ("column", "normal"):  # all of D leaves it; of a random D (n − r)/n = 2/3
        error = float(found["preference_error"].sel(family=family))
        assert float(found["preference"].sel(family=family)) == pytest.approx(1.5, abs=4 * error)
        assert error < 0.1


def test_planes_of_the_eigenvectors_of_x_are_those_of_its_answer() -> None:
    """Against dense projections of Q, and first-order moves of the answer's own eigenvalues."""
    task = Inverse(5)
    x = task.sample(3, stream("cpu", 4)).x.double()
    y = task.posterior(x).mean
    every = frames(Snapshot(IREDModule(MLPEnergy(25, 25, 4)), Problems(x, y), task), None)
    h = torch.randn(3, 25, 25, generator=torch.Generator().manual_seed(2)).double()
    h = h + h.mT
    found = plane_curvature(h, every, 0.7)
    drawn = directions(every, y.shape, 1, stream("cpu", 5))
    for i in range(3):
        q = torch.linalg.eigh(y[i].view(5, 5)).eigenvectors.flip(1)  # of the largest first
        pairs = torch.einsum("ai,bj->ijab", q, q).flatten(2)  # q_i q_jᵀ
        same = torch.eye(5, dtype=torch.bool)
        first = torch.arange(5) < 2
        planes = {
            "eigenvalues": same,
            "eigenvectors": ~same,
            "large": first[:, None] & first,
            "small": ~first[:, None] & ~first,
        }
        for name, chosen in planes.items():
            basis = pairs[chosen]
            mean = 0.7 * torch.einsum("pi,ij,pj->p", basis, h[i], basis).mean()
            torch.testing.assert_close(found[name][0][i], mean, msg=name)
        moved = {n: y[i] + 1e-5 * drawn[n][0, i] for n in planes}
        shift = {n: torch.linalg.eigvals(m.view(5, 5)).real.sort().values for n, m in moved.items()}
        off = {
            n: float((s - torch.linalg.eigvalsh(y[i].view(5, 5))).norm()) for n, s in shift.items()
        }
        assert off["eigenvalues"] == pytest.approx(1e-5, rel=1e-3)
        assert off["eigenvectors"] < 1e-8


class HalfGiven(Inverse):
    def fixed(self, x: Tensor) -> FixedEntries:
        mask = torch.tensor([True, False, False, True]).expand(len(x), -1)
        return FixedEntries(mask, self.posterior(x).mean)


def test_what_a_problem_gives_has_no_curvature_and_counts_for_nothing() -> None:
    task = HalfGiven(2)
    module = IREDModule(ExactEnergy(task), task=task).double()
    problems = Problems(*(part.double() for part in task.sample(5, stream("cpu", 1))))
    found = Curvature(dtype="float64")(Snapshot(module, problems, task))
    np.testing.assert_allclose(found["curvature"], 1, rtol=1e-6)
    assert found["family_dimension"].item() == 2
    assert (found["shrinkage"].notnull().sum("rank") == 2).all()
    np.testing.assert_allclose(found["intrinsic_dimension"], 0, atol=1e-6)


def test_products_with_random_signs_estimate_the_traces_of_the_dense_hessian() -> None:
    y, task = low_rank(4), Completion(4, 1, noise=0.0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = IREDModule(MLPEnergy(16, 16, 8)).double()
    snapshot = Snapshot(module, Problems(y * (y > 0), y), task)
    settings = {"landscapes": [2, 7], "dtype": "float64"}
    whole = Curvature(**settings)(snapshot)
    found = Curvature(**settings, vectors=100)(snapshot)
    off = found["intrinsic_dimension"] - whole["intrinsic_dimension"]
    assert float((off / found["trace_error"]).std()) == pytest.approx(1, abs=0.6)
    off = abs(found["curvature_by_problem"] - whole["curvature_by_problem"])
    for i, k in enumerate(settings["landscapes"]):
        at = measuring_point(snapshot, k, "noised", 0)
        hessian = NOISE[k] * module.energy.hessian(snapshot.batch.x, at, k)
        for name, (frame, plane) in families(frames(snapshot, None)).items():
            inside = frame.matrix(hessian) * plane[:, :, None] * plane[:, None]
            apart = inside - torch.diag_embed(inside.diagonal(dim1=1, dim2=2))
            error = (2 / 100) ** 0.5 * torch.linalg.matrix_norm(apart) / plane.sum(1)
            bound = SIGMAS * error.numpy() + 1e-12
            assert (off[i].sel(family=name).values < bound).all(), name
    np.testing.assert_allclose(found["off_block"], whole["off_block"], rtol=0.15, atol=1e-9)
    for name in ("measured_error", "rise", "family_dimension"):
        np.testing.assert_allclose(found[name], whole[name])
    assert not {"shrinkage", "gap", "plane_overlap", "free_directions"} & set(found)


def test_of_perfect_models_few_products_are_exact_in_the_planes_of_their_eigenvectors() -> None:
    free = NOISE**2 / (SIGNAL**2 + NOISE**2)
    found = perfect(LinearGaussian(20, 1.0, 1.0, rank=5), 8, vectors=2)
    np.testing.assert_allclose(found["curvature"].sel(family="support"), free, rtol=1e-8)
    np.testing.assert_allclose(found["curvature"].sel(family="kernel"), 1, rtol=1e-8)
    one = perfect(Inverse(4), 8, vectors=2)
    np.testing.assert_allclose(one["curvature"], 1, rtol=1e-8)
    for name in ("intrinsic_dimension", "trace_error", "off_block"):
        np.testing.assert_allclose(one[name], 0, atol=1e-8)
    assert Curvature(vectors=2).summary(one)


def test_complaints(network: Snapshot) -> None:
    with pytest.raises(InputError, match="rank 4 of 4 × 4 matrices"):
        Curvature(rank=4)(network)
    with pytest.raises(InputError, match=r"takes 1.5e-05 GiB .* set vectors"):
        Curvature(memory_gib=1e-5)(network)
    Curvature(memory_gib=1e-5, vectors=2).check(network.module)
    for parameter in network.module.parameters():
        parameter.data.fill_(torch.nan)
    with pytest.raises(RunError, match="landscape 2 is not finite"):
        Curvature(landscapes=[2])(network)
