import math
import os

import numpy as np
import pytest
import torch
import xarray as xr

from ired_interp.errors import InputError
from ired_interp.geometry import (
    DriftHistory,
    drift_variables,
    geodesic,
    grassmann_distance,
    overlap,
    path,
    principal_angles,
)

STEPS = [0, 100, 300, 400]


@pytest.fixture
def turn(planes):
    """Four planes on one geodesic in R^9000, one every 0.001 rad per step, as float32."""
    u, v = planes(9000, [0.3, 0.4])
    times = torch.tensor(STEPS, dtype=torch.float64) / 500
    return [frame.float() for frame in geodesic(u, v, times)]


@pytest.fixture(params=["memory", "folder"])
def folder(request, tmp_path):
    return None if request.param == "memory" else tmp_path / "drift"


def filled(turn, folder, **settings):
    history = DriftHistory(folder, **settings)
    for step, basis in zip(STEPS, turn, strict=True):
        history.append(step, basis)
    return history


def test_measures_equal_the_direct_ones(turn, folder):
    history = filled(turn, folder, dtype=torch.float32)
    frames = torch.stack([snapshot.basis() for snapshot in history.snapshots])
    direct = principal_angles(frames[:, None], frames[None])
    torch.testing.assert_close(history.angles(), direct, rtol=0, atol=1e-7)
    torch.testing.assert_close(
        history.overlap(), overlap(frames[:, None], frames[None]), rtol=0, atol=1e-12
    )
    torch.testing.assert_close(history.between(0, -1), direct[0, -1], rtol=0, atol=1e-14)
    expected = (torch.tensor(STEPS)[:, None] - torch.tensor(STEPS)).abs() * 1e-3
    torch.testing.assert_close(history.distance(), expected.double(), rtol=0, atol=1e-6)
    coordinates = history.coordinates()
    reduced = principal_angles(coordinates[:, None], coordinates[None])
    torch.testing.assert_close(reduced, direct, rtol=0, atol=2e-7)


def test_half_precision_stays_within_its_floor(turn, folder):
    history = filled(turn, folder)
    exact = filled(turn, None, dtype=torch.float32).distance()
    floor = history.floor()
    assert floor.diagonal().max() == 0
    own = [torch.linalg.vector_norm(snapshot.rounding).item() for snapshot in history.snapshots]
    assert floor[0, 1].item() == pytest.approx(math.hypot(own[0], own[1]))
    assert 2e-4 < own[0] < 4e-4  # √2 directions of 2e-4 each
    assert ((history.distance() - exact).abs() <= floor + 1e-7).all()


@pytest.mark.parametrize("measured_before", [False, True])
def test_continues_after_a_kill_as_if_nothing_had_happened(turn, folder, tmp_path, measured_before):
    history = DriftHistory(folder)
    for step, basis in zip(STEPS[:2], turn[:2], strict=True):
        history.append(step, basis, repeat=basis + 0.001 * turn[3])
    if measured_before:
        history.angles()
    torch.save(history.state_dict(), tmp_path / "last.ckpt")
    history.append(
        STEPS[2], turn[2]
    )  # reached the disk after the checkpoint, then the job was killed

    resumed = DriftHistory(folder)
    resumed.load_state_dict(torch.load(tmp_path / "last.ckpt", weights_only=True))
    for step, basis in zip(STEPS[2:], turn[2:], strict=True):
        resumed.append(step, basis)
    whole = filled(turn, None)
    assert resumed.labels == STEPS
    torch.testing.assert_close(resumed.angles(), whole.angles(), rtol=0, atol=1e-12)
    torch.testing.assert_close(resumed.split_half()[:2], history.split_half()[:2])
    assert 0 < resumed.split_half()[0] < 0.01
    assert resumed.reliability()[2:].isnan().all()
    torch.testing.assert_close(resumed.floor(), whole.floor())
    if folder:
        assert len(list(folder.iterdir())) == 4


def test_a_branch_never_overwrites_the_files_of_another(turn, tmp_path):
    trunk = DriftHistory(tmp_path)
    trunk.append(0, turn[0])
    state = trunk.state_dict()
    trunk.append(1, turn[1])
    kept = trunk.snapshots[1].stored()
    branch = DriftHistory(tmp_path)
    branch.load_state_dict(state)
    branch.append(1, turn[3])
    assert torch.equal(trunk.snapshots[1].stored(), kept)
    assert not torch.equal(branch.snapshots[1].stored(), kept)


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


def test_variables_make_a_dataset(turn, folder):
    history = DriftHistory(folder)
    for step, basis in zip(STEPS, turn, strict=True):
        history.append(step, basis, repeat=basis)
    data = xr.Dataset(drift_variables(history))
    assert data.sizes == {"snapshot": 4, "other": 4, "angle": 2, "bound": 3}
    assert all("units" in data[name].attrs for name in data if name != "label")
    np.testing.assert_allclose(data.speed[1:], 1e-3, rtol=1e-2)
    assert data.path_length[-1].item() == pytest.approx(0.4, abs=1e-3)
    np.testing.assert_allclose(data.overlap_corrected, data.overlap, atol=1e-6)
    assert data.overlap_chance[0].item() == pytest.approx(2 / 9000)
    sketchy = xr.Dataset(drift_variables(history, ambient=40))
    assert sketchy.overlap_chance[0].item() == pytest.approx(2 / 40)
    named = DriftHistory()
    named.append("start", turn[0])
    assert "speed" not in drift_variables(named)


def test_noise_correction_uses_the_repeats(normal, planes):
    u, v = planes(400, [0.3, 0.9])
    history = DriftHistory(dtype=torch.float32)
    noise = lambda plane: plane + 0.02 * normal(400, 2)  # noqa: E731
    pair = noise(u), noise(u)
    history.append("a", pair[0], repeat=pair[1])
    history.append("b", noise(v), repeat=noise(v))
    truth = overlap(u, v).item()
    corrected = history.corrected_overlap()
    assert abs(corrected[0, 1].item() - truth) < abs(history.overlap()[0, 1].item() - truth)
    torch.testing.assert_close(history.reliability()[0], overlap(*pair), rtol=0, atol=1e-12)
    torch.testing.assert_close(
        history.split_half()[0], grassmann_distance(*pair), rtol=0, atol=1e-12
    )
    assert corrected.diagonal().tolist() == [1, 1]


def test_progress_sees_every_row_once_and_only_new_work(turn):
    seen: list[slice] = []
    history = filled(turn, None)
    history.progress = lambda chunks: seen.extend(chunks) or chunks
    history.angles()
    assert [seen[0].start, seen[-1].stop] == [0, 9000]
    done = len(seen)
    history.overlap()
    assert len(seen) == done


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
    with pytest.raises(InputError, match="a Tensor"):
        history.append(torch.tensor(6), turn[1])
    assert len(history) == 1


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
def test_paths_need_ordered_snapshots(distances, positions):
    with pytest.raises(InputError):
        path(torch.zeros(distances, distances), torch.tensor(positions))
