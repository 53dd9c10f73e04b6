"""Where the nodes of a graph are drawn: near those that few edges lead to."""

import numpy as np

_ROUNDS = 200
_WIDENED = 3


def layout(edges: np.ndarray) -> np.ndarray:
    """Place nodes so that their distances are those along edges, as nearly as a plane allows.

    Parameters
    ----------
    edges : array (n, n)
        True where an edge leads from the row's node to the column's; its direction is not minded.

    Returns
    -------
    array (n, 2)
        In the unit square, a narrow graph widened by up to three times.

    References
    ----------
    Gansner, Koren, North, "Graph drawing by stress majorization", 2004.
    """
    wanted = _hops(edges | edges.T).astype(float)
    n = len(wanted)
    np.fill_diagonal(wanted, 1.0)
    weights = wanted**-2.0
    np.fill_diagonal(weights, 0.0)
    laplacian = np.diag(weights.sum(1)) - weights
    inverse = np.linalg.pinv(laplacian)
    angle = 2 * np.pi * np.arange(n) / n
    places = _scaled(wanted) if n > 2 else np.stack([np.cos(angle), np.sin(angle)], 1)
    for _ in range(_ROUNDS):
        apart = np.linalg.norm(places[:, None] - places, axis=2)
        pull = weights * wanted / np.maximum(apart, 1e-9)
        places = inverse @ (pull.sum(1)[:, None] * places - pull @ places)
    places = (places - places.mean(0)) @ np.linalg.svd(places - places.mean(0))[2].T
    low, high = places.min(0), places.max(0)
    reach = np.maximum(high - low, (high - low).max() / _WIDENED)
    placed: np.ndarray = (places - (low + high) / 2) / np.maximum(reach, 1e-9) + 0.5
    return placed


def _hops(joined: np.ndarray) -> np.ndarray:
    """Count edges between nodes; one more than the most where no path leads."""
    n = len(joined)
    found = np.where(np.eye(n, dtype=bool), 0, -1)
    reached = np.eye(n, dtype=bool)
    for length in range(1, n):
        reached = (reached @ joined) & (found < 0)
        found[reached] = length
    return np.where(found < 0, found.max() + 1, found)


def _scaled(wanted: np.ndarray) -> np.ndarray:
    """Start from classical scaling, a little bent so that no two nodes stand on one spot."""
    n = len(wanted)
    squares = (wanted - np.eye(n)) ** 2
    centred = -(squares - squares.mean(0) - squares.mean(1)[:, None] + squares.mean()) / 2
    values, vectors = np.linalg.eigh(centred)
    angle = 2 * np.pi * np.arange(n) / n
    bent = 1e-3 * np.stack([np.cos(angle), np.sin(angle)], 1)
    places: np.ndarray = vectors[:, -2:] * np.sqrt(np.maximum(values[-2:], 0)) + bent
    return places
