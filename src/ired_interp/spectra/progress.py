"""Progress of one solver on stderr, with an estimate of what remains."""

import numpy as np

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


class Trend:
    """Share of the products that are done, from how the largest residual falls to its tolerance."""

    def __init__(self) -> None:
        self._history: list[tuple[int, float]] = []

    def share(self, products: int, excess: float) -> float | None:
        """Take in where the run stands, and extrapolate.

        Parameters
        ----------
        products : int
            So far.
        excess : float
            Largest residual over its tolerance.

        Returns
        -------
        float or None
            Between 0 and 1; None while the residuals do not fall.
        """
        self._history.append((products, float(np.log(max(excess, 1e-30)))))
        recent = self._history[len(self._history) // 2 :]
        steps, fall = recent[-1][0] - recent[0][0], recent[0][1] - recent[-1][1]
        if steps <= 0 or fall <= 0:
            return None
        return products / (products + max(0.0, self._history[-1][1]) * steps / fall)
