"""A disk that is full, or a writer that is killed: a sentence, nothing lost, nothing left."""

import errno
import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from conftest import TINY, Ired, Trained
from ired_interp.errors import RunError
from ired_interp.files import atomic, remove_leftovers
from ired_interp.results import Run
from ired_interp.results import state as states
from ired_interp.results.collection import Collection
from ired_interp.results.state import record_state, state


@contextmanager
def room(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes, as on a disk that is full; needs no privileges."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def hidden(folder: Path) -> list[Path]:
    return list(folder.rglob(".*"))


def test_a_measurement_says_that_the_disk_is_full_and_leaves_nothing(
    ired: Ired, tiny_run: Path
) -> None:
    with room(1000):
        code, _, err = ired("probe", "--ckpt", tiny_run, "--problems", 3)
    assert code == 1
    assert err.splitlines()[-1].startswith("ired: ")
    assert "could not be written (File too large); what was saved before is whole" in err
    assert not list(tiny_run.rglob("*.nc"))
    assert not hidden(tiny_run)
    code, _, err = ired("probe", "--ckpt", tiny_run, "--problems", 3)
    assert code == 0, err


def test_training_on_a_full_disk_has_failed_and_goes_on_once_there_is_room(
    ired: Ired, trained: Trained, tmp_path: Path
) -> None:
    run = tmp_path / "runs" / "quickstart" / "full"
    with room(100_000):
        code, _, err = ired("fit", *TINY, "--name", "full")
    assert code == 1
    assert "last.ckpt could not be written" in err.splitlines()[-1]
    assert state(Run(run)).startswith("failed: ")
    assert not hidden(run)
    code, _, err = ired("fit", "--resume", run)
    assert code == 0, err
    found, expected = (
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for folder in (run, trained())
    )
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_run_is_failed_even_where_no_new_file_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    run = Run(tmp_path)
    sizes = []

    def train() -> None:
        with record_state(run):
            sizes.append((tmp_path / "state.json").stat().st_size)
            monkeypatch.setattr(states, "atomic", full)
            raise RunError("the model " + "diverged " * 1000)

    with pytest.raises(RunError, match="the model"):
        train()
    text = (tmp_path / "state.json").read_text()
    assert len(text) <= sizes[0] + 1
    assert json.loads(text)["state"] == "failed"


def test_gradients_to_keep_take_their_space_at_once(tmp_path: Path) -> None:
    with room(100_000), pytest.raises(RunError, match=r"vectors\.npy could not be written"):
        Collection(tmp_path / "gradients", {"all": 1000}, 1000)


def test_what_a_killed_writer_left_is_removed_on_resume_but_not_what_is_being_written(
    ired: Ired, tiny_run: Path
) -> None:
    left = tiny_run / "results" / "some_probe" / ".step-00000004_raw_0123abcd.nc.x7_k2a9q"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    kept = left.with_name(".step-00000004_raw_0123abcd")  # where a long measurement goes on from
    kept.mkdir()
    code, _, err = ired("fit", "--resume", tiny_run)
    assert code == 0, err
    assert not left.exists()
    assert kept.is_dir()
    with atomic(left.parent / "result.nc") as temporary:
        temporary.write_bytes(b"half")
        remove_leftovers(tiny_run)
        assert temporary.exists()
