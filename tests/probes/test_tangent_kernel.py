"""TangentKernel against Gauss–Newton, a step of gradient descent, energies linear in their weights and planted kernels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from ired_interp.energy import Energy, MLPEnergy
from ired_interp.errors import InputError
from ired_interp.module import IREDModule
from ired_interp.probes import Snapshot, TangentKernel
from ired_interp.probes.base import measuring_point
from ired_interp.probes.gradient_variables import layer_grams
from ired_interp.probes.kernel_alignment import (
    cka_error,
    debiased_cka,
    neighbour_halves,
    permuted_cka,
)
from ired_interp.probes.kernel_targets import targets
from ired_interp.probes.tangent_rows import TangentRows
from ired_interp.random import stream
from ired_interp.spectra import GaussNewtonOperator
from ired_interp.tasks import ExactEnergy
from ired_interp.tasks.base import Problems, Task
from ired_interp.tasks.completion import Completion
from ired_interp.tasks.inverse import Inverse

K = 3


class Bilinear(Energy):
    """E = ⟨y, Θx⟩, whose gradient Θx is linear in its weights: the kernel is ⟨x, x′⟩, whatever they are."""

    def __init__(self, d: int) -> None:
        super().__init__(d, d)
        self.theta = torch.nn.Parameter(torch.zeros(d, d, dtype=torch.float64))

    def evaluate(self, context: tuple[Tensor, Tensor], y: Tensor) -> Tensor:
        return (y * (context[0] @ self.theta.mT)).sum(1)


def snapshot_of(energy: Energy, task: Task, problems: int = 8) -> Snapshot:
    x, y = (part.double() for part in task.sample(problems, stream("cpu", 7)))
    return Snapshot(IREDModule(energy).double(), Problems(x, y), task)


@pytest.fixture(scope="module")
def network() -> Snapshot:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return snapshot_of(MLPEnergy(4, 4, width=6), Inverse(2))


def test_the_block_kernel_has_the_eigenvalues_of_gauss_newton(network: Snapshot) -> None:
    found = TangentKernel(landscapes=[K], vectors=4)(network)
    module, (x, y) = network.module, network.batch
    at = measuring_point(network, K, "noised", 0)
    eps = torch.zeros_like(y)
    operator = GaussNewtonOperator(
        lambda: module.energy.gradient(x, at, K),
        lambda g: (g - eps).square().mean(),
        [p for p in module.energy.parameters() if p.requires_grad],
    )
    # a row of the Jacobian for each entry: the products with it leave at most N d directions
    basis = torch.linalg.qr(_jacobian(module, x, at).mT).Q
    inner = basis.mT @ torch.stack([operator @ column for column in basis.mT], 1)
    truth = torch.linalg.eigvalsh(inner).flip(0)
    block = found["block_eigenvalues"].sel(landscape=K)
    np.testing.assert_allclose(block, truth, atol=1e-10 * float(truth[0]))
    total = found["eigenvalues"].sel(layer="all").sum()
    assert float(total) == pytest.approx(float(truth.sum()), rel=1e-10)
    parts = found["eigenvalues"].sum("rank").isel(landscape=0)
    assert float(parts.isel(layer=slice(1, None)).sum()) == pytest.approx(float(total))


def _jacobian(module: IREDModule, x: Tensor, at: Tensor) -> Tensor:
    g = module.energy.gradient(x, at, K).flatten()
    weights = [p for p in module.energy.parameters() if p.requires_grad]
    rows = [torch.autograd.grad(entry, weights, retain_graph=True) for entry in g]
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])


def test_a_step_of_gradient_descent_moves_gradients_by_the_kernel(network: Snapshot) -> None:
    module, (x, y) = network.module, network.batch
    n, d = y.shape
    at = measuring_point(network, K, "noised", 0)
    eps = (at - module.schedule.signal[K] * y) / module.schedule.noise[K]
    units = torch.eye(d, dtype=torch.float64).repeat(n, 1)
    rows = TangentRows(
        module, "score", K, x.repeat_interleave(d, 0), at.repeat_interleave(d, 0), units
    )
    kernel = torch.from_numpy(layer_grams(rows, 2e7, 1)[0][0])  # in several chunks
    before = module.energy.gradient(x, at, K)
    weights = [p for p in module.energy.parameters() if p.requires_grad]
    slopes = torch.autograd.grad((before - eps).square().mean(), weights)
    errors = []
    for rate in (1e-2, 1e-3):
        with torch.no_grad():
            for weight, slope in zip(weights, slopes, strict=True):
                weight.sub_(rate * slope)
            moved = (module.energy.gradient(x, at, K) - before).flatten()
            for weight, slope in zip(weights, slopes, strict=True):
                weight.add_(rate * slope)
        predicted = -rate * 2 / (n * d) * kernel @ (before - eps).detach().flatten()
        errors.append(float((moved - predicted).norm() / moved.norm()))
    assert errors[0] < 0.05
    assert errors[1] == pytest.approx(errors[0] / 10, rel=0.3)  # of first order in the rate


def test_an_energy_linear_in_its_weights_has_one_kernel_all_along() -> None:
    snapshot = snapshot_of(Bilinear(4), Inverse(2), 12)
    other = {"theta": torch.randn(4, 4, dtype=torch.float64, generator=stream("cpu", 1))}
    found = TangentKernel(landscapes=[0, 5], vectors=4)(replace(snapshot, initial=other))
    truth = snapshot.batch.x @ snapshot.batch.x.mT
    for k in (0, 5):
        np.testing.assert_allclose(found["kernel"].sel(landscape=k), truth, atol=1e-12)
    np.testing.assert_allclose(found["drift"], 1, atol=1e-12)
    np.testing.assert_allclose(found["landscape_cka"], 1, atol=1e-12)
    aligned = found["alignment"].sel(layer="all", landscape=0)
    assert float(aligned.sel(target="problem")) == pytest.approx(1)
    other_target = aligned.sel(target="leading directions")
    assert float(other_target) < 0.99


def test_random_signs_estimate_the_exact_kernel_within_their_error() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        snapshot = snapshot_of(MLPEnergy(9, 9, width=8), Inverse(3))
    exact = TangentKernel(landscapes=[0], vectors=9)(snapshot)
    rough = TangentKernel(landscapes=[0], vectors=8)(snapshot)
    assert "block_eigenvalues" not in rough
    assert (exact["eigenvalues_error"] == 0).all()
    at = {"layer": "all", "landscape": 0}
    for name in ("eigenvalues", "participation"):
        values, error = (rough[part].sel(at).values.flat[0] for part in (name, f"{name}_error"))
        truth = exact[name].sel(at).values.flat[0]
        assert 0 < error < 0.5 * truth
        assert abs(values - truth) < 4 * error
    kernels = (torch.from_numpy(found["kernel"].values[0]) for found in (rough, exact))
    assert float(debiased_cka(*kernels)) > 0.9


def test_the_contrast_kernel_is_that_of_differences_of_energies(network: Snapshot) -> None:
    probe = TangentKernel(landscapes=[K], kernel="contrast")
    found = probe(network)
    module, x = network.module, network.batch.x
    right, wrong = probe._pair(network, K)
    weights = [p for p in module.energy.parameters() if p.requires_grad]
    rows = []
    for i in range(len(x)):
        part = slice(i, i + 1)
        gap = module.energy(x[part], right[part], K) - module.energy(x[part], wrong[part], K)
        slopes = torch.autograd.grad(gap.sum(), weights, allow_unused=True, materialize_grads=True)
        rows.append(torch.cat([slope.flatten() for slope in slopes]))
    jacobian = torch.stack(rows)
    np.testing.assert_allclose(found["kernel"].sel(landscape=K), jacobian @ jacobian.mT, rtol=1e-9)


def test_debiased_alignment_of_independent_kernels_is_zero_where_the_biased_one_is_not() -> None:
    draws, n = 200, 32
    generator = stream("cpu", 2)
    x, y = (torch.randn(draws, n, d, generator=generator) for d in (300, 120))
    a, b = x @ x.mT, y @ y.mT
    found = debiased_cka(a, b)
    assert abs(float(found.mean())) < 4 * float(found.std()) / draws**0.5
    assert float(found.std()) < 0.1
    centring = torch.eye(n) - 1 / n
    ca, cb = centring @ a @ centring, centring @ b @ centring
    biased = (ca * cb).sum((1, 2)) / (ca.square().sum((1, 2)) * cb.square().sum((1, 2))).sqrt()
    assert float(biased.mean()) > 0.7
    # and the null of permuted problems is as wide as independent draws are
    null = permuted_cka(b[0], 500, generator)(a[:1])
    assert float(null.std()) == pytest.approx(float(found.std()), rel=0.3)
    assert 0.3 < cka_error(a, b).mean() / float(found.std()) < 3


def test_tangent_planes_overlap_as_their_projections_do() -> None:
    n, r = 4, 2
    task = Completion(n, rank=r, noise=0.0)
    snapshot = snapshot_of(Bilinear(n * n), task, 6)
    projections = []
    for matrix in snapshot.batch.y.reshape(-1, n, n):
        u, _, vt = torch.linalg.svd(matrix)
        left, right = u[:, :r] @ u[:, :r].mT, vt[:r].mT @ vt[:r]
        eye = torch.eye(n, dtype=torch.float64)
        projections.append(torch.eye(n * n) - torch.kron(eye - left, eye - right))
    flat = torch.stack(projections).flatten(1)
    np.testing.assert_allclose(targets(snapshot)["tangent planes"], flat @ flat.mT, atol=1e-5)


def test_models_and_problems_without_a_kernel_are_refused(network: Snapshot) -> None:
    with pytest.raises(InputError, match="ExactEnergy has none"):
        TangentKernel().check(IREDModule(ExactEnergy(Inverse(2))))
    few = replace(network, batch=Problems(*(part[:4] for part in network.batch)))
    with pytest.raises(InputError, match="4 problems; give it at least 5"):
        TangentKernel()(few)


def test_halves_of_the_problems_scatter_about_the_alignment_of_neighbours() -> None:
    rows = torch.randn(3, 40, 6, generator=stream("cpu", 1), dtype=torch.float64)
    kernels = torch.stack([rows[0], rows[0] + 0.7 * rows[1], rows[2]])
    kernels = kernels @ kernels.mT
    halves = neighbour_halves(kernels, [9, 2, 5], 0)  # 2 beside 5, 5 beside 9
    assert np.isnan(halves[:, 0]).all()
    for place, other in ((1, 2), (2, 0)):
        whole, error = (f(kernels[place], kernels[other]) for f in (debiased_cka, cka_error))
        assert halves[:, place].mean() == pytest.approx(float(whole), abs=0.05)
        assert halves[:, place].std() == pytest.approx(float(error), rel=0.5)
    assert np.isnan(neighbour_halves(kernels[:, :7, :7], [0, 1, 2], 0)).all()
