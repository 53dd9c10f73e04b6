import pytest
import torch

from ired_interp.errors import InputError, RunError
from ired_interp.geometry import (
    exp,
    geodesic,
    grassmann_distance,
    karcher_mean,
    orthonormal_basis,
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
    assert (grassmann_distance(cloud, cloud[0]).square().mean() - mean.dispersion) > 0
    assert torch.linalg.matrix_norm(mean.logs.mean(0)) < 1e-10


def test_failures_are_told(cloud):
    with pytest.raises(RunError, match="did not converge in 1"):
        karcher_mean(cloud, max_iterations=1)
    with pytest.raises(InputError, match="right angle"):
        karcher_mean(torch.eye(4)[:, :3].mT.unsqueeze(-1))
    with pytest.raises(InputError, match="m subspaces"):
        karcher_mean(cloud[0])
