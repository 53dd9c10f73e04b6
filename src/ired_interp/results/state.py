"""Whether a run is running, done, stopped or dead, for how long it trained, and on what."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ired_interp.errors import Interrupted
from ired_interp.files import atomic
from ired_interp.results.run import Run

_FILE = "state.json"
_SILENT_SECONDS = 900  # without a sign of life, where the process itself cannot be seen


@contextmanager
def record_state(run: Run, device: str = "") -> Iterator[None]:
    """Keep the state of a run while the block trains it: running, then done, stopped or failed.

    Parameters
    ----------
    run : Run
        The run.
    device : str
        What it trains on, in words.

    Raises
    ------
    KeyboardInterrupt
        As the block raised it, after the run is marked as stopped.
    Interrupted
        As the block raised it, after the run is marked as stopped.
    """
    begun: dict[str, Any] = {"device": device, "began": time.time(), "before": trained(run)[0]}
    _write(run, "running", **begun)
    try:
        yield
    except (KeyboardInterrupt, Interrupted):
        _write(run, "stopped", **begun)
        raise
    except BaseException as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        _write(run, "failed", reason, **begun)
        raise
    _write(run, "done", **begun)


def state(run: Run) -> str:
    """Return the run's state in a word or two.

    It is running, done, stopped, failed (with the reason), killed, or how long it has been silent.
    """
    kept = _read(run)
    if not kept:
        return "unknown"
    if kept["state"] != "running":
        return f"{kept['state']}: {kept['reason']}" if kept.get("reason") else str(kept["state"])
    if kept["host"] == socket.gethostname():
        return "running" if _alive(int(kept["pid"])) else "killed"
    silent = time.time() - _last_sign(run)
    return "running" if silent < _SILENT_SECONDS else f"silent for {silent / 3600:.1f} h"


def trained(run: Run) -> tuple[float, str]:
    """Return for how many seconds a run has trained, over all its starts, and on what device.

    Of a process that was killed, its last sign of life counts as its end; 0 and "" where nothing
    is known.
    """
    kept = _read(run)
    if "began" not in kept:
        return 0.0, ""
    end = _last_sign(run) if kept["state"] == "running" else kept["time"]
    return kept["before"] + max(0.0, end - kept["began"]), kept["device"]


def _read(run: Run) -> dict[str, Any]:
    try:
        kept: dict[str, Any] = json.loads((run.path / _FILE).read_text())
    except (OSError, ValueError):
        return {}
    return kept


def _write(run: Run, word: str, reason: str = "", **begun: object) -> None:
    content = {
        "state": word,
        "reason": reason,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "time": time.time(),
        **begun,
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
