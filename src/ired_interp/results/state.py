"""Whether a run is running, done, stopped or dead, for how long it trained, and on what."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ired_interp.errors import InputError, Interrupted, RunError
from ired_interp.files import atomic, read_regular
from ired_interp.results.run import Run

STATE = "state.json"
UNKNOWN = "unknown"  # of a run that has none
_MOST_BYTES = 100_000
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
        _end(run, "stopped", **begun)
        raise
    except BaseException as error:
        told = isinstance(error, InputError | RunError)
        reason = str(error) if told else f"{type(error).__name__}: {error}"
        _end(run, "failed", reason.splitlines()[0] if reason else "", **begun)
        raise
    _end(run, "done", **begun)


def state(run: Run) -> str:
    """Return the run's state in a word or two.

    It is running, done, stopped, failed (with the reason), killed, or how long it has been silent.
    """
    kept = _read(run)
    word, reason = kept.get("state"), kept.get("reason")
    if not isinstance(word, str):
        return UNKNOWN
    if word != "running":
        return f"{word}: {reason}" if reason else word
    if kept.get("host") == socket.gethostname():
        return "running" if _alive(kept.get("pid")) else "killed"
    silent = time.time() - _last_sign(run)
    return "running" if silent < _SILENT_SECONDS else f"silent for {silent / 3600:.1f} h"


def process(run: Run) -> str:
    """Name the process that trained a run last."""
    kept = _read(run)
    return f"process {kept.get('pid', '?')} on {kept.get('host', 'another machine')}"


def trained(run: Run) -> tuple[float, str]:
    """Return for how many seconds a run has trained, over all its starts, and on what device.

    Of a process that was killed, its last sign of life counts as its end; 0 and "" where nothing
    is known.
    """
    kept = _read(run)
    times = [kept.get(name) for name in ("began", "before", "time")]
    if not all(isinstance(value, int | float) for value in times):
        return 0.0, ""
    began, before, end = (float(value) for value in times if value is not None)
    end = _last_sign(run) if kept.get("state") == "running" else end
    return before + max(0.0, end - began), str(kept.get("device", ""))


def _read(run: Run) -> dict[str, Any]:
    try:
        kept = json.loads(read_regular(run.path / STATE, _MOST_BYTES, "state"))
    except (InputError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _write(run: Run, word: str, reason: str = "", **begun: Any) -> None:
    with atomic(run.path / STATE) as temporary:
        temporary.write_text(_content(word, reason, begun))


def _end(run: Run, word: str, reason: str = "", **begun: Any) -> None:
    """Keep how a run ended; on a full disk in the place of what stands there, cut to its size."""
    try:
        _write(run, word, reason, **begun)
    except (OSError, RunError):
        room = max(0, (run.path / STATE).stat().st_size - len(_content(word, "", begun)))
        with suppress(OSError), (run.path / STATE).open("r+") as file:
            file.write(_content(word, reason[:room], begun))
            file.truncate()


def _content(word: str, reason: str, begun: dict[str, Any]) -> str:
    content = {
        "state": word,
        "reason": reason,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "time": time.time(),
        **begun,
    }
    return json.dumps(content)


def _alive(pid: Any) -> bool:
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _last_sign(run: Run) -> float:
    files: list[Path] = [*run.metrics_files(), *run.checkpoints.glob("*.ckpt"), run.path / STATE]
    return max(file.stat().st_mtime for file in files)
