"""Drift histories: planted angles are found, shared noise is told apart, the state survives.

Over 300 lines: all cases share the histories built at its top.
"""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from ired_interp.errors import InputError
from ired_interp.geometry import (
    DriftHistory,
    Eigengap,
    distance_from_angles,
    drift_variables,
    geodesic,
    karcher_mean,
    orthonormal_basis,
    path,
    principal_angles,
)

STEPS = [0, 100, 300, 400]
# Products of bases hold sines squared to some roundings of 1: an angle near 0 errs by their root.
ROUNDING = 1000 * torch.finfo(torch.float64).eps
NEAR_ZERO = ROUNDING**0.5


@pytest.fixture
def turn(planes):
    """Four planes on one geodesic in R^9000, one every 0.001 rad per step, as float32."""
    u, v = planes(9000, [0.3, 0.4])
    times = torch.tensor(STEPS, dtype=torch.float64) / 500
    return [frame.float() for frame in geodesic(u, v, times)]


@pytest.fixture(params=["memory", "folder"])
def folder(request, tmp_path):
    return None if request.param == "memory" else tmp_path / "drift"


def filled(bases, folder=None, dtype=torch.float16):
    history = DriftHistory(folder, dtype)
    for step, basis in zip(STEPS, bases, strict=True):
        history.append(step, basis)
    return history


def values(history):
    return {name: found for name, (_, found, _) in drift_variables(history).items()}


def planted(count: int, n: int, p: int, overlap: float, noise: float) -> tuple[torch.Tensor, ...]:
    """Bases (count, n, p) of two frames, each with its repeat.

    The first estimates share their noise, and so do the repeats, as where frames share a batch.
    """
    rng = torch.Generator().manual_seed(0)
    frame = orthonormal_basis(torch.randn(count, n, 2 * p, generator=rng, dtype=torch.float64))
    before, apart = frame[..., :p], frame[..., p:]
    after = overlap**0.5 * before + (1 - overlap) ** 0.5 * apart
    shared = torch.randn(2, count, n, p, generator=rng, dtype=torch.float64) * noise / n**0.5
    return before + shared[0], before + shared[1], after + shared[0], after + shared[1]


def test_measures_equal_the_direct_ones(turn, folder):
    history = filled(turn, folder, torch.float32)
    frames = torch.stack([frame.basis() for frame in history.frames])
    direct = principal_angles(frames[:, None], frames[None])
    torch.testing.assert_close(history.angles(), direct, rtol=0, atol=NEAR_ZERO)
    torch.testing.assert_close(history.between(0, -1), direct[0, -1], rtol=0, atol=ROUNDING)
    expected = (torch.tensor(STEPS)[:, None] - torch.tensor(STEPS)).abs() * 1e-3
    distance = distance_from_angles(history.angles())
    torch.testing.assert_close(distance, expected.double(), rtol=0, atol=1e-6)
    coordinates = history.coordinates()
    reduced = principal_angles(coordinates[:, None], coordinates[None])
    torch.testing.assert_close(reduced, direct, rtol=0, atol=2 * NEAR_ZERO)


def test_half_precision_stays_within_its_floor(turn, folder):
    history = filled(turn, folder)
    exact = filled(turn, dtype=torch.float32)
    floor = history.floor()
    assert floor.diagonal().max() == 0
    own = [torch.linalg.vector_norm(frame.rounding).item() for frame in history.frames]
    assert floor[0, 1].item() == pytest.approx(math.hypot(own[0], own[1]))
    assert 2e-4 < own[0] < 4e-4  # √2 directions of 2e-4 each
    distances = [distance_from_angles(h.angles()) for h in (history, exact)]
    assert ((distances[0] - distances[1]).abs() <= floor + NEAR_ZERO).all()


def test_a_flipped_byte_in_a_stored_frame_is_found(turn, tmp_path):
    history = filled(turn, tmp_path)
    file = sorted(tmp_path.iterdir())[2]
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match=f"{file.name} is damaged"):
        DriftHistory(tmp_path).load_state_dict(history.state_dict())


def test_measured_as_it_grows_or_at_the_end_is_the_same(turn):
    growing, repeat = DriftHistory(), [basis + 0.001 * turn[3] for basis in turn]
    at_once = DriftHistory()
    for step, basis, again in zip(STEPS, turn, repeat, strict=True):
        for history in (growing, at_once):
            history.append(step, basis, again if step else None)
        growing.independent_angles()
    for measure in ("angles", "independent_angles"):
        found, expected = getattr(growing, measure)(), getattr(at_once, measure)()
        torch.testing.assert_close(found, expected, rtol=0, atol=NEAR_ZERO, equal_nan=True)
    assert growing.independent_angles()[:, 0].isnan().all()  # of which there is no repeat
    assert growing.independent_angles()[:, 1:].isfinite().all()


@pytest.mark.process
@pytest.mark.parametrize("measured_before", [False, True])
def test_goes_on_after_a_kill_as_if_nothing_had_happened(turn, folder, tmp_path, measured_before):
    history = DriftHistory(folder)
    repeats = [basis + 0.001 * turn[3] for basis in turn]
    for step, basis, repeat in zip(STEPS[:2], turn[:2], repeats[:2], strict=True):
        history.append(step, basis, repeat)
    if measured_before:
        history.angles()
    torch.save(history.state_dict(), tmp_path / "last.ckpt")
    # Reached the disk after the checkpoint; then the job was killed.
    history.append(STEPS[2], turn[2], repeats[2])

    resumed = DriftHistory(folder)
    resumed.load_state_dict(torch.load(tmp_path / "last.ckpt", weights_only=True))
    whole = DriftHistory()
    for step, basis, repeat in zip(STEPS[:2], turn[:2], repeats[:2], strict=True):
        whole.append(step, basis, repeat)
    for step, basis, repeat in zip(STEPS[2:], turn[2:], repeats[2:], strict=True):
        resumed.append(step, basis, repeat)
        whole.append(step, basis, repeat)
    assert resumed.labels == STEPS
    for name, expected in values(whole).items():
        np.testing.assert_allclose(
            values(resumed)[name], expected, rtol=0, atol=NEAR_ZERO, err_msg=name
        )
    if folder:
        assert len(list(folder.iterdir())) == 8


@pytest.mark.parametrize("batched", [False, True])
def test_state_of_single_and_several_subspaces_survives(batched, folder, tmp_path):
    estimates = planted(4, 40, 2, 0.5, 0.2)
    if not batched:
        estimates = tuple(estimate[0] for estimate in estimates)
    whole, first = (DriftHistory(folder, torch.float32) for _ in range(2))
    second = DriftHistory(folder)
    for history in (whole, first):
        history.append(0, *estimates[:2])
    whole.append(5, *estimates[2:])
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    second.append(5, *estimates[2:])
    assert second.frames[1].dtype == torch.float32
    for name, expected in values(whole).items():
        np.testing.assert_allclose(
            values(second)[name], expected, rtol=0, atol=NEAR_ZERO, err_msg=name
        )
    if folder is not None:
        for file in folder.iterdir():
            file.unlink()
        with pytest.raises(InputError, match="restore the file"):
            DriftHistory(folder).load_state_dict(first.state_dict())


def test_a_branch_never_overwrites_the_files_of_another(turn, tmp_path):
    trunk = DriftHistory(tmp_path)
    trunk.append(0, turn[0])
    state = trunk.state_dict()
    trunk.append(1, turn[1])
    kept = trunk.frames[1].stored()
    branch = DriftHistory(tmp_path)
    branch.load_state_dict(state)
    branch.append(1, turn[3])
    assert torch.equal(trunk.frames[1].stored(), kept)
    assert not torch.equal(branch.frames[1].stored(), kept)


def test_folder_may_move_but_not_lose_files(turn, tmp_path):
    history = filled(turn, tmp_path / "here")
    state, angles = history.state_dict(), history.between(0, 3)
    os.replace(tmp_path / "here", tmp_path / "there")
    moved = DriftHistory(tmp_path / "there")
    moved.load_state_dict(state)
    assert torch.equal(moved.between(0, 3), angles)
    next((tmp_path / "there").glob("00002*")).unlink()
    with pytest.raises(InputError, match="00002"):
        DriftHistory(tmp_path / "there").load_state_dict(state)
    with pytest.raises(InputError, match="in files"):
        DriftHistory().load_state_dict(state)


def test_the_state_holds_the_gram_matrix_only_where_it_is_the_smaller_part(turn):
    long, short = filled(turn), filled([basis[:20] for basis in turn])
    for history, kept in ((long, True), (short, False)):
        history.angles()
        assert (history.state_dict()["gram"] is not None) == kept


def test_variables_make_a_dataset(turn, folder):
    history = DriftHistory(folder)
    for step, basis in zip(STEPS, turn, strict=True):
        history.append(step, basis, repeat=basis)
    data = xr.Dataset(drift_variables(history))
    assert data.sizes == {"frame": 4, "other": 4, "angle": 2, "bound": 3}
    assert all("units" in data[name].attrs for name in data if name != "label")
    np.testing.assert_allclose(data.speed[1:], 1e-3, rtol=1e-2)
    assert data.path_length[-1].item() == pytest.approx(0.4, abs=1e-3)
    np.testing.assert_allclose(data.overlap_corrected, data.overlap, atol=1e-6)
    np.testing.assert_allclose(data.reliability, 1, atol=1e-6)
    assert data.overlap_chance[0].item() == pytest.approx(2 / 9000)
    named = DriftHistory()
    named.append("start", turn[0])
    assert "speed" not in drift_variables(named)


def test_frames_of_one_batch_do_not_pass_for_one_subspace():
    """Leading directions of gradients whose means are unrelated but whose noise is one batch's."""
    rng, n, p, count = np.random.default_rng(0), 200, 3, 30
    corrected, direct = [], []

    def leading(means: np.ndarray, noise: np.ndarray) -> np.ndarray:
        signal = 2 * rng.standard_normal((count, p)) @ means.T
        return np.linalg.svd(signal + noise, full_matrices=False)[2][:p].T.copy()

    for _ in range(40):
        one, other = (np.linalg.qr(rng.standard_normal((n, p)))[0] for _ in range(2))
        batches = rng.standard_normal((2, count, n))
        history = DriftHistory(dtype=torch.float64)
        for label, means in enumerate((one, other)):
            history.append(label, *(leading(means, noise) for noise in batches))
        found = values(history)
        corrected.append(found["overlap_corrected"][0, 1])
        direct.append(found["overlap"][0, 1])
    assert np.mean(direct) > 10 * p / n  # the noise that they share looks like agreement
    told = np.isfinite(corrected)  # where reliabilities stand above chance
    assert told.mean() > 0.7
    error = np.nanstd(corrected) / told.sum() ** 0.5
    assert error < 0.05
    assert np.nanmean(corrected) == pytest.approx(p / n, abs=4 * error)


def test_shared_noise_is_taken_off_a_planted_overlap():
    a, a_repeat, b, b_repeat = planted(300, 60, 2, 0.3, 1.0)
    history = DriftHistory(dtype=torch.float32)
    history.append(0, a, a_repeat)
    history.append(1, b, b_repeat)
    found = values(history)
    assert found["overlap"][0, 1] > 0.5
    assert found["reliability"][0] < 0.4
    error = found["overlap_corrected_error"][0, 1]
    assert 0.002 < error < 0.03
    # The noise is isotropic around the subspace but not orthogonal to it: the correction's model
    # holds to order p/N.
    assert found["overlap_corrected"][0, 1] == pytest.approx(0.3, abs=4 * error + 2 / 60)


def test_several_subspaces_are_each_measured_as_one_alone():
    count, estimates = 5, planted(5, 50, 3, 0.6, 0.3)
    together, apart = DriftHistory(dtype=torch.float32), []
    for label, i in ((0, 0), (10, 2)):
        together.append(label, estimates[i], estimates[i + 1])
    for problem in range(count):
        alone = DriftHistory(dtype=torch.float32)
        for label, i in ((0, 0), (10, 2)):
            alone.append(label, estimates[i][problem], estimates[i + 1][problem])
        apart.append(alone)
    for measure in ("angles", "independent_angles", "floor"):
        each = torch.stack([getattr(alone, measure)() for alone in apart], dim=2)
        torch.testing.assert_close(getattr(together, measure)(), each, rtol=0, atol=NEAR_ZERO)
    singles = [values(alone) for alone in apart]
    assert set(singles[0]) >= {"mean_distance", "dispersion"}
    for name in ("overlap", "geodesic_independent", "chordal", "reliability", "geodesic_floor"):
        mean = np.mean([single[name] for single in singles], axis=0)
        np.testing.assert_allclose(values(together)[name], mean, rtol=0, atol=NEAR_ZERO)
    with pytest.raises(InputError, match="several subspaces"):
        together.coordinates()


def test_chance_band_holds_random_subspaces():
    rng = torch.Generator().manual_seed(1)
    history = DriftHistory(dtype=torch.float32)
    for label in range(12):
        history.append(label, *torch.randn(2, 20, 30, 3, generator=rng))
    found = values(history)
    pairs = np.triu_indices(12, 1)
    for metric in ("overlap", "geodesic"):
        _, low, high = found[f"{metric}_chance"]
        measured = found[metric][pairs]
        assert np.mean((low < measured) & (measured < high)) > 0.85  # 95 % expected of 66 pairs


def test_karcher_mean_of_a_geodesic_is_its_middle():
    """Planes turned by −t, 0 and t in one direction: distances t, 0, t and dispersion 2t²/3."""
    history, t = DriftHistory(dtype=torch.float64), 0.3
    for label, angle in enumerate((-t, 0.0, t)):
        plane = torch.zeros(50, 2, dtype=torch.float64)
        plane[0, 0], plane[2, 0], plane[1, 1] = np.cos(angle), np.sin(angle), 1
        history.append(label, plane, plane)
    found = values(history)
    assert found["mean_unique"] == 1
    np.testing.assert_allclose(found["dispersion_still"], 0, atol=NEAR_ZERO)
    np.testing.assert_allclose(found["mean_distance"], [t, 0, t], atol=NEAR_ZERO)
    np.testing.assert_allclose(found["dispersion"], 2 * t**2 / 3, rtol=1e-6)


def test_planes_at_right_angles_have_no_mean():
    history = DriftHistory()
    for label, row in enumerate((0, 1)):
        history.append(label, torch.eye(10)[:, row : row + 1])
    assert np.isnan(drift_variables(history)["dispersion"][1])


def test_equal_frames_that_fill_their_span_have_no_distance():
    plane = torch.linalg.qr(torch.randn(50, 3, dtype=torch.float64)).Q
    history = DriftHistory(dtype=torch.float64)
    for label in range(3):
        history.append(label, plane, plane)
    mean = karcher_mean(history.coordinates())
    assert mean.dispersion == pytest.approx(0, abs=1e-14)
    np.testing.assert_allclose(values(history)["dispersion"], 0, atol=NEAR_ZERO)


def test_frames_without_an_eigengap_are_arbitrary(turn, tmp_path):
    """Marked, and NaN in all that is said of them; the mark survives a checkpoint."""
    history = DriftHistory(dtype=torch.float32)
    for label, (basis, gap) in enumerate(zip(turn, (0.5, 0.01, 0.5, 0.5), strict=True)):
        history.append(label, basis, basis, Eigengap(gap, 0.01, 16))
    torch.save(history.state_dict(), tmp_path / "state.pt")
    again = DriftHistory()
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for found in map(values, (history, again)):
        assert found["identified"].tolist() == [True, False, True, True]
        np.testing.assert_array_equal(found["eigengap"], [0.5, 0.01, 0.5, 0.5])
        for name in ("overlap", "overlap_independent", "geodesic", "overlap_corrected", "chordal"):
            assert np.isnan(found[name][1]).all()
            assert np.isfinite(np.delete(np.delete(found[name], 1, 0), 1, 1)).all()
        assert np.isnan(found["reliability"]).tolist() == [False, True, False, False]
        assert np.isnan(found["path_length"][1:]).all()
        assert np.isfinite(found["displacement"][2:]).all()
        assert np.isnan(found["dispersion"])


def test_a_still_noisy_subspace_has_not_travelled():
    """Noise alone is 11 rad of raw steps; freed of it, the path is 0 within its error."""
    rng = torch.Generator().manual_seed(3)
    plane = orthonormal_basis(torch.randn(400, 2, generator=rng, dtype=torch.float64))
    still, moving = DriftHistory(dtype=torch.float64), DriftHistory(dtype=torch.float64)
    turned = orthonormal_basis(torch.cat([plane, torch.randn(400, 2, generator=rng).double()], 1))
    for step in range(20):
        angle = torch.tensor(0.1 * step / 2**0.5, dtype=torch.float64)
        moved = angle.cos() * turned[:, :2] + angle.sin() * turned[:, 2:]
        for history, now in ((still, plane), (moving, moved)):
            noise = 0.5 * torch.randn(2, 400, 2, generator=rng, dtype=torch.float64) / 20
            history.append(step, *(now + noise))
    found, went = values(still), values(moving)
    raw = distance_from_angles(still.angles()).diagonal(offset=1).sum()
    assert raw > 10
    assert abs(found["path_length"][-1]) < 2 * found["path_length_error"][-1] < raw / 2
    assert abs(found["displacement"][-1]) < 3 * found["displacement_error"][-1]
    assert went["displacement"][-1] == pytest.approx(1.9, abs=3 * went["displacement_error"][-1])
    assert went["displacement_error"][-1] < 0.2


def test_reliabilities_too_unequal_for_one_number_are_said():
    """Half of the problems are seen in the first frame alone, the others in the second: their
    mean reliability would give 0.3 where the subspaces are equal."""
    rng = torch.Generator().manual_seed(4)
    planes = orthonormal_basis(torch.randn(40, 60, 2, generator=rng, dtype=torch.float64))
    history = DriftHistory(dtype=torch.float64)
    for frame in (0, 1):
        blurred = torch.where((torch.arange(40) % 2 == frame)[:, None, None], 30.0, 0.05)
        noise = torch.randn(2, 40, 60, 2, generator=rng, dtype=torch.float64) / 60**0.5
        history.append(frame, *(planes + blurred * noise))
    assert np.isnan(values(history)["overlap_corrected"][0, 1])


def test_misuse_is_refused(turn, normal):
    history = DriftHistory()
    with pytest.raises(InputError, match="empty"):
        history.angles()
    history.append(np.int64(5), turn[0])
    assert type(history.labels[0]) is int
    with pytest.raises(InputError, match="5 exists"):
        history.append(5, turn[1])
    for arguments in ((6, normal(9000, 3)), (6, turn[1], normal(9000, 3))):
        with pytest.raises(InputError, match="keep to one"):
            history.append(*arguments)
    for label in (torch.tensor(6), math.nan):
        with pytest.raises(InputError, match="numbers or strings"):
            history.append(label, turn[1])
    with pytest.raises(InputError, match="spans only 1"):
        history.append(6, turn[1], turn[1][:, :1].expand(-1, 2))
    assert len(history) == 1
    assert history.angles().shape == (1, 1, 2)


def test_a_frame_that_cannot_be_written_leaves_the_history_whole(
    turn, tmp_path, monkeypatch: pytest.MonkeyPatch
):
    history = DriftHistory(tmp_path / "drift")
    history.append(0, turn[0], turn[1])

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as broken:
        broken.setattr(np, "save", fail)
        with pytest.raises(OSError, match="disk full"):
            history.append(1, turn[1], turn[2])
    history.append(1, turn[1], turn[2])
    assert history.labels == [0, 1]
    assert len(list(Path(tmp_path / "drift").iterdir())) == 4


def test_path_of_a_quarter_circle():
    places = torch.linspace(0, math.pi / 2, 5)
    walk = path(2 * ((places[:, None] - places) / 2).sin().abs(), torch.tensor([9, 7, 5, 3, 1]))
    chord = 2 * math.sin(math.pi / 16)
    assert walk.length[-1].item() == pytest.approx(4 * chord)
    assert walk.straightness == pytest.approx(math.sqrt(2) / (4 * chord))
    torch.testing.assert_close(walk.speed, torch.full((4,), chord / 2, dtype=torch.float64))


def test_floor_is_taken_off_a_standing_path():
    noise = torch.full((3, 3), 0.2, dtype=torch.float64).fill_diagonal_(0)
    assert path(noise, torch.arange(3), floor=noise).length[-1] == 0
    assert path(noise, torch.arange(3)).length[-1] == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("distances", "positions"), [(2, [0, 0]), (2, [0, 1, 2]), (1, [0]), (3, [0, 2, 1])]
)
def test_paths_need_points_in_order(distances, positions):
    with pytest.raises(InputError):
        path(torch.zeros(distances, distances), torch.tensor(positions))
