"""Blocks between layers, and shares of a vector in eigenspaces, against dense float64 matrices."""

import pytest
import torch

from ired_interp.errors import InputError
from ired_interp.spectra import (
    GaussNewtonOperator,
    HessianOperator,
    alignment,
    block_norms,
    lanczos,
    sign_chance,
)


@pytest.fixture(scope="module")
def operator():
    """A net whose layers have 20, 15 and 4 parameters, the last of them shorter than 10 products."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(4, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3), torch.nn.Linear(3, 1)
    ).double()
    x = torch.randn(12, 4).double()
    return HessianOperator(lambda x: net(x).tanh().square().mean(), net, batch=x)


def dense_squares(operator, sizes=(20, 15, 4)):
    rows = operator.dense().square().split(list(sizes))
    return torch.stack([torch.stack([p.sum() for p in row.split(list(sizes), 1)]) for row in rows])


def test_all_products_of_unit_vectors_give_the_dense_block_norms(operator):
    found = block_norms(operator, products=20, progress=False)
    assert found.names == ("0", "2", "3")
    torch.testing.assert_close(found.squares, dense_squares(operator))
    assert not found.errors.any()
    assert found.matvecs == 39


@pytest.mark.process
def test_random_products_are_unbiased_and_their_errors_are_the_scatter(operator):
    """Over 100 seeds the mean is the truth within its own error, and the errors are the scatter."""
    found = [block_norms(operator, products=4, seed=s, progress=False) for s in range(100)]
    squares = torch.stack([f.squares for f in found])
    errors = torch.stack([f.errors for f in found]).square().mean(0).sqrt()
    truth = dense_squares(operator)
    scatter = squares.std(0)
    assert (scatter[:2, :2] > 0).all()
    assert ((squares.mean(0) - truth).abs() <= 4 * scatter / 100**0.5 + 1e-12).all()
    inexact = scatter > 1e-12 * truth
    assert (errors[inexact] / scatter[inexact] - 1).abs().max() < 0.3
    assert (errors[~inexact] == 0).all()
    torch.testing.assert_close(squares[0], squares[0].T)
    torch.testing.assert_close(squares[:, 2], truth[2].expand(100, 3))  # 4 parameters: exact


def test_blocks_of_ones_own_and_of_a_gauss_newton_matrix():
    net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1)).double()
    x = torch.randn(5, 3).double()
    operator = GaussNewtonOperator(lambda: net(x), lambda z: z.square().mean(), net)
    blocks = {"weights": ["0.weight", "1.weight"], "last bias": ["1.bias"]}
    found = block_norms(operator, blocks, products=8, progress=False)
    matrix = operator.dense()
    w, b = [0, 1, 2, 3, 4, 5, 8, 9], [10]
    truth = [[matrix[i][:, j].square().sum() for j in (w, b)] for i in (w, b)]
    torch.testing.assert_close(found.squares, torch.tensor(truth).double())
    expected = 2 * truth[0][1] / (truth[0][0] + 2 * truth[0][1] + truth[1][1])
    assert found.off_diagonal == pytest.approx(float(expected))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"products": 1}, "at least 2"),
        ({"blocks": {"a": ["9.weight"]}}, "'9.weight', which is no parameter"),
        ({"blocks": {"a": ["0.bias"], "b": ["0.bias"]}}, "in two blocks"),
    ],
)
def test_blocks_that_cannot_be_are_refused(operator, settings, message):
    with pytest.raises(InputError, match=message):
        block_norms(operator, progress=False, **settings)


def test_chance_by_random_signs_is_the_mean_over_them(operator):
    found = lanczos(operator, 4, "LA", 1e-8, progress=False)
    torch.manual_seed(1)
    vector = torch.randn(operator.shape[0]).double() ** 3
    signs = torch.randint(0, 2, (20_000, len(vector))).double() * 2 - 1
    drawn = (signs * vector) @ found.eigenvectors
    shares = drawn.square() / vector.square().sum()
    error = shares.std(0) / len(signs) ** 0.5
    assert ((sign_chance(found, vector) - shares.mean(0)).abs() < 4 * error).all()
    even = torch.ones_like(vector)
    torch.testing.assert_close(
        sign_chance(found, even), torch.full((4,), 1 / len(vector), dtype=torch.float64)
    )
    assert alignment(found, found.eigenvectors[:, 1])[1] == pytest.approx(1)
