"""A run's state can be told from its folder, whatever became of its process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ired_interp.errors import Interrupted
from ired_interp.results import Run
from ired_interp.results.state import record_state, state, trained


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_running_then_done(run: Run) -> None:
    with record_state(run):
        assert state(run) == "running"
    assert state(run) == "done"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Interrupted(15), "stopped"),
        (KeyboardInterrupt(), "stopped"),
        (ValueError("nan\nmore"), "failed: ValueError: nan"),
    ],
)
def test_an_end_by_an_error_is_told(run: Run, error: BaseException, expected: str) -> None:
    with pytest.raises(type(error)), record_state(run):
        raise error
    assert state(run) == expected


@pytest.mark.process
def test_a_process_that_was_killed_is_told(run: Run) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from ired_interp.results import Run\n"
        "from ired_interp.results.state import record_state\n"
        "with record_state(Run(Path(sys.argv[1]))): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script, str(run.path)], check=False, timeout=60)
    assert state(run) == "killed"


def test_a_process_elsewhere_is_judged_by_its_last_sign(run: Run) -> None:
    with record_state(run):
        file = run.path / "state.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"host": "another"}))
        assert state(run) == "running"
        hours_ago = file.stat().st_mtime - 7200
        os.utime(file, (hours_ago, hours_ago))
        assert state(run) == "silent for 2.0 h"


def test_a_run_without_a_state_is_unknown(run: Run) -> None:
    assert state(run) == "unknown"


def test_the_time_of_all_starts_counts_that_of_one_that_was_killed_until_its_last_sign(run: Run):
    assert trained(run) == (0.0, "")
    with record_state(run, "CPU"):
        file = run.path / "state.json"
        kept = json.loads(file.read_text())
        file.write_text(json.dumps(kept | {"began": kept["began"] - 100}))  # killed after 100 s
        os.utime(file, (kept["began"], kept["began"]))
        seconds, device = trained(run)
        assert (round(seconds), device) == (100, "CPU")
        with record_state(run, "GPU"):
            kept = json.loads(file.read_text())
    assert round(kept["before"]) == 100
    assert trained(run)[1] == "CPU"
