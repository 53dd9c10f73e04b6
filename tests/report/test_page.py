"""The page answers with the right numbers, needs nothing but itself, and shows what can be read.

Over 300 lines: every case reads the page that the module makes once.
"""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib.axes import Axes

from ired_interp.errors import InputError
from ired_interp.report import Report, gather, save_figures, write_page
from ired_interp.report.facts import run_facts
from ired_interp.report.figure import Panel, _draw
from ired_interp.results import ResultKey, Run, open_results, write_result
from ired_interp.results.state import record_state
from runs import PROBE, errors, make_run, spectrum

pytestmark = pytest.mark.process


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    """Two seeds of one configuration, and one run of another."""
    made = [make_run(tmp_path / "runs" / "demo" / f"seed-{seed}", seed) for seed in (0, 1)]
    return [*made, make_run(tmp_path / "runs" / "demo" / "wide", 0, width=99)]


def report_of(runs: list[Run]) -> Report:
    return gather([open_results(run.path) for run in runs])


def sentences(report: Report, question: str) -> list[str]:
    return next(
        [text for _, text in answer.sentences]
        for answer in report.answers
        if answer.question == question
    )


def test_runs_that_differ_in_their_seed_are_one_group(runs: list[Run]) -> None:
    groups = report_of(runs).groups
    assert [group.name for group in groups] == ["seed (2 runs)", "wide"]
    assert groups[1].differences == {"model.init_args.energy.init_args.width": 99}


def test_a_run_made_twice_is_no_replicate(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "demo"
    made = [make_run(folder / name, seed) for name, seed in (("a", 0), ("b", 1), ("c", 0))]
    config = made[2].config
    config.write_text(config.read_text().replace("callbacks: null", "logger: {class_path: WandB}"))
    report = report_of(made)
    assert [[run.path.name for run in g.runs] for g in report.groups] == [["a", "b"], ["c"]]
    same = run_facts(report.groups)[2].facts["differs in"]
    assert same == "nothing: same settings and seed as a … b (2 runs), so no replicate"
    (curves,) = (figure for figure in report.figures if figure.name == "training")
    assert "means over the seeds" in curves.caption
    (alone,) = (f for f in report_of([made[0], made[2]]).figures if f.name == "training")
    assert "means over the seeds" not in alone.caption


def test_captions_say_after_how_many_steps_each_run_was_measured(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "demo"
    made = [
        make_run(folder / f"run-{steps[-1]}", 0, steps, width=steps[-1])
        for steps in ((30, 60), (200, 400))
    ]
    report = report_of(made)
    (spectra,) = (f for f in report.figures if f.name == "hessian_spectrum_y")
    assert "after 60 (run-60) and 400 (run-400) steps" in spectra.caption
    assert "Not shown" not in spectra.caption
    three = [make_run(folder / f"wide-{i}", 0, (1000,), width=i) for i in (1, 2, 3)]
    (spectra,) = (f for f in report_of(three).figures if f.name == "hessian_spectrum_y")
    assert "after 1000 steps" in spectra.caption
    assert "Not shown: the density of wide-3." in spectra.caption


def test_a_result_of_one_step_makes_no_panel_over_training(tmp_path: Path) -> None:
    names = [
        figure.name
        for figure in report_of([make_run(tmp_path / "runs" / "demo" / "a", 0, (500,))]).figures
    ]
    assert "hessian_spectrum_y" in names
    assert "hessian_spectrum_y_over_training" not in names


def test_what_was_run_says_when_where_and_how(runs: list[Run], tmp_path: Path) -> None:
    run = runs[0]
    command = "ired test --ckpt runs/demo/seed-0"
    key = ResultKey("test_error", 1000, "average", {"checkpoint": "a09fa683"})
    write_result(run.results, key, errors(0), {"source": {"commit": "c", "command": command}})
    with record_state(run, "2 × NVIDIA H100"):
        file = run.path / "state.json"
    kept = json.loads(file.read_text())
    file.write_text(json.dumps(kept | {"time": kept["began"] + 200}))
    report = report_of([run])
    (facts,) = run_facts(report.groups)
    assert facts.facts["steps"] == "1000 of 1000, done"
    assert facts.facts["last validation"] == "same 0.1"
    assert facts.facts["device"] == "2 × NVIDIA H100"
    assert facts.facts["duration"] == "3 min 20 s"
    assert "a09fa683" in facts.facts["checkpoint"]
    again = f"ired fit --config {run.config} --name seed-0-again"
    assert facts.commands == [again, command]
    text = write_page(report, tmp_path / "page.html").read_text()
    assert f"{again}\n{command}" in text
    assert "3 min 20 s" in text


def test_a_last_validation_before_the_end_says_where(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs" / "demo" / "a")
    with next(run.path.glob("metrics/*/metrics.csv")).open("a") as file:
        file.write("0,1700,0.5,\n")
    (facts,) = run_facts(report_of([run]).groups)
    assert facts.facts["last validation"] == "same 0.1 at step 1000"


def test_an_error_shows_its_interval(runs: list[Run]) -> None:
    (figure,) = (f for f in report_of(runs[2:]).figures if f.name == "test_error")
    texts = re.findall(r"<text [^>]*>([^<]*)</text>", figure.plots()[0].svg)
    assert "0.02000 ± 0.00040" in texts  # two standard errors, each of which is 0.0002


def test_titles_stand_whole_however_long_a_name_is(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "demo"
    made = [make_run(folder / f"{'long-' * 20}{i}", 0, (500,), width=i) for i in (1, 2)]
    (figure,) = (f for f in report_of(made).figures if f.name == "hessian_spectrum_y")
    canvas = _draw(figure.panels, figure.legend)
    canvas.draw_without_rendering()
    for axes in canvas.axes:
        assert axes.title.get_window_extent().x1 <= canvas.bbox.x1
    plot = figure.plots()[1]
    assert plot.title == figure.panels[1].title
    assert plot.title not in plot.svg.replace(f'aria-label="{plot.title}"', ""), "it stands above"


def test_rows_are_as_tall_as_their_own_panels_and_a_legend_fits_below() -> None:
    name = "inverse, MLP condition_number=1000 contrast_weight=0."

    def line(number: int, height: float = 1.0) -> Panel:
        def draw(axes: Axes) -> None:
            axes.plot([0, 1], label=f"{name}{number}")

        return Panel("one", draw, height)

    canvas = _draw([line(0), line(1), line(2, 3.0), line(3)], legend=False)
    canvas.draw_without_rendering()
    low, _, high, _ = (axes.get_window_extent().height for axes in canvas.axes)
    assert 2.5 < high / low < 4.5
    for count, columns in ((3, 3), (4, 2)):
        canvas = _draw([line(number) for number in range(count)], legend=True)
        canvas.draw_without_rendering()
        (legend,) = canvas.legends
        assert len({round(text.get_window_extent().x0) for text in legend.get_texts()}) == columns
        assert legend.get_window_extent().x1 <= canvas.bbox.x1


def test_marks_say_what_a_panel_shows_where_it_shows_it(runs: list[Run]) -> None:
    (figure,) = (f for f in report_of(runs[2:]).figures if f.name == "training")
    plot = next(p for p in figure.plots() if p.title == "validation error, same distribution")
    marks = plot.marks
    assert (marks["x"], marks["y"]) == ("step (updates done)", "mean squared error per entry")
    points = [point for point in marks["points"] if marks["names"][point[2]] == "wide"]
    assert [point[3:] for point in points] == [["500", "0.2"], ["1000", "0.1"]]
    first, second = points
    assert 0 < first[0] < second[0] < 1, "to the right"
    assert 0 < first[1] < second[1] < 1, "and lower down"


def test_groups_that_share_a_name_say_how_they_differ(tmp_path: Path) -> None:
    made = [
        make_run(tmp_path / "runs" / "demo" / f"run-{i}", i, width=64 * (1 + i // 2))
        for i in range(4)
    ]
    assert [group.name for group in report_of(made).groups] == [
        "run (2 runs) width=64",
        "run (2 runs) width=128",
    ]


def test_the_answers_state_the_measured_numbers(runs: list[Run]) -> None:
    report = report_of(runs)
    learned, wide = sentences(report, "Did it learn?")
    assert (
        "fell by 14.3%: 0.7 at step 500, 0.6 at step 1000" in learned
    )  # means of 0.2, 1.2 and of 0.1, 1.1
    assert "fell 2-fold: 0.2 at step 500, 0.1 at step 1000" in wide
    better, _ = sentences(report, "Is it better than trivial?")
    assert (
        "error 0.0205 (lowest 0.02, highest 0.021), 4.9 times lower than “best constant” (0.1)"
        in better
    )
    assert "Harder: error 3, no better than “best constant” (2)" in better
    shape = sentences(report, "What do the landscapes look like?")[1]
    assert (
        "Median curvature 1.21 in landscape 0 and 12.1 in landscape 9, "
        "where a perfect model has 1 and 10" in shape
    )
    assert sentences(report, "What drifted?") == []


def test_the_error_table_holds_model_and_floors(runs: list[Run]) -> None:
    table = next(
        figure.table for figure in report_of(runs[2:]).figures if figure.name == "test_error"
    )
    assert table is not None
    same = table[table["distribution"] == "same"].set_index("predictor")["mean squared error"]
    assert same.to_dict() == pytest.approx(
        {
            "perfect energy, same inference": 1e-16,
            "model, 5 inner steps": 0.02,
            "best constant": 0.1,
        }
    )


def test_the_page_needs_nothing_but_itself(runs: list[Run], tmp_path: Path) -> None:
    text = write_page(report_of(runs), tmp_path / "page.html").read_text()
    outside = re.findall(r'(?:\b(?:src|href)="|url\()(?!#|data:)([^")]*)', text)
    assert outside == []
    assert "@import" not in text
    assert not re.findall(r"<script[^>]*\bsrc\b", text)
    assert not re.findall(r"\b(fetch|XMLHttpRequest|WebSocket|import)\s*\(", text)
    ids = re.findall(r'\sid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    targets = re.findall(r'(?:href="|url\()#([^")]+)', text)
    assert set(targets) <= set(ids)


def test_every_figure_says_what_on_what_and_in_which_units(runs: list[Run]) -> None:
    for figure in report_of(runs).figures:
        assert figure.title
        assert len(figure.caption) > 100
        assert re.search(r"problems|updates done", figure.caption), figure.name
        for plot in figure.plots():
            labels = re.findall(r"<text [^>]*>([^<]*)</text>", plot.svg)
            assert any(re.search(r"step|landscape|error|energy|λ", label) for label in labels), (
                figure.name
            )


def test_every_tag_is_closed(runs: list[Run], tmp_path: Path) -> None:
    class Balance(HTMLParser):
        open: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in ("meta", "br", "img"):
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    parser = Balance()
    parser.feed(write_page(report_of(runs), tmp_path / "page.html").read_text())
    assert parser.open == []


def test_names_of_files_and_runs_are_escaped(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs" / "demo" / "<b>&run")
    assert "<b>&run" not in write_page(report_of([run]), tmp_path / "page.html").read_text()


def test_a_damaged_file_is_named_and_the_rest_is_shown(runs: list[Run], tmp_path: Path) -> None:
    path = next(runs[0].results.glob("hessian_spectrum_y/step-00001000*"))
    path.write_bytes(path.read_bytes()[:300])
    report = report_of(runs)
    assert any(str(path) in sentence for sentence in report.skipped)
    assert str(path) in write_page(report, tmp_path / "page.html").read_text()
    assert {"test_error", "training", "hessian_spectrum_y"} <= {
        figure.name for figure in report.figures
    }


def test_an_unknown_result_is_a_table(runs: list[Run]) -> None:
    write_result(
        runs[0].results,
        ResultKey("my_probe", 5, "average", PROBE),
        spectrum(500, 0)[["lambda_min"]],
        {},
    )
    (figure,) = (figure for figure in report_of(runs).figures if figure.name == "my_probe")
    assert figure.table is not None
    assert figure.table["mean"].tolist() == pytest.approx([1.2 * (k + 1) for k in range(10)])


def test_the_same_probe_with_two_settings_is_two_figures(runs: list[Run]) -> None:
    settings = {**PROBE, "probe": {"space": "y", "point": "answer"}}
    write_result(
        runs[0].results,
        ResultKey("hessian_spectrum_y", 1000, "average", settings),
        spectrum(1000, 0),
        {},
    )
    names = [figure.name for figure in report_of(runs).figures]
    assert {"hessian_spectrum_y", "hessian_spectrum_y-2"} <= set(names)
    assert len(names) == len(set(names))


def test_figures_for_a_paper(runs: list[Run], tmp_path: Path) -> None:
    paths = save_figures(report_of(runs[:1]), tmp_path / "figures")
    names = {path.name for path in paths}
    assert {
        "hessian_spectrum_y.png",
        "hessian_spectrum_y.svg",
        "hessian_spectrum_y.pdf",
        "hessian_spectrum_y.csv",
    } <= names
    heads = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml", "csv": b"runs,", "md": b"**"}
    for path in paths:
        if path.suffix != ".csv":
            assert path.read_bytes().startswith(heads[path.suffix[1:]]), path
        assert path.stat().st_size > 100


def test_the_command_prints_the_path_of_the_page(runs: list[Run], ired) -> None:
    code, out, err = ired("report", *(run.path for run in runs), "--figures", "figures")
    assert code == 0, err
    page = Path(out.strip())
    assert page == (runs[0].path / "report.html").absolute()
    assert page.is_file()
    assert Path("figures/captions.md").read_text().count("**") >= 6


def test_a_run_that_has_nothing_yet_still_has_a_page(tmp_path: Path) -> None:
    run = Run(tmp_path / "runs" / "demo" / "new")
    run.write_config("model: {class_path: IREDModule}\n")
    text = write_page(report_of([run]), tmp_path / "page.html").read_text()
    assert "Not tested yet: ired test --ckpt RUN." in text
    assert "A perfectly trained energy satisfies" in text


def test_no_run_is_refused() -> None:
    with pytest.raises(InputError, match="at least one run"):
        gather([])
