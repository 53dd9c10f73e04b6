"""Problems as a person would look at them, along inference: boards, connections, plans."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from ired_interp.report.collect import Section, after_steps, left_out, of_group
from ired_interp.report.figure import Figure, Panel
from ired_interp.report.figures.graph_layout import layout
from ired_interp.report.figures.shapes import (
    arrow_place,
    arrows,
    centre,
    curve,
    fill,
    mark,
    squares,
    stroke,
)
from ired_interp.report.style import GRID, INK, MUTED, series_colour

_RIGHT, _WRONG = series_colour(0), series_colour(1)
_STAGES = 4  # landscapes shown of each problem
_MOST_GROUPS = 2
_GAP, _HEAD = 0.08, 0.11  # between pictures, and above each for its heading; their side is 1
_CAPTIONS = {
    "board": "Grey: given. Framed: wrong; the pointer says what is right.",
    "joined": (
        "Rows and columns are nodes, in the order of their components, so that the answer is "
        "blocks on the diagonal; a dot: an edge of the graph. Blue: rightly said to be joined. "
        "Orange: wrongly; an orange frame: joined, but not said to be."
    ),
    "plan": (
        "Grey: edges of the graph, along their arrows; square: start; diamond: goal. Blue: moves "
        "of the plan along an edge that come closer to the goal. Orange, dashed: other moves; a "
        "ring: a stay that is none of a shortest path. Places are chosen for legibility."
    ),
}


def figures(section: Section) -> list[Figure]:
    """Show the problems that a trajectory kept; nothing where it kept none."""
    data = [
        (group, results[0], kind)
        for group, results in section.last()
        if (kind := next((kind for kind in _CAPTIONS if kind in results[0]), ""))
    ]
    if not data:
        return []
    panels = [
        Panel(of_group(title, group, data), draw, height=1.42)
        for group, result, kind in data[:_MOST_GROUPS]
        for title, draw in _panels(result, kind)
    ]
    kinds = dict.fromkeys(kind for *_, kind in data[:_MOST_GROUPS])
    caption = (
        f"The problems solved best, middling and worst, by their error in the last landscape, of "
        f"{data[0][1].sizes['problem']} of the {section.settings.get('variant', 'same')} "
        f"distribution, as inference leaves them in landscapes k; {section.weights} weights, "
        f"{after_steps([(group, [result]) for group, result, _ in data])}. "
        f"{' '.join(_CAPTIONS[kind] for kind in kinds)}"
        f"{left_out([(group, result) for group, result, _ in data], _MOST_GROUPS, 'those')}"
    )
    return [Figure(f"{section.probe}-pictures", "Solutions along inference", caption, panels)]


def _panels(result: xr.Dataset, kind: str) -> Iterable[tuple[str, Callable[[Axes], None]]]:
    error = result["error"].isel(landscape=-1, inner_step=-1).values
    for place, number in enumerate(result["pictured"].values):
        title = f"problem {number}, error {error[number]:.3g}"
        yield title, _drawer(result.isel(pictured=place), _DRAW[kind])


def _drawer(one: xr.Dataset, prepare: Any) -> Callable[[Axes], None]:
    """Draw one problem after so many landscapes, in two columns; each picture has side 1."""

    def drawn(axes: Axes) -> None:
        visits = one.sizes["landscape"]
        stages = np.unique(np.linspace(0, visits - 1, _STAGES).round().astype(int))
        columns = min(2, len(stages))
        rows = -(-len(stages) // columns)
        axes.set_axis_off()
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_aspect("equal")
        axes.set_xlim(-0.02, columns + _GAP * (columns - 1) + 0.02)
        axes.set_ylim(-rows * (1 + _HEAD) - 0.02, 0.02)
        draw = prepare(one)
        for i, stage in enumerate(stages):
            row, column = divmod(i, columns)
            corner = np.array([column * (1 + _GAP), -(row + 1) * (1 + _HEAD)])
            k = f"k = {int(one['landscape'][stage])}"
            axes.text(corner[0], corner[1] + 1.025, k, fontsize=8, color=MUTED)
            draw(axes, corner, k, one.isel(landscape=stage))

    return drawn


def _board(one: xr.Dataset) -> Callable[..., None]:
    answer, given = one["board_answer"].values, one["board_given"].values > 0
    side = len(answer)
    box = round(side**0.5)
    lines = np.arange(side + 1) / side

    def draw(axes: Axes, corner: np.ndarray, k: str, here: xr.Dataset) -> None:
        board = here["board"].values
        wrong = board != answer
        fill(axes, squares(corner, given), facecolor=GRID)
        for chosen, colour, width in ((lines, GRID, 0.5), (lines[::box], MUTED, 1.0)):
            ends = [([at, 0], [at, 1]) for at in chosen] + [([0, at], [1, at]) for at in chosen]
            stroke(axes, corner, ends, colour, width)
        fill(axes, squares(corner, wrong, 0.06), facecolor="none", edgecolor=_WRONG, linewidth=1.2)
        marks: dict[str, list[np.ndarray]] = {}
        for (row, column), digit in np.ndenumerate(board):
            place = corner + centre(row, column, side)
            kept, false = given[row, column], wrong[row, column]
            axes.text(
                place[0],
                place[1],
                str(digit),
                ha="center",
                va="center_baseline",
                fontsize=40 / side**0.75,
                color=_WRONG if false else INK if kept else _RIGHT,
                fontweight="bold" if kept or false else "normal",
            )
            said = f"not {answer[row, column]}" if false else "given" if kept else "right"
            marks.setdefault(f"{k}: {digit}, {said}", []).append(place)
        mark(axes, marks)

    return draw


def _joined(one: xr.Dataset) -> Callable[..., None]:
    answer = one["joined_answer"].values > 0
    order = np.argsort(answer.argmax(1), kind="stable")  # by the first node of each component
    grid = np.ix_(order, order)
    answer, edge = answer[grid], one["edge"].values[grid] > 0
    n = len(answer)

    def draw(axes: Axes, corner: np.ndarray, k: str, here: xr.Dataset) -> None:
        said = here["joined"].values[grid] > 0
        fill(axes, squares(corner, said & answer, 0.06), facecolor=_RIGHT)
        fill(axes, squares(corner, said & ~answer, 0.06), facecolor=_WRONG)
        missed = squares(corner, ~said & answer, 0.12)
        fill(axes, missed, facecolor="none", edgecolor=_WRONG, linewidth=1.0)
        stroke(axes, corner, [[(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)]], MUTED, 0.7)
        fill(axes, squares(corner, edge, 0.38), facecolor=INK)
        marks: dict[str, list[np.ndarray]] = {}
        for row, column in np.argwhere(said | answer):
            state = "joined" if answer[row, column] else "said to be joined, but not"
            state += "" if said[row, column] else ", but not said to be"
            name = f"{k}: {order[row]} and {order[column]} {state}"
            marks.setdefault(name, []).append(corner + centre(row, column, n))
        mark(axes, marks)

    return draw


def _plan(one: xr.Dataset) -> Callable[..., None]:
    edge, to_goal, start = one["edge"].values > 0, one["to_goal"].values, int(one["start"])
    goal = int(np.argmax(to_goal == 0))
    places = 0.06 + 0.88 * layout(edge)
    roads = [curve(places[a], places[b]) for a, b in np.argwhere(edge)]

    def draw(axes: Axes, corner: np.ndarray, k: str, here: xr.Dataset) -> None:
        stroke(axes, corner, roads, MUTED, 0.5)
        fill(axes, arrows(corner, roads, 0.022), facecolor=MUTED)
        marks: dict[str, list[np.ndarray]] = {}
        right: list[np.ndarray] = []
        wrong: list[np.ndarray] = []
        place = start
        for step, node in enumerate(map(int, here["plan"].values), 1):
            along = bool(edge[place, node])
            closer = to_goal[node] >= 0 and to_goal[node] == to_goal[place] - 1
            way = curve(places[place], places[node], 0.0 if along else 0.2)
            if place != node:
                (right if along and closer else wrong).append(way)
                fault = "" if along and closer else ", no closer" if along else ", no edge"
                marks[f"{k}: move {step}, {place} to {node}{fault}"] = [
                    corner + arrow_place(way)[0]
                ]
            elif node != goal:
                marks[f"{k}: move {step}, stays at {node}"] = [corner + places[node]]
                axes.plot(*(corner + places[node]), "o", color=_WRONG, markersize=9, mfc="none")
            place = node
        for lines, colour, width, dash in (
            (right, _RIGHT, 1.9, "-"),
            (wrong, _WRONG, 1.5, (0, (3, 1.5))),
        ):
            stroke(axes, corner, lines, colour, width, dash)
            fill(axes, arrows(corner, lines, 0.04), facecolor=colour)
        for node, point in enumerate(corner + places):
            role = "start" if node == start else "goal" if node == goal else ""
            marker, size = {"start": ("s", 5.5), "goal": ("D", 5.5)}.get(role, ("o", 3.0))
            axes.plot(*point, marker, color=INK if role else MUTED, markersize=size)
            far = f"{to_goal[node]} from the goal" if to_goal[node] >= 0 else "out of reach"
            marks[f"{k}: node {node}, {role or far}"] = [point]
        mark(axes, marks)

    return draw


_DRAW = {"board": _board, "joined": _joined, "plan": _plan}
