"""Whether a run is running, done, stopped or dead, kept in its folder for any process to tell."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ired_interp.errors import Interrupted
from ired_interp.files import atomic
from ired_interp.results.run import Run

_FILE = "state.json"
_SILENT_SECONDS = 900  # without a sign of life, where the process itself cannot be seen


@contextmanager
def record_state(run: Run) -> Iterator[None]:
    """Keep the state of a run while the block trains it: running, then done, stopped or failed.

    Raises
    ------
    KeyboardInterrupt
        As the block raised it, after the run is marked as stopped.
    Interrupted
        As the block raised it, after the run is marked as stopped.
    """
    _write(run, "running")
    try:
        yield
    except (KeyboardInterrupt, Interrupted):
        _write(run, "stopped")
        raise
    except BaseException as error:
        _write(run, "failed", f"{type(error).__name__}: {error}".splitlines()[0])
        raise
    _write(run, "done")


def state(run: Run) -> str:
    """Return the run's state in a word or two.

    It is running, done, stopped, failed (with the reason), killed, or how long it has been silent.
    """
    try:
        kept = json.loads((run.path / _FILE).read_text())
    except (OSError, ValueError):
        return "unknown"
    if kept["state"] != "running":
        return f"{kept['state']}: {kept['reason']}" if kept.get("reason") else str(kept["state"])
    if kept["host"] == socket.gethostname():
        return "running" if _alive(int(kept["pid"])) else "killed"
    silent = time.time() - _last_sign(run)
    return "running" if silent < _SILENT_SECONDS else f"silent for {silent / 3600:.1f} h"


def _write(run: Run, word: str, reason: str = "") -> None:
    content = {
        "state": word,
        "reason": reason,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "time": time.time(),
    }
    with atomic(run.path / _FILE) as temporary:
        temporary.write_text(json.dumps(content))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _last_sign(run: Run) -> float:
    files: list[Path] = [
        *run.path.glob("metrics/*/metrics.csv"),
        *run.checkpoints.glob("*.ckpt"),
        run.path / _FILE,
    ]
    return max(file.stat().st_mtime for file in files)
