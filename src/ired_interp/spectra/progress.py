"""Progress on stderr with an estimate of what remains."""

from __future__ import annotations

import time

from rich.console import Console
from rich.status import Status


class SolverProgress:
    """One live line on a terminal, else a line every 30 seconds; nothing in the first two seconds.

    Parameters
    ----------
    enabled : bool
        Whether to show anything.
    """

    def __init__(self, enabled: bool) -> None:
        self._console = Console(stderr=True) if enabled else None
        self._status: Status | None = None
        self._begin = self._last = time.monotonic()

    def update(self, text: str, share: float | None) -> None:
        """Show what is done and the time left.

        Parameters
        ----------
        text : str
            What is done.
        share : float or None
            Share of the work that is done; None if unknown.
        """
        now = time.monotonic()
        if self._console is None or now - self._begin < 2.0:
            return
        left = "time left unknown"
        if share is not None and share > 0:
            left = f"about {max(1, round((now - self._begin) * (1 / share - 1)))} s left"
        if self._console.is_terminal:
            if self._status is None:
                self._status = self._console.status(text)
                self._status.start()
            self._status.update(f"{text}, {left}")
        elif now - self._last > 30.0:
            self._last = now
            self._console.print(f"{text}, {left}")

    def close(self) -> None:
        """Take the line off the terminal."""
        if self._status is not None:
            self._status.stop()
