"""Whether an eigenvalue can still hide from a Krylov basis: the test by a fresh random direction.

A Krylov space sees one direction of each eigenspace of its start vector. A further eigenvector x is
orthogonal to all of it, and only a fresh direction p brings it in. The products with p grow a
tridiagonal (after a restart, arrowhead) projection S, and if A x = μ x, then the components z of x
along its rows and y along its pending vector satisfy (S − μ) z = −β y e. With ‖z‖² + y² ≤ 1 this
bounds the component of x along p (the Christoffel function of S at μ). A random p has less than
that with a known probability, and once that is small, no such x is there.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

Outcome = Literal["open", "found", "clear"]
_MISS = 0.02  # probability that a hidden eigenvalue is taken for absent


@dataclass
class Threshold:
    """One end of the spectrum, turned upwards by its sign.

    Attributes
    ----------
    sign : int
        1 for the upper end, −1 for the lower.
    value : float
        Sign times the eigenvalue from which on none may hide.
    needed : float
        Logarithm of what the bound must reach.
    """

    sign: int
    value: float
    needed: float


def thresholds(
    values: np.ndarray, which: str, slack: np.ndarray, scale: float, dimension: int
) -> list[Threshold]:
    """Find from which eigenvalue on a hidden one would change the wanted ones.

    A further copy of a wanted eigenvalue changes them where another would have to leave: the
    smallest of those that differ from the last is the hardest to rule out. Where there is none,
    only an unlucky start can have missed anything, and a tenth of the operator's size is left.

    Parameters
    ----------
    values : numpy.ndarray
        (k,) the wanted eigenvalues as found, the most wanted first.
    which : str
        As in ``lanczos``.
    slack : numpy.ndarray
        (k,) to within which they are wanted.
    scale : float
        Largest eigenvalue in magnitude.
    dimension : int
        Of the space from which the fresh direction is drawn.

    Returns
    -------
    list of Threshold
        One for each end that is wanted.
    """
    # A component c of a random unit vector in n dimensions: P(c² < t) ≈ √(2nt/π).
    needed = float(np.log(2 * dimension / (np.pi * _MISS**2)))
    found = []
    for sign in {"LA": (1,), "SA": (-1,)}.get(which, (1, -1)):
        end = slice((1 - sign) // 2, None, 2) if which == "BE" else slice(None)
        wanted, room = sign * values[end], slack[end]
        if len(wanted):
            edge = abs(wanted[-1]) if which == "LM" else wanted[-1]
            above = wanted[wanted > edge + 2 * room[-1]]
            value = above.min() - room[-1] if len(above) else edge + max(room[-1], 0.1 * scale)
            found.append(Threshold(sign, float(value), needed))
    return found


@dataclass
class Verification:
    """The test by one fresh direction.

    Attributes
    ----------
    row : int
        Row of the basis that the fresh direction, or after a restart what followed it, becomes.
    ends : list of Threshold
        What it is to rule out.
    """

    row: int
    ends: list[Threshold]

    def outcome(self, projection: np.ndarray, coupling: float) -> Outcome:
        """Judge after a product of the fresh direction's chain.

        Parameters
        ----------
        projection : numpy.ndarray
            (m, m) of the operator, m > ``row``.
        coupling : float
            β of the last row with the pending vector; 0 where the chain has ended.

        Returns
        -------
        str
            "found" if an eigenvalue has emerged beyond a threshold, "clear" if none hides beyond
            any, else "open".
        """
        small, start = self._chain(projection)
        states = [_state(end, small, start, coupling) for end in self.ends]
        if "found" in states:
            return "found"
        return "open" if "open" in states else "clear"

    def restart(self, projection: np.ndarray, coupling: float, rows: int) -> None:
        """Go on from the pending vector, whose component along a hidden eigenvector has grown.

        Parameters
        ----------
        projection, coupling
            Before the restart, as in ``outcome``.
        rows : int
            Rows that the restart keeps.
        """
        if len(projection) > self.row:
            small, start = self._chain(projection)
            for end in self.ends:
                end.needed += 2 * float(np.log(abs(_components(end, small, coupling)[start])))
        self.row = rows

    def _chain(self, projection: np.ndarray) -> tuple[np.ndarray, int]:
        """Projection on the rows that the chain is coupled to, and the place of its first."""
        head = np.flatnonzero(projection[self.row, : self.row])
        rows = np.concatenate([head, np.arange(self.row, len(projection))])
        return projection[np.ix_(rows, rows)], len(head)

    def saved(self) -> dict[str, Any]:
        """State as JSON values."""
        return asdict(self)

    @classmethod
    def loaded(cls, state: dict[str, Any]) -> Verification:
        """Take up a saved state."""
        return cls(state["row"], [Threshold(**end) for end in state["ends"]])


def _components(end: Threshold, small: np.ndarray, coupling: float) -> np.ndarray:
    """Components of a hidden eigenvector along the rows; along the pending vector it has 1."""
    last = np.zeros(len(small))
    last[-1] = coupling
    components: np.ndarray = np.linalg.solve(
        end.value * np.eye(len(small)) - end.sign * small, end.sign * last
    )
    return components


def _state(end: Threshold, small: np.ndarray, start: int, coupling: float) -> Outcome:
    if np.linalg.eigvalsh(end.sign * small)[-1] > end.value:
        return "found"
    if not coupling:
        return "clear"
    z = _components(end, small, coupling)
    return "clear" if np.log((z @ z + 1) / z[start] ** 2) >= end.needed else "open"
