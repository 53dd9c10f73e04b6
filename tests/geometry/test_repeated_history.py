"""Histories with repeats: planted overlaps are recovered through noise that snapshots share; state survives."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ired_interp.errors import InputError
from ired_interp.geometry import (
    ProblemHistory,
    RepeatedHistory,
    orthonormal_basis,
    repeated_variables,
)


def planted(
    count: int, n: int, p: int, overlap: float, noise: float, seed: int = 0
) -> tuple[torch.Tensor, ...]:
    """Bases (count, n, p) of two snapshots, each estimated twice; first estimates share their noise, and so do second ones."""
    rng = torch.Generator().manual_seed(seed)
    frame = orthonormal_basis(torch.randn(count, n, 2 * p, generator=rng, dtype=torch.float64))
    before, apart = frame[..., :p], frame[..., p:]
    after = overlap**0.5 * before + (1 - overlap) ** 0.5 * apart
    shared = torch.randn(2, count, n, p, generator=rng, dtype=torch.float64) * noise / n**0.5
    return before + shared[0], before + shared[1], after + shared[0], after + shared[1]


def test_shared_noise_does_not_pass_for_persistence() -> None:
    a, a_repeat, b, b_repeat = planted(300, 60, 2, 0.3, 1.0)
    history = ProblemHistory()
    history.append(0, a, a_repeat)
    history.append(1, b, b_repeat)
    found = {name: values for name, (_, values, _) in repeated_variables(history).items()}
    assert found["overlap"][0, 1] > 0.5  # the same problems and noise make any two snapshots alike
    assert found["reliability"][0] < 0.4
    error = found["overlap_corrected_error"][0, 1]
    assert 0.002 < error < 0.03
    # the noise is isotropic around the subspace but not orthogonal to it: the correction's model holds to order p/N
    assert found["overlap_corrected"][0, 1] == pytest.approx(0.3, abs=4 * error + 2 / 60)


def test_one_long_subspace_is_measured_as_one_problem() -> None:
    estimates = planted(1, 500, 3, 0.6, 0.3)
    problem, single = ProblemHistory(), RepeatedHistory()
    for label, i in ((0, 0), (10, 2)):
        problem.append(label, estimates[i], estimates[i + 1])
        single.append(label, estimates[i][0], estimates[i + 1][0])
    ours, theirs = repeated_variables(single), repeated_variables(problem)
    assert set(ours) == set(theirs) | {"mean_distance", "dispersion"}
    for name in theirs:
        dims, values, _ = ours[name]
        assert dims == theirs[name][0]
        if name != "geodesic_floor":
            # float16 storage turns angles by 2e-4 rad, an equal pair's distance by up to √(2·3) times that
            np.testing.assert_allclose(values, theirs[name][1], atol=6e-4, err_msg=name)


def test_chance_band_holds_random_subspaces() -> None:
    rng = torch.Generator().manual_seed(1)
    history = ProblemHistory()
    for label in range(12):
        history.append(label, *torch.randn(2, 20, 30, 3, generator=rng))
    found = repeated_variables(history)
    pairs = np.triu_indices(12, 1)
    for metric in ("overlap", "geodesic"):
        _, low, high = found[f"{metric}_chance"][1]
        inside = [(low < values[pairs]) & (values[pairs] < high) for values in (found[metric][1],)]
        assert np.mean(inside) > 0.85  # 95 % expected of 66 pairs


@pytest.mark.parametrize("kind", [ProblemHistory, RepeatedHistory])
@pytest.mark.parametrize("on_disk", [True, False])
def test_state_survives(
    kind: type[ProblemHistory] | type[RepeatedHistory], on_disk: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "subspaces" if on_disk else None
    estimates = planted(4, 40, 2, 0.5, 0.2)
    if kind is RepeatedHistory:
        estimates = tuple(e[0] for e in estimates)
    whole, first, second = kind(folder), kind(folder), kind(folder)
    for history in (whole, first):
        history.append(0, *estimates[:2])
    whole.append(5, *estimates[2:])
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    second.append(5, *estimates[2:])
    for name, (_, values, _) in repeated_variables(whole).items():
        np.testing.assert_array_equal(values, repeated_variables(second)[name][1], err_msg=name)
    if folder is not None:
        for file in folder.iterdir():
            file.unlink()
        with pytest.raises(InputError, match="restore the file"):
            kind(folder).load_state_dict(first.state_dict())


def test_karcher_mean_of_a_geodesic_is_its_middle():
    """Planes turned by −t, 0 and t in one direction: distances t, 0, t and dispersion 2t²/3, up to fp16 storage (2e-4)."""
    history, t = RepeatedHistory(), 0.3
    for label, angle in enumerate((-t, 0.0, t)):
        plane = torch.zeros(50, 2, dtype=torch.float64)
        plane[0, 0], plane[2, 0], plane[1, 1] = np.cos(angle), np.sin(angle), 1
        history.append(label, plane, plane)
    found = {name: values for name, (_, values, _) in repeated_variables(history).items()}
    np.testing.assert_allclose(found["mean_distance"], [t, 0, t], atol=1e-3)
    np.testing.assert_allclose(found["dispersion"], 2 * t**2 / 3, rtol=5e-3)


def test_planes_at_right_angles_have_no_mean():
    history = RepeatedHistory()
    for label, row in enumerate((0, 1)):
        line = torch.zeros(10, 1, dtype=torch.float64)
        line[row] = 1
        history.append(label, line, line)
    assert np.isnan(repeated_variables(history)["dispersion"][1])
