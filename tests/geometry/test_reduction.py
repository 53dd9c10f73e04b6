import pytest
import torch

from ired_interp.errors import InputError
from ired_interp.geometry import Subspace, principal_angles, reduced_coordinates
from ired_interp.geometry.reduction import (
    angles_from_gram,
    coordinates_from_gram,
    extend_gram,
    normalise_gram,
)


@pytest.fixture(params=[2000, 20_000])
def bases(request, planes, normal):
    """Five planes: random ones, one met at 1e-3 rad, and one that shares a direction with the first."""
    near, far = planes(request.param, [1e-3, 0.5, 1.2])
    shared = torch.cat([near[:, :1], normal(request.param, 2)], dim=1)
    return [near, far, shared, normal(request.param, 3), normal(request.param, 3)]


def all_pairs(frames):
    return principal_angles(frames[:, None], frames[None])


def test_qr_coordinates_keep_every_angle(bases):
    direct = all_pairs(torch.stack(bases))
    coordinates = reduced_coordinates(bases)
    assert coordinates.shape == (5, 15, 3)
    torch.testing.assert_close(all_pairs(coordinates), direct, rtol=0, atol=1e-12)


def test_gram_keeps_every_angle(bases):
    snapshots = [Subspace.from_basis(basis, torch.float64) for basis in bases]
    direct = all_pairs(torch.stack(bases))
    blocks = normalise_gram(extend_gram(snapshots), 3)
    resolved = direct > 1e-4
    found = angles_from_gram(blocks)
    # sines squared carry up to √20 000 roundings, 3e-14, so angles 3e-14/θ, and 2e-7 at θ = 0
    torch.testing.assert_close(found[resolved], direct[resolved], rtol=0, atol=3e-11)
    torch.testing.assert_close(found, direct, rtol=0, atol=2e-7)
    generic = direct > 0.1
    torch.testing.assert_close(found[generic], direct[generic], rtol=0, atol=1e-12)
    coordinates = coordinates_from_gram(blocks)
    assert coordinates.shape[1] <= 15
    identity = torch.eye(3, dtype=torch.float64).expand(5, 3, 3)
    torch.testing.assert_close(coordinates.mT @ coordinates, identity, rtol=0, atol=1e-13)
    torch.testing.assert_close(all_pairs(coordinates), direct, rtol=0, atol=2e-7)
    torch.testing.assert_close(all_pairs(coordinates)[generic], direct[generic], rtol=0, atol=1e-12)


def test_extended_gram_equals_the_gram_at_once(normal):
    snapshots = [Subspace.from_basis(normal(9000, 2)) for _ in range(7)]
    stacked = torch.cat([snapshot.basis() for snapshot in snapshots], dim=1)
    at_once = extend_gram(snapshots)
    torch.testing.assert_close(at_once, stacked.T @ stacked, rtol=0, atol=1e-12)
    torch.testing.assert_close(
        extend_gram(snapshots, extend_gram(snapshots[:4])), at_once, rtol=0, atol=1e-12
    )


def test_unequal_shapes_are_refused(normal):
    with pytest.raises(InputError, match="equal shape"):
        reduced_coordinates([normal(9, 2), normal(9, 3)])
    with pytest.raises(InputError, match="same"):
        extend_gram([Subspace.from_basis(normal(9, 2)), Subspace.from_basis(normal(9, 3))])
