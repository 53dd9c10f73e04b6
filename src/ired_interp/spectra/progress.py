"""Progress of a Lanczos run on the terminal, with an estimate of what remains."""

from __future__ import annotations

import math
import time

from rich.console import Console
from rich.status import Status


class Progress:
    """Shows products, converged pairs and the time left; on a terminal as one live line, else as a line every 30 seconds."""

    _QUIET = 30.0

    def __init__(self, enabled: bool) -> None:
        self._console = Console(stderr=True) if enabled else None
        self._status: Status | None = None
        self._begin = self._last = time.monotonic()
        self._history: list[tuple[int, float]] = []

    def remaining(self, matvecs: int, excess: float) -> float | None:
        """Products still needed, from the trend of the largest residual over its tolerance; None while there is no trend."""
        self._history.append((matvecs, math.log(max(excess, 1e-30))))
        recent = self._history[len(self._history) // 2 :]
        steps, fall = recent[-1][0] - recent[0][0], recent[0][1] - recent[-1][1]
        return None if steps <= 0 or fall <= 0 else max(0.0, self._history[-1][1]) * steps / fall

    def update(self, matvecs: int, converged: int, wanted: int, excess: float) -> None:
        left = self.remaining(matvecs, excess)
        now = time.monotonic()
        if self._console is None or now - self._begin < 2.0:
            return
        pace = (now - self._begin) / max(1, matvecs)
        estimate = "time left unknown" if left is None else f"about {max(1, round(left * pace))} s left"
        text = f"Lanczos: {matvecs} products, {converged} of {wanted} eigenpairs converged, {estimate}"
        if self._console.is_terminal:
            if self._status is None:
                self._status = self._console.status(text)
                self._status.start()
            self._status.update(text)
        elif now - self._last > self._QUIET:
            self._last = now
            self._console.print(text)

    def close(self) -> None:
        if self._status is not None:
            self._status.stop()
