import math

import numpy as np
import pytest
import scipy.linalg
import torch

import ired_interp as ii
from ired_interp.errors import InputError
from ired_interp.geometry import orthonormal_basis, principal_angles

KNOWN = [0.0, 1e-12, 1e-8, 1e-4, 0.3, 1.2, math.pi / 2 - 1e-4, math.pi / 2 - 1e-8, math.pi / 2]
ROUNDING = 500 * torch.finfo(torch.float64).eps  # still below the smallest angle but 0


def test_public_name():
    assert ii.geometry.principal_angles is principal_angles


@pytest.mark.parametrize("n", [20, 300, 20_000])  # 20 000 rows take the streamed path
@pytest.mark.parametrize("extra", [0, 2])
def test_known_angles_are_found_in_any_basis(planes, normal, n, extra):
    u, v = planes(n, KNOWN, extra)
    mixed = u @ normal(9, 9), v @ normal(9 + extra, 9 + extra)
    conditioning = max(torch.linalg.cond(orthonormal_basis(u).T @ mixed[0]).item(), 1)
    for pair in ((u, v), mixed, mixed[::-1]):
        tolerance = ROUNDING if pair[0] is u else ROUNDING * conditioning
        torch.testing.assert_close(
            principal_angles(*pair),
            torch.tensor(KNOWN, dtype=torch.float64),
            rtol=0,
            atol=tolerance,
        )


def test_agrees_with_scipy_and_keeps_numpy():
    rng = np.random.default_rng(0)
    u, v = rng.standard_normal((50, 4)), rng.standard_normal((50, 7))
    angles = principal_angles(u, v)
    assert isinstance(angles, np.ndarray)
    np.testing.assert_allclose(
        angles, scipy.linalg.subspace_angles(u, v)[::-1], rtol=0, atol=ROUNDING
    )


def test_invariant_under_rotation_of_the_space(planes, normal):
    u, v = planes(60, KNOWN)
    rotation = orthonormal_basis(normal(60, 60))
    torch.testing.assert_close(
        principal_angles(rotation @ u, rotation @ v), principal_angles(u, v), rtol=0, atol=ROUNDING
    )


@pytest.mark.parametrize("n", [30, 9000])
def test_batches_broadcast(normal, n):
    u, v = normal(3, 1, n, 2), normal(4, n, 3)
    angles = principal_angles(u, v)
    assert angles.shape == (3, 4, 2)
    torch.testing.assert_close(angles[2, 1], principal_angles(u[2, 0], v[1]), rtol=0, atol=ROUNDING)


def test_float32_columns_of_any_scale_keep_small_angles(planes):
    u, v = planes(1000, [1e-4, 1e-3])
    scales = torch.tensor([1e-12, 1e9])
    angles = principal_angles(u.float() * scales, v.float())
    # Rounding the columns to float32 moves each plane by about 3e-8; arccos in float32 would err by
    # 1e-4.
    torch.testing.assert_close(
        angles, torch.tensor([1e-4, 1e-3], dtype=torch.float64), rtol=0, atol=2e-7
    )


@pytest.mark.parametrize(
    ("u", "v", "says"),
    [
        (torch.ones(5, 2), torch.eye(5)[:, :2], "spans only 1"),
        (torch.zeros(5, 1), torch.eye(5)[:, :2], "spans only 0"),
        (torch.full((5, 1), torch.nan), torch.eye(5)[:, :2], "NaN"),
        (torch.eye(5), torch.eye(6), "5 rows"),
        (torch.ones(2, 5), torch.ones(2, 5), "transpose"),
        (torch.ones(5), torch.ones(5), "shape"),
        (torch.eye(3).to(torch.complex64), torch.eye(3), "complex"),
        (torch.eye(3).to_sparse(), torch.eye(3), "dense"),
        (np.ma.masked_less(np.eye(3), 0.5), np.eye(3), "masked"),
        ([[1.0]], torch.eye(1), "list"),
    ],
)
def test_refuses_what_has_no_angles(u, v, says):
    with pytest.raises(InputError, match=says):
        principal_angles(u, v)


def test_dependence_within_the_input_precision_is_refused(normal):
    basis = normal(40, 2)
    nearly = torch.cat([basis, basis[:, :1] + 1e-9 * normal(40, 1)], dim=1)
    assert principal_angles(nearly, basis).shape == (2,)
    with pytest.raises(InputError, match="spans only 2"):
        principal_angles(nearly.float(), basis.float())
