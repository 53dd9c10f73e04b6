"""What a person would look at of the discrete tasks: marks of right and wrong, shares by hardness beside floors."""

import re
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor

from ired_interp.probes.trajectory_pictures import picture_variables
from ired_interp.random import stream
from ired_interp.report import gather
from ired_interp.report.figure import Figure
from ired_interp.report.figures import figures_of_file
from ired_interp.report.figures.graph_layout import layout
from ired_interp.results import ResultKey, Run, open_results, write_result
from ired_interp.results.provenance import provenance
from ired_interp.tasks import Connectivity, ShortestPath, Sudoku, Task
from runs import make_run

pytestmark = pytest.mark.process


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "boards"))


def trajectory(task: Task, solutions: Tensor, problems: Any, error: np.ndarray) -> xr.Dataset:
    """What the probe stores, with numbers of no meaning besides the pictures and the error."""
    landscapes, count = solutions.shape[:2]
    dims = ("landscape", "inner_step", "problem")
    values = np.ones((landscapes, 2, count))
    values[-1, -1] = error
    found = xr.Dataset(
        dict.fromkeys(("error", "gradient_norm", "energy"), (dims, values)),
        {"landscape": range(landscapes - 1, -1, -1), "inner_step": [0, 1], "move": [1]},
    )
    found = found.assign({f"{name}_mean": found[name].mean("problem") for name in found})
    for name in ("acceptance", "contraction", "gradient_contraction", "predicted_contraction"):
        found[name] = found[f"{name}_error"] = (("landscape", "move"), np.ones((landscapes, 1)))
    snapshot: Any = SimpleNamespace(task=task, batch=problems)
    return found.assign(picture_variables(snapshot, solutions, error))


def pictures(folder: Path, task: Task, solutions: Tensor, problems: Any) -> Figure:
    run = Run(folder / task.name)
    error = np.arange(len(problems.x))[::-1].copy()
    result = trajectory(task, solutions, problems, error)
    key = ResultKey("inference_trajectory", 1000, "average", {"variant": "same"})
    path = write_result(run.results, key, result, provenance())
    found = {figure.name: figure for figure in figures_of_file(path)}
    return found["inference_trajectory-pictures"]


def names(figure: Figure, stage: str) -> list[list[str]]:
    """Of each picture's marks in a stage the names, once for each place."""
    every = []
    for plot in figure.plots():
        assert all(point[3:] == ["", ""] for point in plot.marks["points"])  # no coordinates
        said = [plot.marks["names"][point[2]] for point in plot.marks["points"]]
        every.append([name.removeprefix(f"{stage}: ") for name in said if name.startswith(stage)])
    return every


def test_wrong_cells_of_a_board_are_named_with_what_is_right_and_givens_told_apart(
    tmp_path: Path,
) -> None:
    task = Sudoku(side=4, puzzles=60)
    problems = task.sample(3, stream("cpu", 0))
    x, y = problems
    wrong = task.wrong_answers(problems, stream("cpu", 1))
    figure = pictures(tmp_path, task, torch.stack([-y, wrong, y, wrong]), problems)
    cells = (t.view(3, 16, 4) for t in (x, y, wrong))
    given, right, drawn = (torch.where((t > 0).any(2), t.argmax(2) + 1, 0) for t in cells)
    assert [plot.title for plot in figure.plots()] == [
        f"problem {i}, error {2 - i}" for i in (2, 1, 0)
    ]
    for problem, last, third in zip(
        (2, 1, 0), names(figure, "k = 0"), names(figure, "k = 1"), strict=True
    ):
        place = zip(
            drawn[problem].tolist(), right[problem].tolist(), given[problem].tolist(), strict=True
        )
        expected = [
            f"{digit}, not {answer}"
            if digit != answer
            else f"{digit}, {'given' if known else 'right'}"
            for digit, answer, known in place
        ]
        assert sorted(last) == sorted(expected)
        assert any(", not " in name for name in last)
        assert not any(", not " in name for name in third)
        assert sum(name.endswith("given") for name in third) == (given[problem] > 0).sum()


def test_wrongly_joined_and_missed_pairs_are_named_and_blocks_are_components(
    tmp_path: Path,
) -> None:
    task = Connectivity(n=7, harder_n=8, p=0.2)
    problems = task.sample(3, stream("cpu", 0))
    wrong = task.wrong_answers(problems, stream("cpu", 1))
    figure = pictures(tmp_path, task, torch.stack([wrong, problems.y]), problems)
    said, answer = (t.view(3, 7, 7) > 0 for t in (wrong, problems.y))
    for problem, first, last in zip(
        (2, 1, 0), names(figure, "k = 1"), names(figure, "k = 0"), strict=True
    ):
        for pairs, words in (
            (said[problem] & ~answer[problem], "said to be joined, but not"),
            (~said[problem] & answer[problem], "joined, but not said to be"),
        ):
            expected = [f"{a} and {b} {words}" for a, b in pairs.nonzero().tolist()]
            assert sorted(name for name in first if name.endswith(words)) == sorted(expected)
        assert sorted(last) == sorted(
            f"{a} and {b} joined" for a, b in answer[problem].nonzero().tolist()
        )
    marks = figure.plots()[-1].marks  # of problem 0: rows that share a block follow one another
    nodes = [
        re.search(r"k = 0: (\d+) and", marks["names"][point[2]])
        for point in sorted(marks["points"], key=lambda p: p[1])
    ]
    order = list(dict.fromkeys(int(found[1]) for found in nodes if found))
    changes = [(answer[0][a] != answer[0][b]).any() for a, b in pairwise(order)]
    assert sum(map(bool, changes)) == len({tuple(row) for row in answer[0].tolist()}) - 1


def test_moves_of_a_plan_are_told_right_only_along_edges_towards_the_goal(tmp_path: Path) -> None:
    task = ShortestPath(n=9, harder_n=9, p=0.3, shortest=2, longest=3)
    problems = task.sample(3, stream("cpu", 0))
    wrong = task.wrong_answers(problems, stream("cpu", 1))
    figure = pictures(tmp_path, task, torch.stack([wrong, problems.y]), problems)
    edges = problems.x.view(3, 9, 9, 4)[..., 0] > 0
    for problem, first, last in zip(
        (2, 1, 0), names(figure, "k = 1"), names(figure, "k = 0"), strict=True
    ):
        plan = problems.y.view(3, 8, 9)[problem].argmax(1).tolist()
        moves = [name for name in last if name.startswith("move")]
        assert len(moves) == len(dict.fromkeys(plan))  # a path visits no node twice
        assert not any(name.endswith(("no edge", "no closer")) for name in moves)
        assert moves[-1].endswith(f"to {plan[-1]}")
        start, goal = int(moves[0].split()[2]), plan[-1]
        assert {f"node {goal}, goal", f"node {start}, start"} <= set(last)
        told = [name for name in first if name.endswith("no edge")]
        for name in told:
            source, target = map(int, re.findall(r"(\d+) to (\d+)", name)[0])
            assert not edges[problem, source, target]
        plan = wrong.view(3, 8, 9)[problem].argmax(1).tolist()
        stays = {a for a, b in pairwise([start, *plan]) if a == b != goal}
        assert {int(name.split()[-1]) for name in first if "stays" in name} == stays
        assert told or stays or any(name.endswith("no closer") for name in first)


def test_nodes_lie_as_far_apart_as_the_edges_between_them() -> None:
    n = 7
    line = np.eye(n, k=1, dtype=bool)
    places = layout(line)
    order = places[:, 0] if places[0, 0] < places[-1, 0] else -places[:, 0]
    np.testing.assert_allclose(np.diff(order), 1 / (n - 1), rtol=0.05)
    ring = line | np.eye(n, k=1 - n, dtype=bool)
    spread = np.linalg.norm(layout(ring) - layout(ring).mean(0), axis=1)
    np.testing.assert_allclose(spread, spread.mean(), rtol=0.15)
    for graph in (np.zeros((5, 5), bool), np.zeros((2, 2), bool), np.ones((4, 4), bool)):
        places = layout(graph)
        apart = np.linalg.norm(places[:, None] - places, axis=2)[~np.eye(len(graph), dtype=bool)]
        assert apart.min() > 0.2
        assert (abs(places - 0.5) < 0.5 + 1e-9).all()


MEASURES = ("free cells", "whole boards", *(f"free cells at {n} givens" for n in (4, 5, 6)))


def shares_run(folder: Path, seed: int) -> Run:
    """A run whose shares are .9 − n/100 − seed/10, beside floors of .5 and, on harder ones, .95."""
    run = make_run(folder / f"run-{seed}", seed)
    own = np.array([0.9, 0.6, 0.86, 0.85, 0.84]) - seed / 10
    measured = np.stack([own, own - 0.2])[:, None]
    measured[1, 0, 2] = np.nan  # of problems that the harder distribution has not
    floors = np.stack([np.full((2, 5), 0.5), np.full((2, 5), 0.95)])
    floors[:, 1] -= 0.3
    unit = {"units": "mean squared error per entry"}
    result = xr.Dataset(
        {
            "error": (("variant", "inner_steps"), np.ones((2, 1)), unit),
            "standard_error": (("variant", "inner_steps"), np.ones((2, 1)) / 100, unit),
            "floor": (("variant", "predictor"), np.full((2, 2), 0.5), unit),
            "floor_standard_error": (("variant", "predictor"), np.zeros((2, 2)), unit),
            "measured": (("variant", "inner_steps", "measure"), measured),
            "measured_standard_error": (("variant", "inner_steps", "measure"), measured / 100),
            "measured_floor": (("variant", "predictor", "measure"), floors),
            "measured_floor_standard_error": (("variant", "predictor", "measure"), floors * 0),
        },
        {"variant": ["same", "harder"], "inner_steps": [5], "predictor": ["singles", "one look"],
         "measure": list(MEASURES)},
        {"task": "sudoku", "split": "test", "problems": 60, "trained_on": "same"},
    )  # fmt: skip
    (old,) = (run.results / "test_error").iterdir()
    old.unlink()
    write_result(run.results, ResultKey("test_error", 1000, "average", {}), result, provenance())
    file = next(run.path.rglob("metrics.csv"))
    lines = file.read_text().splitlines()
    shares = ["val/free cells/same", *("" for _ in lines[2:]), "0.75"]
    file.write_text("".join(f"{line},{share}\n" for line, share in zip(lines, shares, strict=True)))
    return run


def test_shares_stand_beside_their_floors_on_the_page_by_number_and_of_all(tmp_path: Path) -> None:
    report = gather([open_results(shares_run(tmp_path, 0).path)])
    (shares,) = (figure for figure in report.figures if figure.name == "test_error-shares")
    plots = {plot.title: plot for plot in shares.plots()}
    assert list(plots) == [
        *("same distribution", "free cells by number of givens, same"),
        *("harder distribution", "free cells by number of givens, harder"),
    ]
    curve = plots["free cells by number of givens, harder"].marks
    points = {(curve["names"][p[2]], p[3]): p[4] for p in curve["points"]}
    assert {key: value.split()[0] for key, value in points.items()} == {
        **{("model", "5"): "65%", ("model", "6"): "64%"},
        **{("singles", "5"): "95%", ("singles", "6"): "95%"},
    }
    assert shares.table is not None
    row = shares.table.set_index(["distribution", "measure"]).loc[("harder", "whole boards")]
    assert row["model, 5 inner steps"] == pytest.approx(0.4)
    assert row["model, 5 inner steps, ±"] == pytest.approx(0.008)
    assert (row["singles"], row["one look"]) == pytest.approx((0.95, 0.65))
    (text,) = (t for a in report.answers if "trivial" in a.question for _, t in a.sentences)
    assert (
        "Right answers: free cells 90.0% (“singles”: 50.0%), whole boards 60.0% (“singles”: 50.0%)"
        in text
    )
    (training,) = (figure for figure in report.figures if figure.name == "training")
    assert "validation, same distribution: free cells" in [p.title for p in training.panels]


def test_several_seeds_show_their_mean_and_range(tmp_path: Path) -> None:
    report = gather([open_results(shares_run(tmp_path, seed).path) for seed in (0, 1)])
    (shares,) = (figure for figure in report.figures if figure.name == "test_error-shares")
    assert "the range of its seeds" in shares.caption
    assert shares.table is not None
    row = shares.table.iloc[0]
    assert (row["model, 5 inner steps"], row["model, 5 inner steps, ±"]) == pytest.approx(
        (0.85, 0.05)
    )


def test_what_other_tasks_lack_is_drawn_of_those_that_have_it(tmp_path: Path) -> None:
    for name in ("without", "with"):
        run = make_run(tmp_path / name, width=len(name))
        task = Connectivity(3)
        problems = task.sample(2, stream("cpu", 0))
        solutions = torch.zeros(10, 2, 9)
        result = trajectory(task, solutions, problems, np.zeros(2))
        if name == "with":
            result["effective_rank_mean"] = 3 * result["error_mean"]
        key = ResultKey("inference_trajectory", 1000, "average", {"variant": "same"})
        write_result(run.results, key, result, provenance())
    report = gather([open_results(tmp_path / name) for name in ("without", "with")])
    (figure,) = (f for f in report.figures if f.name == "inference_trajectory")
    (plot,) = (plot for plot in figure.plots() if plot.title == "effective rank of y")
    assert plot.marks["names"] == ["with"]
