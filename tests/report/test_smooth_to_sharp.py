"""Where quantities emerge: planted points, made results read from runs, and the section that shows them."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import ired_interp as ii
from ired_interp.errors import InputError
from ired_interp.report.collect import group_runs, sections
from ired_interp.report.figures import smooth_to_sharp
from ired_interp.report.half_way import halves_of_mean, mean_of_runs, passing
from ired_interp.report.style import series_line
from ired_interp.results import ResultKey, Run, open_results, write_result
from ired_interp.results.provenance import provenance
from runs import PROBE, make_run

K = np.arange(10)
POINT = 4.3


def ramp(point: float) -> np.ndarray:
    """1 where it is sharp, 0 where it is smooth, a straight line through ½ at the point."""
    return np.clip((point + 1 - K) / 2, 0, 1)


def planted(rng: np.random.Generator, problems: int = 40) -> np.ndarray:
    """Values (K, B) that emerge at 4.3."""
    return ramp(POINT)[:, None] + 0.1 * rng.standard_normal((10, problems))


def point_of(values: np.ndarray, chance: float = 0.0, sign: int = 0):
    draws = halves_of_mean(values, np.ones_like(values))
    return passing(K, values.mean(1), draws, np.full(10, chance), sign)


def test_a_planted_point_is_found_within_an_interval_as_wide_as_estimates_scatter() -> None:
    rng = np.random.default_rng(0)
    found = [point_of(planted(rng)) for _ in range(60)]
    k, low, high = np.array(found).T
    assert abs(k.mean() - POINT) < 0.03
    width = (high - low).mean() / (4 * k.std())
    assert width == pytest.approx(1, abs=0.3)
    assert ((low <= POINT) & (high >= POINT)).mean() > 0.85


def test_a_point_between_landscapes_is_where_the_line_passes_and_the_last_passing_counts() -> None:
    sure = np.array([1.0, 1.0, 0.75, 0.25, 0.0])
    for values, k in (
        (sure, 2.5),
        (np.append(sure, 1.0), 2.5),  # it falls back below after it was past in landscape 5
        (np.ones(5), 4.0),  # past in all
        (np.append(sure, np.nan), 2.5),
    ):
        found = passing(np.arange(len(values)), values, np.tile(values, (9, 1)), 0 * values)
        assert found == (k, k, k)
    down = passing(np.arange(5), 3 - 2 * sure, np.tile(3 - 2 * sure, (9, 1)), np.full(5, 3.0))
    assert down.k == 2.5


def test_without_chance_the_change_counts_from_the_smoothest_landscape() -> None:
    values = np.array([5.0, 5.0, 4.0, 3.0])
    found = passing(np.arange(4), values, np.tile(values, (9, 1)), np.full(4, np.nan))
    assert found.k == 2.0


def test_what_does_not_change_and_what_gets_worse_does_not_emerge() -> None:
    rng = np.random.default_rng(1)
    assert np.isnan(point_of(rng.standard_normal((10, 40))).k)
    assert np.isnan(point_of(planted(rng), sign=-1)).all()
    assert point_of(planted(rng), sign=1).k == pytest.approx(POINT, abs=0.3)


def test_halves_scatter_as_means_do_and_runs_add_their_own_scatter() -> None:
    rng = np.random.default_rng(2)
    values = rng.standard_normal((3, 30)) * np.array([[1.0], [2.0], [0.0]])
    below = rng.uniform(1, 2, (3, 30))
    spread = halves_of_mean(values, np.ones_like(values)).std(0)
    np.testing.assert_allclose(spread, values.std(1) / 30**0.5, rtol=0.1)
    means = halves_of_mean(values * below, below).mean(0)
    np.testing.assert_allclose(means, (values * below).sum(1) / below.sum(1), atol=0.03)
    assert np.isnan(halves_of_mean(values[:, :1], below[:, :1])).all()
    curves = np.array([0.0, 1.0, 5.0])[:, None, None] + np.zeros((3, 4000, 2))
    drawn = mean_of_runs(curves)
    np.testing.assert_allclose(drawn.std(0), np.std([0, 1, 5], ddof=1) / 3**0.5, rtol=0.05)
    assert (mean_of_runs(curves[:1]) == 0).all()


def measured(run: Run, seed: int, point: float) -> Run:
    """Results of two probes, of 4 problems: curvature emerges at `point`, displacement at 6."""
    rng = np.random.default_rng(seed)
    scatter = 0.01 * rng.standard_normal((10, 4))
    kappa = ramp(point)[:, None] + scatter
    each = ("landscape", "problem")
    curvature = xr.Dataset(
        {
            "curvature_by_problem": (("landscape", "family", "problem"), kappa[:, None]),
            "intrinsic_dimension": (each, 5 * (1 - kappa)),
            "family_dimension": ("family", [5.0]),
            "theory_curvature": (("landscape", "family"), np.ones((10, 1))),
        },
        {"landscape": K, "family": ["random"]},
    )
    off = 1 - ramp(6.0)[:, None] + scatter
    minimum = xr.Dataset({"displacement_by_problem": (each, off), "displacement_chance": 1.0})
    minimum = minimum.assign_coords(landscape=K).isel(landscape=slice(None, None, -1))
    for name, result in (("curvature", curvature), ("minimum", minimum)):
        settings = PROBE | {"probe": {"point": "noised", "landscapes": "all"}}
        write_result(run.results, ResultKey(name, 1000, "average", settings), result, provenance())
    return run


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two seeds that emerge at 3.2 and 3.4, and a wider energy at 7 without a minimum measured."""
    folder = tmp_path_factory.mktemp("runs") / "runs" / "demo"
    runs = [
        measured(make_run(folder / f"seed-{seed}", seed, (1000,)), seed, 3.2 + 0.2 * seed)
        for seed in (0, 1)
    ]
    wide = measured(make_run(folder / "wide", 0, (1000,), width=99), 5, 7.0)
    for file in (wide.results / "minimum").iterdir():
        file.unlink()
    return [*(run.path for run in runs), wide.path]


@pytest.mark.process
def test_emergence_of_runs_is_read_from_their_results(folders: list[Path]) -> None:
    found = ii.emergence(*folders)
    assert list(found["group"].values) == ["seed (2 runs)", "wide"]
    assert list(found["quantity"].values) == ["scaled_curvature", "dimension", "displacement"]
    point = found["emergence"].sel(quantity="scaled_curvature")
    np.testing.assert_allclose(point, [3.3, 7.0], atol=0.03)
    low, high = (found[f"emergence_{end}"][0, 0].item() for end in ("low", "high"))
    assert low == pytest.approx(3.2, abs=0.05)
    assert high == pytest.approx(3.4, abs=0.05)
    np.testing.assert_allclose(found["emergence"].sel(quantity="dimension"), point, atol=0.01)
    off = found.sel(quantity="displacement")
    np.testing.assert_allclose(off["emergence"][0], 6.0, atol=0.1)
    assert off["value"].sel(group="wide").isnull().all()
    np.testing.assert_allclose(off["value"][0], 1 - ramp(6.0), atol=0.02)
    np.testing.assert_allclose(found["truth"].sel(quantity="scaled_curvature"), 1)
    np.testing.assert_allclose(found["chance"].sel(quantity="dimension"), 5)
    alone = ii.emergence(folders[0])
    assert list(alone["probe"].values) == ["curvature", "curvature", "minimum"]
    assert (alone["value_error"] > 0).all()


@pytest.mark.process
def test_the_section_has_a_row_a_landscape_and_a_line_a_run(folders: list[Path]) -> None:
    groups = group_runs([open_results(folder) for folder in folders])
    section, points = smooth_to_sharp.figures(sections(groups, []))
    assert [panel.title for panel in section.panels] == ["σλ", "dimension", "minimum off y*"]
    assert "Not measured: ⟨g, ε⟩/d" in section.caption
    assert section.caption.endswith(
        "ired probe --ckpt RUN --probes gradient_statistics_y gradient_field effective_rank "
        "tangent_kernel."
    )
    table = section.table
    assert table is not None
    assert list(table["k"]) == [*range(9, -1, -1)] * 2
    assert (table["perfect: σλ"] == 1).all()
    np.testing.assert_allclose(table["σλ"][:10], (ramp(3.2) + ramp(3.4))[::-1] / 2, atol=0.02)
    assert table["minimum off y*"][10:].isnull().all()
    assert points.table is not None
    row = points.table.set_index(["quantity", "runs"]).loc[("σλ", "wide")]
    assert row["passes half-way at k"] == pytest.approx(7, abs=0.1)
    (panel,) = points.panels
    (plot,) = points.plots()
    assert plot.marks["names"] == ["seed (2 runs)", "wide"]
    assert panel.title == "passes half-way at"
    shown = {(names[0], names[1]) for names in ((p[2], p[4]) for p in plot.marks["points"])}
    assert shown == {(i, q) for i in (0, 1) for q in ("σλ", "dimension")} | {(0, "minimum off y*")}


@pytest.mark.process
def test_one_probe_alone_makes_no_section(folders: list[Path]) -> None:
    """Of σλ, the spectrum of H says the same again."""
    assert smooth_to_sharp.figures(sections(group_runs([open_results(folders[2])]), [])) == []


def test_runs_without_such_results_are_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs" / "demo" / "a", 0, (1000,))
    for file in (run.results / "hessian_spectrum_y").iterdir():
        file.unlink()
    with pytest.raises(InputError, match="ired probe --ckpt RUN --probes curvature"):
        ii.emergence(run.path)


def test_many_lines_look_different() -> None:
    styles = {tuple(sorted(map(str, series_line(i).values()))) for i in range(24)}
    assert len(styles) == 24
