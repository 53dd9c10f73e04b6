"""Density, trace and derived numbers against exact ones; coverage of their intervals is measured
over seeds."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from ired_interp.errors import InputError
from ired_interp.spectra import (
    FunctionOperator,
    MatrixOperator,
    alignment,
    condition_number,
    density,
    effective_rank,
    gaps,
    lanczos,
    spectral_gap,
    trace,
)
from spectra_cases import SPECTRA, matrix

NAMES = ["repeated", "even", "negative", "decaying", "bulk and outliers"]
VALUES = {
    **SPECTRA,
    "decaying": list(np.exp(-np.arange(200) / 8.0)),
    "bulk and outliers": [40.0, 30.0, -20.0, *stats.semicircular.ppf((np.arange(397) + 0.5) / 397)],
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", NAMES)
def test_density_integrates_and_has_moments(name: str, dtype: torch.dtype) -> None:
    values = np.array(VALUES[name])
    found = density(
        MatrixOperator(matrix(list(values), dtype)), probes=20, steps=40, progress=False
    )
    assert found.matvecs == 20 * 40
    # The grid reaches 6 widths beyond the nodes and its step is a tenth of one: the trapezoidal
    # rule is exact to 1e-6 here.
    assert np.trapezoid(found.values, found.grid) == pytest.approx(1, abs=1e-6)
    mean, spread = values.mean(), values.std()
    for order in (1, 2, 3):
        estimate = found.moment(order)
        assert (
            abs(estimate.value - (values**order).mean())
            <= 4 * estimate.error + 1e-6 * np.abs(values**order).mean()
        )
    assert np.trapezoid(found.values * found.grid, found.grid) == pytest.approx(
        found.moment(1).value, abs=1e-6 * spread + 1e-6
    )
    variance = np.trapezoid(found.values * (found.grid - mean) ** 2, found.grid) - found.width**2
    assert variance == pytest.approx(
        (found.weights * (found.nodes - mean) ** 2).sum(1).mean(), rel=1e-4
    )
    assert (found.low <= found.values).all()
    assert (found.values <= found.high).all()


@pytest.mark.parametrize(("value", "width"), [(0.0, 1e-2), (1e-20, 1e-22), (-3.0, 3e-2)])
def test_density_of_one_eigenvalue_is_a_peak_of_known_width(value: float, width: float) -> None:
    found = density(MatrixOperator(value * torch.eye(30)), probes=3, steps=5, progress=False)
    assert found.width == pytest.approx(width)
    assert np.trapezoid(found.values, found.grid) == pytest.approx(1, abs=1e-6)
    rank = effective_rank(found).value
    assert rank == pytest.approx(30) if value else np.isnan(rank)


def test_density_distance_to_the_truth() -> None:
    values = np.sort(VALUES["bulk and outliers"])
    found = density(MatrixOperator(matrix(list(values))), probes=30, steps=60, progress=False)
    distance = stats.wasserstein_distance(found.nodes.ravel(), values, found.weights.ravel())
    assert distance < 1e-2 * (
        values[-1] - values[0]
    )  # sampling error of 30 probe vectors, measured 3e-3


def test_band_covers_the_density() -> None:
    values = np.array(VALUES["bulk and outliers"])
    operator = MatrixOperator(matrix(list(values)))
    inside = []
    for seed in range(40):
        found = density(
            operator, probes=6, steps=40, width=0.3, points=200, seed=seed, progress=False
        )
        truth = stats.norm.pdf(found.grid[:, None], values, 0.3).mean(1)
        bulk = np.abs(found.grid) < 1
        inside.append(((found.low <= truth) & (truth <= found.high))[bulk].mean())
    assert (
        0.90 <= np.mean(inside) <= 0.99
    )  # wanted .95; the standard error over 40 seeds of a smooth band is about .02


def test_density_share_of_negative_eigenvalues() -> None:
    values = [*np.linspace(-3, -1, 100), *np.linspace(1, 4, 300)]
    share = density(MatrixOperator(matrix(values)), probes=20, steps=60, progress=False).share()
    assert share.low < 0.25 < share.high
    assert share.error < 0.02


def test_density_goes_on_from_its_file(tmp_path: Path) -> None:
    a = matrix(VALUES["even"])
    file, limit = tmp_path / "density.npz", 130

    class Stop(Exception):
        pass

    def product(v: torch.Tensor) -> torch.Tensor:
        if operator.matvecs > limit:
            raise Stop
        return a @ v

    operator = FunctionOperator(product, len(a), torch.float64)
    with pytest.raises(Stop):
        density(operator, probes=10, steps=20, checkpoint=file, progress=False)
    made = 0

    def counted(v: torch.Tensor) -> torch.Tensor:
        nonlocal made
        made += 1
        return a @ v

    whole = FunctionOperator(counted, len(a), torch.float64)
    rest = density(whole, probes=10, steps=20, checkpoint=file, progress=False)
    assert made == 80  # six of ten probe vectors had been finished
    undisturbed = density(MatrixOperator(a), probes=10, steps=20, progress=False)
    assert rest.matvecs == whole.matvecs == undisturbed.matvecs
    np.testing.assert_array_equal(rest.values, undisturbed.values)
    with np.load(file) as stored:  # as a former version wrote it
        np.savez(file, key=stored["key"], quadratures=stored["quadratures"])
    again = density(MatrixOperator(a), probes=8, steps=20, checkpoint=file, progress=False)
    assert again.matvecs == 160
    with pytest.raises(InputError, match="give another file"):
        density(whole, probes=10, steps=21, checkpoint=file, progress=False)


@pytest.mark.parametrize("name", [*NAMES, "low rank", "identity"])
def test_trace_interval_covers(name: str) -> None:
    values = VALUES[name]
    operator, truth = MatrixOperator(matrix(values)), sum(values)
    found = [trace(operator, 30, seed=seed, progress=False) for seed in range(60)]
    rounding = 1e-10 * np.abs(values).sum()
    hits = [e.low - rounding <= truth <= e.high + rounding for e in found]
    assert operator.matvecs <= 60 * 30
    # Wanted .95 of 60; at .95 fewer than 52 have a probability of 1 %.
    assert sum(hits) >= 52, sum(hits)
    if name == "bulk and outliers":  # plain sampling would err by √(2Σλ²/30) = 14
        assert np.mean([e.error for e in found]) < 7


def test_trace_is_exact_with_enough_products() -> None:
    found = trace(MatrixOperator(matrix(VALUES["identity"])), 200, progress=False)
    assert found.value == pytest.approx(100, rel=1e-12)
    assert found.error == 0


@pytest.mark.parametrize("kind", ["participation", "entropy"])
def test_effective_rank(kind: str) -> None:
    assert effective_rank(
        torch.tensor([[1.0, -1, 1, 0], [5, 0, 0, 0]]), kind
    ).tolist() == pytest.approx([3, 1])
    values = VALUES["decaying"]
    truth = float(effective_rank(torch.tensor(values), kind))
    operator = MatrixOperator(matrix(values))
    hits = 0
    for seed in range(20):
        estimate = effective_rank(
            density(operator, probes=10, steps=40, seed=seed, progress=False), kind
        )
        hits += estimate.low <= truth <= estimate.high
        assert estimate.error < 0.3 * truth
    assert hits >= 16  # 95 % wanted, less a ratio's bias with ten probe vectors


def test_gaps_and_condition_number() -> None:
    found = lanczos(
        MatrixOperator(matrix([8.0, 7.9, 2.0, *np.linspace(0.5, 1, 97)])),
        4,
        "LA",
        1e-6,
        progress=False,
    )
    distance, error = gaps(found)
    assert (
        abs(distance[:3] - torch.tensor([0.1, 5.9, 1.0], dtype=torch.float64)) <= error + 1e-12
    ).all()
    count, ratio = spectral_gap(found)
    assert count == 2
    assert ratio.low - 1e-12 <= 3.95 <= ratio.high + 1e-12
    assert condition_number(torch.tensor([[4.0, -8, 2]])).tolist() == [4]


def test_a_gap_of_zeros_is_refused() -> None:
    zeros = lanczos(MatrixOperator(torch.zeros(9, 9)), 3, progress=False)
    with pytest.raises(InputError, match="not 0"):
        spectral_gap(zeros)


def test_alignment_shares_a_vector_among_eigenvectors() -> None:
    a = matrix(VALUES["even"])
    found = lanczos(MatrixOperator(a), 3, "LA", 1e-8, progress=False)
    vectors = torch.linalg.eigh(a).eigenvectors
    mixed = 3 * vectors[:, -1] + 4 * vectors[:, 0]
    np.testing.assert_allclose(alignment(found, mixed), [9 / 25, 0, 0], atol=1e-6)
