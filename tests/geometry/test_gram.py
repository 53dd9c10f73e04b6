"""The Gram matrix of all columns holds every angle, to the rounding that it states."""

import pytest
import torch

from ired_interp.errors import InputError
from ired_interp.geometry import Subspace, orthonormal_basis, principal_angles
from ired_interp.geometry.gram import (
    angles_from_cross,
    coordinates_from_gram,
    extend_gram,
    normalise_gram,
)

ROUNDING = 1000 * torch.finfo(torch.float64).eps


@pytest.fixture(params=[2000, 20_000])
def bases(request, planes, normal):
    """Five planes: random ones, one met at 1e-3 rad, and one that shares a direction with it."""
    near, far = planes(request.param, [1e-3, 0.5, 1.2])
    shared = torch.cat([near[:, :1], normal(request.param, 2)], dim=1)
    return [near, far, shared, normal(request.param, 3), normal(request.param, 3)]


def close(found, truth):
    """Sines squared carry some roundings of 1, so an angle θ carries them over θ, their root at
    0."""
    limit = torch.minimum(ROUNDING / truth.clamp(min=1e-300), torch.tensor(ROUNDING**0.5))
    assert ((found - truth).abs() <= limit).all()


def all_pairs(frames):
    return principal_angles(frames[:, None], frames[None])


def test_gram_keeps_every_angle(bases):
    subspaces = [Subspace.from_basis(basis, torch.float64) for basis in bases]
    direct = all_pairs(torch.stack(bases))
    blocks = normalise_gram(extend_gram(subspaces))
    found = angles_from_cross(blocks)
    close(found, direct)
    coordinates = coordinates_from_gram(blocks)
    assert coordinates.shape[1] <= 15
    identity = torch.eye(3, dtype=torch.float64).expand(5, 3, 3)
    torch.testing.assert_close(coordinates.mT @ coordinates, identity, rtol=0, atol=ROUNDING)
    close(all_pairs(coordinates), direct)


@pytest.mark.parametrize("batch", [(), (3,)])
def test_extended_gram_equals_the_gram_at_once(normal, batch):
    subspaces = [Subspace.from_basis(normal(*batch, 9000, 2)) for _ in range(7)]
    stacked = torch.cat([subspace.basis() for subspace in subspaces], dim=-1)
    at_once = extend_gram(subspaces)
    direct = (stacked.mT @ stacked).reshape(*batch, 7, 2, 7, 2).movedim((-4, -2), (0, 1))
    torch.testing.assert_close(at_once, direct, rtol=0, atol=ROUNDING)
    torch.testing.assert_close(
        extend_gram(subspaces, extend_gram(subspaces[:4])), at_once, rtol=0, atol=ROUNDING
    )


def test_blocks_of_a_batch_are_products_of_orthonormal_bases(normal):
    bases = normal(4, 3, 30, 2)
    subspaces = [Subspace.from_basis(basis, torch.float64) for basis in bases]
    blocks = normalise_gram(extend_gram(subspaces))
    assert blocks.shape == (4, 4, 3, 2, 2)
    q = orthonormal_basis(bases)
    direct = principal_angles(q[:, None], q[None])
    close(angles_from_cross(blocks), direct)


def test_unequal_shapes_are_refused(normal):
    with pytest.raises(InputError, match="same"):
        extend_gram([Subspace.from_basis(normal(9, 2)), Subspace.from_basis(normal(9, 3))])
