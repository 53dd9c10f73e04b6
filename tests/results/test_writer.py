"""A run is trained by one process at a time, whoever started it."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from conftest import Ired
from ired_interp.errors import InputError
from ired_interp.results import Run
from ired_interp.results.state import record_state
from ired_interp.results.writer import only_writer

pytestmark = pytest.mark.process

HOLD = """
import sys, time
from pathlib import Path
from ired_interp.results import Run
from ired_interp.results.writer import only_writer
with only_writer(Run(Path(sys.argv[1]))):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (tmp_path / "config.yaml").write_text("experiment: a\n")
    return Run(tmp_path)


def test_a_second_writer_is_refused_until_the_first_has_ended(run: Run):
    program = [sys.executable, "-c", HOLD, str(run.path)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(InputError, match=rf"trains {run.path} already; wait for it, or stop"),
            only_writer(run),
        ):
            pass
        threading.Timer(0.6, os.kill, (holder.pid, signal.SIGKILL)).start()
        with only_writer(run, patience=600):  # as the next try of a job does
            assert holder.wait() == -signal.SIGKILL
    assert run.config.read_text() == "experiment: a\n"


def test_without_locks_a_process_of_this_machine_is_noticed(run: Run, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("ired_interp.files.fcntl.flock", refuse)
    with (
        only_writer(run),
        record_state(run),
        pytest.raises(InputError, match=f"process {os.getpid()} on .* trains"),
        only_writer(run),
    ):
        pass
    with only_writer(run):
        pass


def test_resuming_by_hand_leaves_a_run_that_is_trained_alone(ired: Ired, tiny_run: Path):
    before = {file: file.stat().st_mtime_ns for file in tiny_run.rglob("*")}
    with only_writer(Run(tiny_run)):
        code, _, err = ired("fit", "--resume", tiny_run, "--trainer.max_steps", 20)
    assert (code, "two would write over each other" in err) == (2, True)
    assert {file: file.stat().st_mtime_ns for file in tiny_run.rglob("*")} == before
