import math

import pytest
import torch

from ired_interp.errors import InputError, RunError
from ired_interp.geometry import (
    exp,
    geodesic,
    grassmann_distance,
    karcher_mean,
    orthonormal_basis,
    principal_geodesics,
)


@pytest.fixture
def cloud(normal):
    """Eight planes about 0.3 rad from a centre in Gr(2, 9)."""
    centre = orthonormal_basis(normal(9, 2))
    raw = 0.15 * normal(8, 9, 2)
    return exp(centre, raw - centre @ (centre.mT @ raw))


def test_mean_of_two_is_the_midpoint(planes):
    u, v = planes(15, [0.5, 1.2])
    mean = karcher_mean(torch.stack([u, v]))
    assert grassmann_distance(mean.basis, geodesic(u, v, torch.tensor([0.5]))[0]) < 1e-9
    assert mean.dispersion == pytest.approx((0.5**2 + 1.2**2) / 4, abs=1e-12)


def test_agrees_with_geomstats_at_a_tight_tolerance(cloud):
    import geomstats.backend as gs
    from geomstats.geometry.grassmannian import Grassmannian
    from geomstats.learning.frechet_mean import FrechetMean, variance

    space = Grassmannian(9, 2)
    projectors = gs.array((cloud @ cloud.mT).numpy())
    theirs = FrechetMean(space).set(epsilon=1e-24, max_iter=300).fit(projectors).estimate_
    mean = karcher_mean(cloud)
    assert abs(mean.basis @ mean.basis.mT - torch.as_tensor(gs.to_numpy(theirs))).max() < 1e-9
    assert mean.dispersion == pytest.approx(
        float(variance(space, projectors, theirs)) / 2, abs=1e-12
    )
    assert mean.unique


def test_mean_turns_with_the_space_and_is_stationary(cloud, normal):
    rotation = orthonormal_basis(normal(9, 9))
    mean, turned = karcher_mean(cloud), karcher_mean(rotation @ cloud)
    assert grassmann_distance(rotation @ mean.basis, turned.basis) < 1e-9
    components = [principal_geodesics(m, 4) for m in (mean, turned)]
    torch.testing.assert_close(components[1].explained, components[0].explained, rtol=0, atol=1e-10)
    torch.testing.assert_close(
        components[1].scores.abs(), components[0].scores.abs(), rtol=0, atol=1e-9
    )
    assert (grassmann_distance(cloud, cloud[0]).square().mean() - mean.dispersion) > 0
    assert torch.linalg.matrix_norm(mean.logs.mean(0)) < 1e-10


def test_principal_geodesic_of_planes_on_one_geodesic(planes):
    u, v = planes(15, [0.5, 1.2])
    times = torch.tensor([0.1, 0.2, 0.5, 0.9], dtype=torch.float64)
    mean = karcher_mean(geodesic(u, v, times))
    found = principal_geodesics(mean, 2)
    assert found.explained[0].item() == pytest.approx(1, abs=1e-12)
    expected = (times - times.mean()) * math.hypot(0.5, 1.2)
    torch.testing.assert_close(found.scores[:, 0].abs(), expected.abs(), rtol=0, atol=1e-9)
    far = exp(mean.basis, found.scores[3, 0] * found.directions[0])
    assert grassmann_distance(far, geodesic(u, v, times)[3]) < 1e-9


def test_failures_are_told(cloud):
    with pytest.raises(RunError, match="did not converge in 1"):
        karcher_mean(cloud, max_iterations=1)
    with pytest.raises(InputError, match="right angle"):
        karcher_mean(torch.eye(4)[:, :3].mT.unsqueeze(-1))
    with pytest.raises(InputError, match="m subspaces"):
        karcher_mean(cloud[0])
    with pytest.raises(InputError, match="coincide"):
        principal_geodesics(karcher_mean(cloud[:1].expand(3, 9, 2)), 1)
    with pytest.raises(InputError, match="1 to 8"):
        principal_geodesics(karcher_mean(cloud), 9)
