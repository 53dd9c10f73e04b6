"""Progress of one solver on stderr, with an estimate of what remains."""

from ired_interp.terminal import Bar


class SolverProgress:
    """One live line on a terminal, else a line every 30 seconds; nothing in the first two seconds.

    Parameters
    ----------
    solver : str
        What is at work.
    enabled : bool
        Whether to show anything.
    """

    def __init__(self, solver: str, enabled: bool) -> None:
        self._bar = Bar(solver, every=30.0, after=2.0) if enabled else None

    def update(self, text: str, share: float | None) -> None:
        """Show what is done and the time left.

        Parameters
        ----------
        text : str
            What is done.
        share : float or None
            Share of the work that is done; None if unknown.
        """
        if self._bar is not None:
            self._bar.update(text, share)

    def close(self) -> None:
        """Take the line off the terminal."""
        if self._bar is not None:
            self._bar.close()
