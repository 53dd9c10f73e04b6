import math

import numpy as np
import pytest
import torch

from ired_interp.errors import InputError
from ired_interp.geometry import METRICS, distance_from_angles, grassmann_distance, overlap

ROUNDING = 1000 * torch.finfo(torch.float64).eps


def projector_distance(u, v):
    return u @ u.mT - v @ v.mT


@pytest.mark.parametrize(
    ("metric", "truth"),
    [
        ("chordal", lambda u, v: torch.linalg.matrix_norm(projector_distance(u, v)) / math.sqrt(2)),
        ("projection", lambda u, v: torch.linalg.matrix_norm(projector_distance(u, v), 2)),
        ("binet-cauchy", lambda u, v: (1 - torch.linalg.det(u.mT @ v) ** 2).sqrt()),
        ("fubini-study", lambda u, v: torch.linalg.det(u.mT @ v).abs().arccos()),
        (
            "procrustes",
            lambda u, v: (2 * (u.shape[1] - torch.linalg.svdvals(u.mT @ v).sum())).sqrt(),
        ),
    ],
)
def test_equals_its_definition_by_matrices(planes, metric, truth):
    u, v = planes(30, [0.2, 0.7, 1.3])
    torch.testing.assert_close(grassmann_distance(u, v, metric), truth(u, v), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize(
    ("metric", "truth"),
    [("geodesic", math.hypot(0.3, 1.1)), ("asimov", 1.1), ("spectral", 2 * math.sin(0.55))],
)
def test_equals_its_formula(planes, metric, truth):
    u, v = planes(30, [0.3, 1.1])
    assert grassmann_distance(u.numpy(), v.numpy(), metric) == pytest.approx(truth, abs=ROUNDING)


@pytest.mark.parametrize("metric", METRICS)
def test_metric_axioms(normal, metric):
    points = normal(12, 7, 3)
    d = grassmann_distance(points[:, None], points[None], metric)
    assert d.diagonal().max() < ROUNDING
    assert (d + torch.eye(12)).min() > 0.1
    torch.testing.assert_close(d, d.mT, rtol=0, atol=ROUNDING)
    assert (d[:, None, :] <= d[:, :, None] + d[None] + ROUNDING).all()


@pytest.mark.parametrize("metric", METRICS)
def test_small_distances_do_not_cancel(metric):
    angles = torch.tensor([0.0, 3e-10, 4e-10], dtype=torch.float64)
    expected = 4e-10 if metric in ("projection", "spectral", "asimov") else 5e-10
    assert distance_from_angles(angles, metric).item() == pytest.approx(expected, rel=1e-9)


def test_right_angles_count():
    u, v = np.eye(4)[:, :2], np.eye(4)[:, 2:]
    assert grassmann_distance(u, v) == pytest.approx(math.pi / math.sqrt(2), abs=ROUNDING)


def test_overlap_is_the_share_of_the_first_in_the_second(planes, normal):
    u, v = planes(40, [0.4, 1.0], extra=3)
    shares = torch.tensor([0.4, 1.0], dtype=torch.float64).cos().square()
    torch.testing.assert_close(overlap(u, v), shares.sum() / 2, rtol=0, atol=ROUNDING)
    torch.testing.assert_close(overlap(v, u), shares.sum() / 5, rtol=0, atol=ROUNDING)
    gradient = normal(40, 1)
    inside = (v.mT @ gradient).square().sum() / gradient.square().sum()
    torch.testing.assert_close(overlap(gradient, v), inside, rtol=0, atol=ROUNDING)


def test_unknown_metric_names_the_known_ones():
    with pytest.raises(InputError, match="geodesic, chordal"):
        grassmann_distance(np.eye(3)[:, :1], np.eye(3)[:, 1:2], "euclidean")
