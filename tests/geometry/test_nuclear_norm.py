"""Completion by the least nuclear norm, against closed forms and exact recovery."""

import torch

from ired_interp.geometry.nuclear_norm import least_nuclear_norm
from ired_interp.random import stream


def test_one_hidden_entry_of_a_2_by_2_matrix_is_what_the_closed_form_says() -> None:
    """Of [[a, b], [c, t]] the square of the norm is a² + b² + c² + t² + 2|at − bc|: t = bc/a, cut at ±a."""
    given = torch.randn(200, 2, 2, generator=stream("cpu", 0), dtype=torch.float64)
    visible = torch.tensor([[True, True], [True, False]]).expand_as(given)
    a, b, c = given[:, 0, 0], given[:, 0, 1], given[:, 1, 0]
    exact = torch.clamp(b * c / a, min=-a.abs(), max=a.abs())
    found = least_nuclear_norm(given, visible)
    torch.testing.assert_close(found[:, 1, 1], exact, rtol=0, atol=5e-3)
    assert 0.2 < float((exact.abs() == a.abs()).double().mean()) < 0.8  # both cases occur


def test_matrices_of_low_rank_that_show_enough_are_recovered() -> None:
    u, v = torch.randn(2, 8, 14, 1, generator=stream("cpu", 1), dtype=torch.float64)
    y = u @ v.mT
    visible = torch.rand(y.shape, generator=stream("cpu", 2)) < 0.8
    found = least_nuclear_norm(torch.where(visible, y, 77.0), visible)
    assert float((found - y).norm() / y.norm()) < 1e-3
    assert torch.equal(found[visible], y[visible])


def test_no_completion_has_less_and_nothing_visible_is_completed_to_nothing() -> None:
    y = torch.randn(6, 5, 5, generator=stream("cpu", 3), dtype=torch.float64)
    visible = torch.rand(y.shape, generator=stream("cpu", 4)) < 0.6
    visible[0] = False
    found = least_nuclear_norm(y, visible)
    assert (found[0] == 0).all()
    norm = torch.linalg.matrix_norm(found, "nuc")
    for scale in (0.0, 0.01, 1.0):
        hidden = found + scale * torch.randn(y.shape, generator=stream("cpu", 5))
        other = torch.where(visible, y, hidden)
        assert (norm <= torch.linalg.matrix_norm(other, "nuc") * (1 + 1e-4)).all()
