import math

import numpy as np
import pytest
import torch

from ired_interp.errors import InputError
from ired_interp.geometry import (
    orthonormal_basis,
    tangent_normal_split,
)


def low_rank(normal, *shape, rank):
    return normal(*shape[:-1], rank) @ normal(*shape[:-2], rank, shape[-1]) / math.sqrt(rank)


def test_split_recovers_planted_parts(normal):
    n, m, r = 12, 9, 3
    u, v = orthonormal_basis(normal(5, n, r)), orthonormal_basis(normal(5, m, r))
    point = u @ torch.diag_embed(normal(5, r).abs() + 0.1) @ v.mT
    tangent = u @ normal(5, m, r).mT + normal(5, n, r) @ v.mT
    raw = normal(5, n, m)
    normal_part = (torch.eye(n) - u @ u.mT) @ raw @ (torch.eye(m) - v @ v.mT)
    split = tangent_normal_split(tangent + normal_part, point, r)
    torch.testing.assert_close(split.tangent, tangent, rtol=0, atol=1e-12)
    torch.testing.assert_close(split.normal, normal_part, rtol=0, atol=1e-12)
    torch.testing.assert_close(
        split.ratio, torch.linalg.matrix_norm(normal_part) / torch.linalg.matrix_norm(tangent)
    )
    g = (tangent + normal_part)[0]
    formula = u[0] @ u[0].mT @ g + g @ v[0] @ v[0].mT - u[0] @ u[0].mT @ g @ v[0] @ v[0].mT
    torch.testing.assert_close(split.tangent[0], formula, rtol=0, atol=1e-12)


def test_tangent_is_the_derivative_of_curves_on_the_manifold(normal):
    left, right, dleft, dright = normal(8, 2), normal(2, 7), normal(8, 2), normal(2, 7)
    velocity = dleft @ right + left @ dright
    split = tangent_normal_split(velocity, left @ right, 2)
    assert torch.linalg.matrix_norm(split.normal) < 1e-12


@pytest.mark.parametrize(("n", "m", "rank"), [(10, 8, 2), (4, 4, 1), (3, 3, 1), (6, 6, 2)])
def test_chance_ratio_is_the_mean_of_gradients_without_direction(normal, n, m, rank):
    split = tangent_normal_split(normal(20_000, n, m), low_rank(normal, n, m, rank=rank), rank)
    error = split.ratio.std().item() / 20_000**0.5
    assert split.chance_ratio == pytest.approx(split.ratio.mean().item(), abs=4.5 * error)


def test_chance_ratio_at_the_ends(normal):
    assert tangent_normal_split(normal(8, 8), normal(8, 8), 8).chance_ratio == 0
    assert tangent_normal_split(normal(1, 1), normal(1, 1), 1).chance_ratio == 0


def test_refusals(normal):
    flat = low_rank(normal, 6, 6, rank=2)
    with pytest.raises(InputError, match=r"spans only 2 dimensions in torch\.float32"):
        tangent_normal_split(normal(6, 6), flat.float(), 3)
    with pytest.raises(InputError, match="equal singular values 1 and 2"):
        tangent_normal_split(normal(6, 6), torch.eye(6), 1)
    with pytest.raises(InputError, match="make them equal"):
        tangent_normal_split(normal(6, 5), flat, 2)
    with pytest.raises(InputError, match="choose 1 to 6"):
        tangent_normal_split(normal(6, 6), flat, 7)
    with pytest.raises(InputError, match="NaN"):
        tangent_normal_split(np.full((4, 4), np.nan), np.eye(4), 1)
