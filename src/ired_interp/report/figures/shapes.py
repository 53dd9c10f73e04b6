"""Shapes of small pictures inside one panel, each of side 1 above and right of its corner."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path


def centre(row: int, column: int, side: int) -> np.ndarray:
    """Return the middle of a cell of a square grid."""
    return np.array([(column + 0.5) / side, 1 - (row + 0.5) / side])


def squares(corner: np.ndarray, chosen: np.ndarray, inset: float = 0.0) -> list[np.ndarray]:
    """Return the outlines of the cells chosen from a grid, smaller by a share on every side."""
    half = (0.5 - inset) / len(chosen)
    around = half * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    return [corner + centre(r, c, len(chosen)) + around for r, c in np.argwhere(chosen)]


def curve(first: np.ndarray, last: np.ndarray, bulge: float = 0.0) -> np.ndarray:
    """Return points along a line between two places, bent to the left by a share of its length."""
    t = np.linspace(0, 1, 2 if bulge == 0 else 17)[:, None]
    left = np.array([first[1] - last[1], last[0] - first[0]])
    points: np.ndarray = (1 - t) * first + t * last + 4 * bulge * t * (1 - t) * left
    return points


def arrow_place(line: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the place of a line's arrow, past its middle, and the direction there."""
    i = max(1, round(0.65 * (len(line) - 1)))
    step = line[i] - line[i - 1]
    place = line[0] + 0.62 * step if len(line) == 2 else line[i]
    return place, step / max(float(np.linalg.norm(step)), 1e-9)


def arrows(corner: np.ndarray, lines: list[np.ndarray], size: float) -> list[np.ndarray]:
    """Return triangles that point along lines."""
    found = []
    for line in lines:
        place, along = arrow_place(line)
        across = np.array([-along[1], along[0]])
        tip, tail = corner + place + size * along, corner + place - size * along
        found.append(np.array([tip, tail + 0.7 * size * across, tail - 0.7 * size * across]))
    return found


def fill(axes: Axes, outlines: list[np.ndarray], **style: Any) -> None:
    """Draw closed outlines as one shape."""
    if outlines:
        closed = [Path(np.vstack([line, line[:1]]), closed=True) for line in outlines]
        axes.add_patch(PathPatch(Path.make_compound_path(*closed), **{"linewidth": 0.0} | style))


def stroke(
    axes: Axes,
    corner: np.ndarray,
    lines: Iterable[Any],
    colour: str,
    width: float,
    dash: Any = "-",
) -> None:
    """Draw lines as one shape."""
    paths = [Path(corner + np.array(line)) for line in lines]
    if paths:
        style = {"edgecolor": colour, "linewidth": width, "linestyle": dash}
        axes.add_patch(PathPatch(Path.make_compound_path(*paths), facecolor="none", **style))


def mark(axes: Axes, marks: dict[str, list[np.ndarray]]) -> None:
    """Let the pointer find places by name; nothing is drawn."""
    for name, places in marks.items():
        axes.plot(*np.array(places).T, linestyle="none", label=f"_{name}")
