"""GradientField against planted planes, perfect models and the overlap that sampling allows."""

import numpy as np
import pytest
import torch

from ired_interp.energy import MLPEnergy
from ired_interp.errors import InputError
from ired_interp.module import IREDModule
from ired_interp.probes import GradientField, Snapshot
from ired_interp.probes.field_planes import FieldPlanes
from ired_interp.probes.planes import rank_frame
from ired_interp.random import stream
from ired_interp.tasks import ExactEnergy
from ired_interp.tasks.base import Task
from ired_interp.tasks.completion import Completion
from ired_interp.tasks.inverse import Inverse
from ired_interp.tasks.linear_gaussian import LinearGaussian


def perfect(task: Task, problems: int) -> Snapshot:
    return Snapshot(IREDModule(ExactEnergy(task)), task.sample(problems, stream("cpu", 1)), task)


def test_a_perfect_model_with_one_answer_has_gradients_of_chance_and_denoises_to_the_answer() -> (
    None
):
    found = GradientField(p=2)(perfect(Inverse(4), 400))
    overlap, chance = found["overlap"], 2 / 4
    noise = overlap.sel(field="gradient")
    assert float(found["overlap_random"]) == chance
    error = found["overlap_error"].sel(field="gradient")
    assert float((abs(noise - chance) / error).max()) < 4.5
    np.testing.assert_allclose(overlap.sel(field="denoised"), 1, atol=1e-3)
    noised = overlap.sel(field="noised", side="left")  # lost in noise from landscape to landscape
    assert float(noised[0]) > 0.8
    assert float(abs(noised[-1] - chance)) < 0.04
    assert overlap.sel(field="error").isnull().all()  # there is none but rounding
    # ε is white: an equal share in each direction, whatever the answer
    share = found["block_share"].sel(field="gradient")
    difference = abs(share - found["block_share_chance"])
    assert float((difference / found["block_share_error"].sel(field="gradient")).max()) < 4.5
    modes = found["mode_share"].sel(field="gradient")
    np.testing.assert_allclose(modes.sum(["left_mode", "right_mode"]), 1)
    np.testing.assert_allclose(modes, float(found["mode_share_chance"]), atol=0.02)


def test_permuted_answers_keep_what_all_answers_share_and_lose_what_belongs_to_each() -> None:
    rng = stream("cpu", 2)
    common = torch.linalg.qr(torch.randn(6, 6, generator=rng, dtype=torch.float64)).Q
    count, n = 200, 6
    turned = torch.linalg.qr(torch.randn(count, n, n, generator=rng, dtype=torch.float64)).Q
    scale = torch.tensor([5.0, 4.0, 0.1, 0.1, 0.1, 0.1]).double()
    for left, alike in ((common.expand(count, n, n), True), (turned, False)):
        y = (left * scale) @ turned.mT
        planes = FieldPlanes([rank_frame(y.flatten(1), 2)], y.flatten(1), 2)
        found = planes.overlaps(y.flatten(1)[None, None], 200, 0)
        overlap, chance, low, high = (
            found[name][1][0, 0, 0]
            for name in ("overlap", "overlap_chance", "overlap_chance_low", "overlap_chance_high")
        )
        assert overlap == pytest.approx(1)
        assert chance == pytest.approx(1 if alike else 2 / n, abs=0.02)
        assert low <= chance <= high < (1.001 if alike else 0.5)


def test_a_planted_part_of_a_field_is_found_in_its_block_and_mode() -> None:
    n, count = 5, 12
    drawn = stream("cpu", 3)
    y = torch.randn(count, n * n, generator=drawn, dtype=torch.float64)
    u, _, vt = torch.linalg.svd(y.unflatten(1, (n, n)))
    core = 3 * u[:, :, :1] @ vt[:, 1:2]  # u₀v₁ᵀ
    normal = 4 * u[:, :, 3:4] @ vt[:, 4:5]  # u₃v₄ᵀ
    planes = FieldPlanes([rank_frame(y, 2)], y, 2)
    found = planes.shares((core + normal).flatten(1)[None, None])
    share = dict(zip(planes.coordinates["block"], found["block_share"][1][0, 0], strict=True))
    expected = {"column": 0, "row": 0, "core": 9 / 25, "tangent": 9 / 25, "normal": 16 / 25}
    assert share == pytest.approx(expected, abs=1e-9)
    chances = [6 / 25, 6 / 25, 4 / 25, 16 / 25, 9 / 25]
    assert found["block_share_chance"][1] == pytest.approx(chances)
    modes = found["mode_share"][1][0, 0]
    assert modes[0, 1] == pytest.approx(9 / 25)
    assert modes[3, 4] == pytest.approx(16 / 25)


def test_entries_that_are_visible_and_hidden_share_white_noise_by_their_number() -> None:
    task = Completion(6, rank=2, noise=0.0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = IREDModule(MLPEnergy(36, 36, width=8))
    batch = task.sample(50, stream("cpu", 4))
    found = GradientField(landscapes=[0])(Snapshot(module, batch, task))
    assert found.attrs["p"] == 2  # the rank of the answers
    # an untrained network's gradient is nearly 0, so that its error is −ε
    part = found["block_share"].sel(landscape=0, field="error")
    np.testing.assert_allclose(part, found["block_share_chance"], atol=0.05)
    seen = (batch.x != 0).double().mean()
    chance = found["block_share_chance"]
    assert float(chance.sel(block="visible")) == pytest.approx(float(seen))
    assert float(chance.sel(block=["visible", "hidden"]).sum()) == pytest.approx(1)


def test_gradients_of_a_gaussian_posterior_span_its_planes_as_far_as_sampling_allows() -> None:
    found = GradientField(landscapes=[0, 4], p=4)(perfect(LinearGaussian(15), 5000))
    overlap, name = found["covariance_overlap"], "covariance_overlap_expected"
    assert (overlap >= found[f"{name}_low"] - 0.02).all()
    assert (overlap <= found[f"{name}_high"] + 0.02).all()
    assert float(overlap.sel(landscape=0)) > 0.98  # told apart, and at k = 4 hardly
    assert 0.3 < float(overlap.sel(landscape=4)) < 0.8
    assert float(found["covariance_overlap_chance"]) == 4 / 15


def test_answers_without_matrices_or_known_covariance_are_refused() -> None:
    task = LinearGaussian(5)
    found = GradientField(landscapes=[0])(perfect(task, 20))
    assert "overlap" not in found  # five entries are no matrix
    assert "covariance_overlap" in found
    snapshot = perfect(task, 20)
    with pytest.raises(InputError, match="no Gaussian posterior"):
        GradientField(landscapes=[0])(Snapshot(snapshot.module, snapshot.batch))
    with pytest.raises(InputError, match="rank 4 of 4 × 4"):
        GradientField(p=4).check(IREDModule(ExactEnergy(Inverse(4))))
