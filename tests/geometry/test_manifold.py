import math

import pytest
import torch

from ired_interp.errors import InputError
from ired_interp.geometry import (
    exp,
    geodesic,
    grassmann_distance,
    log,
    orthonormal_basis,
    parallel_transport,
    principal_angles,
)

ANGLES = [1e-6, 0.3, 1.0, 1.5]
# Bases, logarithm and transport of angles up to 1.5, which cost a factor 1/(π/2 − θ) of 14.
ROUNDING = 5000 * torch.finfo(torch.float64).eps


def geomstats_distance(u, v):
    import geomstats.backend as gs
    from geomstats.geometry.grassmannian import Grassmannian

    points = (gs.array((frame @ frame.T).numpy()) for frame in (u, v))
    return float(Grassmannian(*u.shape).metric.dist(*points))


def test_log_has_the_known_angles_as_its_singular_values(planes):
    u, v = planes(30, ANGLES)
    tangent = log(u, v)
    singular = torch.linalg.svdvals(tangent).flip(-1)
    torch.testing.assert_close(
        singular, torch.tensor(ANGLES, dtype=torch.float64), rtol=0, atol=ROUNDING
    )
    assert (u.mT @ tangent).abs().max() < ROUNDING
    assert isinstance(log(u.numpy(), v.numpy()), type(u.numpy()))


def test_exp_inverts_log_in_batches(normal):
    base, target = orthonormal_basis(normal(3, 1, 12, 2)), normal(4, 12, 2)
    end = exp(base, log(base, target))
    assert end.shape == (3, 4, 12, 2)
    assert principal_angles(end, target).max() < ROUNDING


def test_geodesic_is_travelled_at_constant_speed_past_the_target(planes):
    u, v = planes(20, [0.4, 0.9])
    times = torch.tensor([-0.3, 0.0, 0.5, 1.0, 1.4], dtype=torch.float64)
    points = geodesic(u, v, times)
    expected = times.abs() * math.hypot(0.4, 0.9)
    torch.testing.assert_close(grassmann_distance(points, u), expected, rtol=0, atol=ROUNDING)
    assert grassmann_distance(points[3], v) < ROUNDING


def test_transport_keeps_inner_products_and_the_velocity(planes, normal):
    u, v = planes(25, [0.2, 0.8, 1.3])
    raw = normal(2, 25, 3)
    tangents = raw - u @ (u.mT @ raw)
    carried = parallel_transport(tangents, u, v)
    assert (v.mT @ carried).abs().max() < ROUNDING
    gram = [torch.einsum("anp,bnp->ab", h, h) for h in (tangents, carried)]
    torch.testing.assert_close(gram[1], gram[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(
        parallel_transport(log(u, v), u, v), -log(v, u), rtol=0, atol=ROUNDING
    )


def test_transport_there_and_back_is_the_identity(planes, normal):
    u, v = planes(25, [0.2, 0.8])
    raw = normal(25, 2)
    tangent = raw - u @ (u.mT @ raw)
    back = parallel_transport(parallel_transport(tangent, u, v), v, u)
    torch.testing.assert_close(back, tangent, rtol=0, atol=ROUNDING)


def test_right_angles_are_refused_where_geomstats_answers_zero(planes):
    u, v = planes(4, [math.pi / 2, math.pi / 2])
    assert geomstats_distance(u, v) < 1e-6  # the fault we guard against
    with pytest.raises(InputError, match="right angle"):
        log(u, v)


def test_geomstats_distance_is_root_two_of_ours(planes):
    u, v = planes(12, [0.3, 1.1])
    assert grassmann_distance(u, v).item() == pytest.approx(
        geomstats_distance(u, v) / math.sqrt(2), abs=1e-12
    )


def test_misuse_is_refused(planes):
    u, v = planes(10, [0.3, 0.4], extra=1)
    with pytest.raises(InputError, match="orthonormal"):
        log(2 * u, v[:, :2])
    with pytest.raises(InputError, match="equal dimensions"):
        log(u, v)
    with pytest.raises(InputError, match="inside its base"):
        exp(u, u)
    with pytest.raises(InputError, match="make them equal"):
        exp(u, v)
