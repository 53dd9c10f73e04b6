"""SubspaceDrift: each source against a direct computation or a closed form; it is a pure
function."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ired_interp.diffusion import Noise
from ired_interp.energy import Energy
from ired_interp.errors import InputError
from ired_interp.geometry import overlap
from ired_interp.module import IREDModule
from ired_interp.probes import Snapshot, SubspaceDrift
from ired_interp.probes import subspace_sources_theta as in_theta
from ired_interp.probes import subspace_sources_y as in_y
from ired_interp.probes.base import measuring_point
from ired_interp.probes.loss_gradients import LossGradients, TrainingLoss
from ired_interp.probes.subspace_drift import Axis
from ired_interp.probes.subspace_frames import Source
from ired_interp.probes.subspace_pairs import frame_of_matrices, frame_of_vectors
from ired_interp.random import stream
from ired_interp.tasks.base import Problems

SAME = 1e-5  # of an overlap that is 1, for directions computed in float32 with gaps of order 1


def few(snapshot: Snapshot, count: int) -> Snapshot:
    return Snapshot(
        snapshot.module,
        Problems(*(t[:count] for t in snapshot.batch)),
        snapshot.task,
        snapshot.step,
    )


def test_curvature_of_a_gaussian_posterior_is_its_own_eigenbasis(gaussian: Snapshot) -> None:
    posterior = gaussian.task.posterior(gaussian.batch.x[:1])  # type: ignore[union-attr]
    truth = posterior.basis[:, posterior.variances.argsort()[:2]]  # type: ignore[union-attr]
    snapshot, k = few(gaussian, 5), 3
    y = measuring_point(snapshot, k, "noised", 0)
    found = in_y.hessians(snapshot.module.energy, snapshot.batch.x, y, k, 2**20)
    frame = frame_of_matrices(found, None, 2)
    assert float(overlap(frame.basis, truth.double()).min()) > 1 - SAME
    exact = snapshot.exact_curvature()[k].sort(descending=True).values  # type: ignore[index]
    assert frame.gap.value == pytest.approx(float((exact[1] - exact[2]) / exact[0]), abs=SAME)
    drift = SubspaceDrift("hessian", landscapes=[0, 3, 5])(snapshot)
    assert list(drift["label"].values) == [5, 3, 0]  # as inference visits them
    for name in ("overlap", "overlap_independent", "overlap_corrected", "reliability"):
        np.testing.assert_allclose(drift[name], 1, atol=SAME)
    assert float(drift["overlap_chance"].isel(bound=2)) < 0.5


def test_energy_gradients_of_a_gaussian_posterior_lie_where_it_is_sharp(gaussian: Snapshot) -> None:
    """Their covariance σ²(ᾱS + σ²)⁻¹ has the posterior's eigenvectors; its leading two stand 0.3
    above the rest at k = 0."""
    posterior = gaussian.task.posterior(gaussian.batch.x[:1])  # type: ignore[union-attr]
    truth = posterior.basis[:, posterior.variances.argsort()[:2]]  # type: ignore[union-attr]
    x, y = gaussian.batch.x, measuring_point(gaussian, 0, "noised", 0)
    rows = gaussian.module.energy.gradient(x, y, 0)
    frame = frame_of_vectors((rows[::2], rows[1::2]), 2, "energy gradients")
    for basis in (frame.basis, frame.repeat):  # sampling error of a direction ~ √(1/2000)/gap
        assert float(overlap(basis, truth.double())) > 0.96  # type: ignore[type-var]
    assert frame.gap.identified


def test_loss_gradients_are_those_of_single_problems(network: Snapshot) -> None:
    for layer in (None, "fc2"):
        found = in_theta.loss_gradient_rows(network.module, network.batch, 4, layer, 0, 2**30)
        rows = LossGradients(network.module, network.batch, 4, 0)[slice(None)]
        matrix = rows[layer] if layer else torch.cat(list(rows.values()), 1)
        torch.testing.assert_close(found, matrix)
        frame = frame_of_vectors((found[:6], found[6:]), 3, "loss gradients")
        truth = torch.linalg.svd(matrix[:6].double(), full_matrices=False).Vh[:3].mT
        assert float(overlap(frame.basis, truth)) > 1 - 1e-9


def test_loss_hessian_as_by_dense_eigenvectors(network: Snapshot) -> None:
    """Top eigenvectors of one layer's block, against the dense Hessian in that layer."""
    module, (x, y), k = network.module, network.batch, 4
    halves = network.batch, network.batch  # the same problems twice: the gap is exact
    frame = in_theta.loss_hessian_frame(module, halves, k, 2, "fc4", (0, 0), 2**30)
    found = frame.basis
    names = ["fc4.weight", "fc4.bias"]
    noise = Noise(
        torch.full((12,), k), *torch.randn(2, 12, 16, generator=stream("cpu", 0, "loss", k))
    )
    loss = TrainingLoss(module)
    shapes = [dict(module.energy.named_parameters())[n].shape for n in names]

    def at(flat: torch.Tensor) -> torch.Tensor:
        parts = flat.split([s.numel() for s in shapes])
        weights = {
            f"energy.{n}": part.view(s) for n, part, s in zip(names, parts, shapes, strict=True)
        }
        return torch.func.functional_call(loss, weights, (x, y, noise))  # type: ignore[no-any-return]

    flat = torch.cat([dict(module.energy.named_parameters())[n].detach().flatten() for n in names])
    dense = torch.autograd.functional.hessian(
        at, flat
    )  # torch.func.hessian differentiates through no_grad, in forward mode
    values, vectors = torch.linalg.eigh(dense.double())
    truth = vectors[:, -2:]
    gap = float((values[-2] - values[-3]) / values[-1])
    assert frame.gap.value == pytest.approx(gap, abs=1e-3)
    assert (
        float(overlap(found.double(), truth)) > 1 - 3e-4
    )  # a residual of 1e-4 over a gap of 0.01 to the third, squared


def test_activations_are_what_the_layer_puts_out(network: Snapshot) -> None:
    energy, (x, y) = network.module.energy, network.batch
    found = in_y.activations(energy, x, y, 2)["fc4"]
    context = energy.condition(x, torch.full((12,), 2))
    torch.testing.assert_close(found, energy.output(context, y))  # type: ignore[operator]


def test_solutions_of_a_perfect_model_end_in_the_answer(exact_inverse: Snapshot) -> None:
    found = SubspaceDrift("solution", p=2)(exact_inverse)
    assert list(found["label"].values) == list(range(9, -1, -1))
    assert float(found["overlap_answer"][-1]) > 1 - 1e-4
    walk = SubspaceDrift("solution", axis="inference", p=2)(exact_inverse)
    assert walk.sizes["frame"] == 10 * 6
    ends = walk["inner_step"].values == 5
    np.testing.assert_allclose(walk["overlap_answer"][ends], found["overlap_answer"], atol=1e-5)


@pytest.mark.parametrize("axis", ["landscapes", "training", "inference"])
def test_it_is_a_pure_function_of_a_snapshot(network: Snapshot, axis: Axis) -> None:
    drift = SubspaceDrift("hessian", axis=axis, landscapes=[0, 7])
    before, first = drift.settings(), drift(network)
    drift(replace(network, step=100))
    assert drift(network).identical(first)
    assert drift.settings() == before


class Quadratic(Energy):
    """½ Σ a_i(k) y_i², with a crossing of the largest two between k = 4 and 5 for a slope of 1."""

    def __init__(self, eigenvalues: list[float], slope: float = 0.0) -> None:
        super().__init__(len(eigenvalues), len(eigenvalues))
        self.eigenvalues, self.slope = torch.tensor(eigenvalues), slope

    def condition(self, x: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        a = self.eigenvalues.repeat(len(k), 1)
        a[:, 0] += self.slope * (k - 4.5)
        return a

    def evaluate(self, context: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (context * y.square()).sum(1) / 2


def quadratic(*eigenvalues: float, slope: float = 0.0, problems: int = 40) -> Snapshot:
    d, rng = len(eigenvalues), torch.Generator().manual_seed(0)
    x, y = torch.randn(2, problems, d, generator=rng)
    return Snapshot(IREDModule(Quadratic(list(eigenvalues), slope)), Problems(x, y))


@pytest.mark.parametrize("source", ["hessian", "gradients"])
def test_equal_eigenvalues_leave_the_subspace_arbitrary(
    exact_inverse: Snapshot, source: Source
) -> None:
    """Of a perfect model with one answer all directions are alike: nothing is said of two."""
    found = SubspaceDrift(source, p=2)(exact_inverse)
    assert found["identified"].mean() <= 0.2  # of ten gradients' gaps 2.5 % look real by chance
    assert (abs(found["eigengap"]) < 4 * found["eigengap_error"] + 1e-5).all()
    for name in ("overlap", "reliability", "overlap_corrected", "geodesic"):
        assert np.isnan(found[name].values[~found["identified"].values]).all()
    assert "arbitrary" in SubspaceDrift(source, p=2).summary(found)


def test_a_crossing_shows_in_the_gap() -> None:
    found = SubspaceDrift(p=1)(quadratic(1.0, 1.0, 0.2, 0.1, slope=0.02))
    assert found["identified"].all()
    gap = found["eigengap"].values
    np.testing.assert_allclose(gap[[0, 4, 5, 9]], [0.09 / 1.09, 0.01 / 1.01, 0.01, 0.09], rtol=1e-3)
    assert float(found["speed"][5]) == pytest.approx(np.pi / 2)  # where the gap is least


@pytest.mark.parametrize("problems", [40, 6])
def test_gradients_of_too_low_a_rank_are_refused(problems: int) -> None:
    with pytest.raises(InputError, match=r"spans only 1 dimensions in torch\.float32"):
        SubspaceDrift("gradients", p=2)(quadratic(1.0, 0.0, 0.0, 0.0, problems=problems))
    with pytest.raises(InputError, match="at least 6 problems"):
        SubspaceDrift("gradients", p=2)(quadratic(3.0, 2.0, 1.0, problems=4))


def test_gradients_in_a_coordinate_plane_do_not_move() -> None:
    found = SubspaceDrift("gradients", p=2)(quadratic(1.0, 3.0, 0.0, 0.0, 0.0, problems=64))
    np.testing.assert_allclose(found["overlap"], 1)
    np.testing.assert_allclose(found["geodesic"], 0, atol=1e-7)
    assert float(found["dispersion"]) == pytest.approx(0, abs=1e-12)
    assert found["identified"].all()


def test_answers_of_too_low_a_rank_are_refused(network: Snapshot) -> None:
    x, y = network.batch
    flat = (y[:, :4, None] * y[:, None, 4:8]).flatten(1)
    with pytest.raises(InputError, match="spans only 1 dimensions"):
        SubspaceDrift("solution", p=2)(Snapshot(network.module, Problems(x, flat)))


def test_no_noise_no_repeat(network: Snapshot) -> None:
    found = SubspaceDrift("hessian", landscapes=[0, 5], point="answer")(network)
    assert np.isnan(found["overlap_corrected"].values[0, 1])
    assert np.isfinite(found["overlap"].values).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "hesse"}, "no source 'hesse'"),
        ({"axis": "time"}, "no axis 'time'"),
        ({"point": "middle"}, "no point 'middle'"),
        ({"source": "solution", "space": "theta"}, "in theta"),
        ({"p": 0}, "p=0"),
        ({"memory_gib": 0.0}, "memory_gib=0.0"),
        ({"source": "activations"}, "needs a layer"),
        ({"layer": "nonsense"}, "no use for layer='nonsense'"),
        ({"source": "solution", "point": "answer"}, "no use for point='answer'"),
        ({"axis": "inference", "point": "solution"}, "no use for point='solution'"),
        ({"space": "theta", "point": "answer"}, "no use for point='answer'"),
        ({"source": "gradients", "memory_gib": 4.0}, r"no use for memory_gib=4\.0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SubspaceDrift(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"p": 16}, "p=16 dimensions fill their space of 16"),
        ({"source": "solution", "p": 4}, "p=4 dimensions fill their space of 4"),
        ({"landscapes": [3, 10]}, "this model has 0 to 9"),
        ({"space": "theta", "layer": "fc7"}, r"no layer 'fc7' with weights; choose one of .*fc2"),
        ({"space": "theta", "layer": "fc4", "p": 10**6}, "fill their space"),
        ({"source": "activations", "layer": "fc9"}, "choose one of .*fc2"),
        ({"source": "activations", "layer": "fc2", "p": 12}, "fill their space of 12"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_before_anything_is_measured(
    network: Snapshot, settings: dict[str, Any], message: str
) -> None:
    drift = SubspaceDrift(**settings)
    for refused in (lambda: drift.check(network.module), lambda: drift(network)):
        with pytest.raises(InputError, match=message):
            refused()


def test_a_model_without_weights_is_refused_in_theta(gaussian: Snapshot) -> None:
    with pytest.raises(InputError, match="no weights; measure it in space 'y'"):
        SubspaceDrift(space="theta").check(gaussian.module)


def test_gradients_that_do_not_fit_are_refused(network: Snapshot) -> None:
    with pytest.raises(InputError, match="lower the number of problems"):
        SubspaceDrift("gradients", "theta", memory_gib=1e-4)(network)
