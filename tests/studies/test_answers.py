"""A study's answers are those that its runs' results give, with their scatter over seeds."""

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml
from matplotlib.figure import Figure as Canvas
from scipy.stats import ttest_ind

from conftest import ROOT
from ired_interp.callbacks.configured import configured_measurements
from ired_interp.cli import main
from ired_interp.commands.probe import parse
from ired_interp.commands.probing import chosen_measurements
from ired_interp.errors import InputError
from ired_interp.report.figures.answers import picture
from ired_interp.results import ResultKey, failed_result, write_result
from ired_interp.results.statement import Findings, Statement, read_findings
from ired_interp.studies import Record, Study, findings, read_study

T_OF_2 = 4.302653  # Student's t, 97.5 %, two degrees of freedom: from printed tables
SPREAD = 1 / math.sqrt(3)  # standard error of the mean of 1, 2, 3
REACH = T_OF_2 * SPREAD
Read = Callable[..., Study]


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    monkeypatch.chdir(tmp_path)

    def read(answer: dict[str, object], **changes: object) -> Study:
        asked = {"name": "a share", "probe": "shares", "variable": "share", **answer}
        file = {
            "question": "How large are shares?",
            "seeds": [0, 1, 2],
            "trainings": {
                "small": {"config": "quickstart", "grid": {"data.task.n": [2, 3]}},
            },
            "answers": [asked],
        }
        Path("made.yaml").write_text(yaml.safe_dump({**file, **changes}))
        return read_study("made.yaml", Path("runs"))

    return read


def write(study: Study, shares: Sequence[float], step: int = 10, label: str = "small n=2") -> None:
    """Give the seeds of a training what a probe would have measured: share, and share + 10."""
    for cell, share in zip([c for c in study.cells if c.label == label], shares, strict=False):
        cell.run.write_config("model: {}\n")
        values = [[share, share + 4], [share + 10, share + 14]]
        result = xr.Dataset(
            {
                "share": (("landscape", "side"), values),
                "chance": (("landscape", "side"), [[share - 0.1] * 2, [0.0] * 2]),
            },
            {"landscape": [0, 9], "side": ["left", "right"]},
        )
        key = ResultKey("shares", step, "average", {"probe": {"seed": 0}})
        write_result(cell.run.results, key, result, {})


def only(study: Study) -> Statement:
    (statement,) = findings(study).statements
    return statement


HERE = {"at": {"landscape": 0, "side": "left"}}


def test_a_mean_stands_with_its_standard_error_beside_the_truth(study: Read) -> None:
    made = study({**HERE, "beside": {"truth": 0.5}})
    write(made, [1, 2, 3])
    assert only(made).rows == {"small n=2": {"value": "2.0 ± 0.6", "seeds": "3"}}
    assert only(made).title == "a share (truth 0.5)"


def test_what_is_not_chosen_is_averaged_and_each_has_a_column(study: Read) -> None:
    made = study({"each": "landscape"})
    write(made, [1, 2, 3])
    statement = only(made)
    assert statement.columns == ["landscape 0", "landscape 9", "seeds"]
    row = statement.rows["small n=2"]
    assert row == {"landscape 0": "4.0 ± 0.6", "landscape 9": "14.0 ± 0.6", "seeds": "3"}
    made = study({"each": "landscape", "at": {"landscape": [9], "side": "right"}})
    assert only(made).rows["small n=2"] == {"landscape 9": "16.0 ± 0.6", "seeds": "3"}


def _said(within: float | str) -> str:
    return "50%" if within == "50%" else f"{within:.3g}"


def test_a_claim_holds_where_students_t_says_so(study: Read) -> None:
    low, high = 2 - REACH, 2 + REACH
    cases = [
        ({"above": "truth"}, low - 0.01, "holds"),
        ({"above": "truth"}, low + 0.01, "cannot be told"),
        ({"above": "truth"}, high - 0.01, "cannot be told"),
        ({"above": "truth"}, high + 0.01, "fails"),
        ({"below": "truth"}, high + 0.01, "holds"),
        ({"below": "truth"}, high - 0.01, "cannot be told"),
        ({"below": "truth"}, low - 0.01, "fails"),
        ({"equal": "truth", "within": REACH + 1.01}, 1, "holds"),
        ({"equal": "truth", "within": REACH + 0.99}, 1, "cannot be told"),
        ({"equal": "truth", "within": 0.5}, high + 0.51, "fails"),
        ({"equal": "truth", "within": "50%"}, 2 * high + 0.01, "fails"),
        ({"equal": "truth", "within": "50%"}, 2 * high - 0.01, "cannot be told"),
        ({"equal": "truth", "within": 0.5}, high + 0.49, "cannot be told"),
    ]
    shares = {"name": "a share", "probe": "shares", "variable": "share"}
    asked = [{**shares, **HERE, "beside": {"truth": t}, "claim": c} for c, t, _ in cases]
    made = study({}, answers=asked, trainings={"small n=2": {"config": "quickstart"}})
    write(made, [1, 2, 3])
    for statement, (claim, truth, verdict) in zip(findings(made).statements, cases, strict=True):
        relation = " ".join(["equal to" if "equal" in claim else next(iter(claim)), "“truth”"])
        within = f" within {_said(claim['within'])}" if "within" in claim else ""
        where = "anywhere" if verdict == "cannot be told" else "everywhere"
        assert statement.summary == [
            f"That it is {relation}{within} {verdict} {where} (95%, Student's t, 3 seeds)."
        ], truth


def test_chance_that_scatters_with_the_seeds_is_compared_seed_by_seed(study: Read) -> None:
    made = study({**HERE, "beside": {"chance": "chance"}, "claim": {"above": "chance"}})
    write(made, [1, 2, 3])  # each 0.1 above its own chance: no scatter at all
    assert "holds everywhere" in only(made).summary[0]
    assert only(made).rows["small n=2"]["value"] == "2.0 ± 0.6 ✓; chance 1.9"


def test_a_claim_that_holds_here_and_fails_there_says_where(study: Read) -> None:
    made = study({"each": "landscape", "beside": {"truth": 9}, "claim": {"above": "truth"}})
    write(made, [1, 1.1, 1.2])
    write(made, [31, 31.1, 31.2], label="small n=3")
    assert only(made).summary == [
        "That it is above “truth” holds for small n=2 (landscape 9); small n=3 "
        "(95%, Student's t, 3 seeds).",
        "It fails for small n=2 (landscape 0).",
    ]


def test_one_seed_bears_no_claim(study: Read) -> None:
    made = study({**HERE, "beside": {"truth": 0}, "claim": {"above": "truth"}})
    write(made, [1])
    assert "is not claimed from one seed anywhere" in only(made).summary[0]
    assert only(made).rows["small n=2"] == {"value": "1", "seeds": "1"}


def test_what_is_missing_is_said(study: Read) -> None:
    made = study(HERE)
    write(made, [1, 2])
    made.cells[3].run.write_config("model: {}\n")  # trained, but not measured
    settings = {"probe": {"seed": 0}}
    failed = failed_result("out of memory")
    for cell in made.cells[4:6]:
        cell.run.write_config("model: {}\n")
        key = ResultKey("shares", 10, "average", settings)
        write_result(cell.run.results, key, failed, {})
    assert only(made).summary == [
        "Missing for small n=2: not trained to its end yet (1 of 3 seeds).",
        "Missing for small n=3: shares was not measured (1 of 3 seeds); shares at step 10 failed: out of "
        "memory (2 of 3 seeds).",
    ]
    for asked, sentence in (
        ({"variable": "sharp"}, "has no sharp there"),
        ({"at": {"side": "top"}}, "has no side top there"),
        ({"at": {"landscape": [0, 4]}}, "has no landscape 4 there"),
        ({"at": {"corner": 1}}, "has no dimension corner of share"),
        ({"each": "corner"}, "has no dimension corner of share"),
        ({"settings": {"seed": 1}}, "was measured with other settings than seed=1"),
    ):
        absent = " ".join(only(study({**HERE, **asked})).summary)
        assert f"Missing for small n=2: shares {sentence} (2 of 3 seeds)" in absent


def test_a_change_is_that_from_the_first_measurement_to_the_last(study: Read) -> None:
    made = study({**HERE, "step": "change"})
    write(made, [1, 2, 3])
    assert "at one step only" in only(made).summary[0]
    write(made, [2, 4, 6], step=20)
    assert only(made).rows["small n=2"]["value"].startswith("2.0 ± 0.6")
    first = study({**HERE, "step": "first"})
    assert only(first).rows["small n=2"]["value"].startswith("2.0 ± 0.6")


def test_trainings_differ_where_welchs_test_says_so(study: Read) -> None:
    others = {3: [7.0, 7.1, 7.4], 4: [2.5, 3.5, 4.5], 5: [3.2, 5.0, 6.0]}
    grid = {"data.task.n": [2, *others]}
    made = study(
        {**HERE, "compare": "data.task.n"},
        trainings={"small": {"config": "quickstart", "grid": grid}},
    )
    write(made, [1, 2, 3])
    assert only(made).summary[0] == "There are no two trainings yet to compare over data.task.n."
    for n, values in others.items():
        write(made, values, label=f"small n={n}")
    told = [bool(ttest_ind([1, 2, 3], v, equal_var=False).pvalue < 0.05) for v in others.values()]
    assert set(told) == {True, False}
    starts = {True: "differs from small n=2 by +", False: "cannot be told from small n=2."}
    for n, one, sentence in zip(others, told, only(made).summary, strict=True):
        assert sentence.startswith(f"small n={n} {starts[one]}")


def test_trainings_are_compared_over_each_option_that_is_named(study: Read) -> None:
    grid = {"data.task.n": [2, 3], "data.batch_size": [4, 8]}
    trainings = {"small": {"config": "quickstart", "grid": grid}}
    made = study({**HERE, "compare": list(grid)}, trainings=trainings)
    for start, label in enumerate(dict.fromkeys(cell.label for cell in made.cells)):
        write(made, [start, start + 0.1, start + 0.2], label=label)
    assert [re.findall(r"batch_size=(\d) n=(\d)", said)[:2] for said in only(made).summary] == [
        [("4", "3"), ("4", "2")],
        [("8", "3"), ("8", "2")],
        [("8", "2"), ("4", "2")],
        [("8", "3"), ("4", "3")],
    ]


def test_a_seed_without_a_value_is_said(study: Read) -> None:
    made = study(HERE)
    write(made, [1, math.nan, 3])
    assert only(made).rows["small n=2"] == {"value": "2.0 ± 1.0", "seeds": "2"}
    assert "Missing for small n=2: share has no value (1 of 3 seeds)." in only(made).summary


@pytest.mark.parametrize("word", ["running", "failed", "stopped"])
def test_what_a_training_measured_that_was_cut_off_is_no_answer(study: Read, word: str) -> None:
    made = study(HERE)
    write(made, [1, 2, 300])
    content = {"state": word, "reason": "", "host": "afar", "pid": 1}
    (made.cells[2].run.path / "state.json").write_text(json.dumps(content))
    assert only(made).rows["small n=2"] == {"value": "1.5 ± 0.5", "seeds": "2"}
    missing = "Missing for small n=2: not trained to its end yet (1 of 3 seeds)."
    assert missing in only(made).summary
    (made.cells[2].run.path / "state.json").write_text(json.dumps({**content, "state": "done"}))
    assert only(made).rows["small n=2"]["seeds"] == "3"


def test_findings_are_kept_with_the_runs(study: Read) -> None:
    made = study(HERE)
    write(made, [1, 2, 3])
    found = findings(made)
    assert read_findings(Path("runs/made")) == []
    found.write(Path("runs/made"))
    assert read_findings(Path("runs/made")) == [found]
    other = replace(found, question="Another?", study="another")
    other.write(Path("runs/made"))
    assert read_findings(Path("runs/made")) == [other, found], "all studies of these runs"


def drawn(statement: Statement) -> dict[str, list[tuple[str, ...]]]:
    """What the picture of one statement shows, in words, by name."""
    figure = picture(Findings("How large?", [statement]))
    assert figure is not None
    marks = figure.plots()[0].marks
    found: dict[str, list[tuple[str, ...]]] = {}
    for _, _, name, *values in marks["points"]:
        found.setdefault(marks["names"][name], []).append(tuple(values))
    return found


def test_the_picture_shows_means_errors_seeds_and_what_they_are_held_against(study: Read) -> None:
    made = study({"each": "landscape", "beside": {"truth": 9, "chance": "chance"}})
    write(made, [1, 2, 3])
    write(made, [4, 4.5, 5], label="small n=3")
    shown = drawn(only(made))
    low, high = 14 - SPREAD, 14 + SPREAD
    assert shown["small n=2"][1] == ("9", f"14 ({low:.4g} to {high:.4g})")
    assert {place for place, _ in shown["small n=3"]} == {"0", "9"}
    assert shown["chance"] == [("0", "1.9"), ("0", "4.4")]  # of each training; at 9 both have 0
    seeds = {float(y) for _, y in shown[""]}
    assert {11 + 2, 12 + 2, 13 + 2, 4 + 2, 4.5 + 2} <= seeds
    assert {9.0, 0.0} <= seeds  # lines where the trainings agree: the truth, and chance at 9


def test_in_the_picture_what_fails_is_hollow_and_the_claim_is_shaded(study: Read) -> None:
    claim = {"equal": "truth", "within": 2.5}
    made = study({**HERE, "beside": {"truth": 2}, "claim": claim})
    write(made, [1, 2, 3])
    write(made, [4.9, 4.91, 4.92], label="small n=3")
    (panel,) = picture(findings(made)).panels  # type: ignore[union-attr]
    axes = Canvas().add_subplot()
    panel.draw(axes)
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
    assert [np.asarray(line.get_xdata()).tolist() for line in hollow] == [[], [4.91]]
    shade = axes.collections[-1].get_paths()[0].get_extents()
    assert (shade.x0, shade.x1) == pytest.approx((1 - 0.06 * 3.92, 4.5))  # from the axis' end


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ({"probes": "x"}, "has no setting 'probes'"),
        ({"claim": "above", "beside": {"truth": 1}}, "write {above: NAME}"),
        ({"claim": {"over": "truth"}, "beside": {"truth": 1}}, "write {above: NAME}"),
        ({"claim": {"above": "truth"}}, "claims something of 'truth'; beside it stand none"),
        ({"claim": {"equal": "truth"}, "beside": {"truth": 1}}, "within: NUMBER"),
        ({"claim": {"equal": "truth", "within": "some"}, "beside": {"truth": 1}}, "within: NUMBER"),
        ({"claim": {"above": "a", "within": 1}, "beside": {"a": 1}}, "write {above: NAME}"),
        ({"claim": {"above": "a", "below": "a"}, "beside": {"a": 1}}, "write {above: NAME}"),
        ({"step": "middle"}, "choose from 'last', 'first', 'change'"),
        ({"trainings": ["large"]}, "expected a list of small"),
        ({"at": 3}, "expected a mapping"),
        ({"compare": {"data.task.n": 2}}, "expected an option of the grid, or a list of them"),
    ],
)
def test_an_answer_that_cannot_be_is_refused(
    study: Read, answer: dict[str, object], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        study(answer)


@pytest.mark.parametrize("entry", [3, {"minimum": {}, "path": {}}])
def test_a_probe_that_is_neither_file_nor_name_is_refused(study: Read, entry: object) -> None:
    with pytest.raises(InputError, match="expected a file, or a name with its settings"):
        study({}, probes=[entry])


@pytest.mark.process
def test_every_experiment_measures_what_it_answers_with(tmp_path: Path) -> None:
    for number in range(1, 11):
        for name in ("studies/exp{:03d}", "studies/exp{:03d}_small", "atlas/exp{:03d}"):
            made = read_study(name.format(number), tmp_path)
            assert made.answers
            for asked in made.answers:
                for cell in made.cells:
                    if not asked.trainings or cell.training in asked.trainings:
                        assert asked.probe in _measured(cell.steps), (made.name, asked.name)


_LABELS: dict[str, set[str]] = {}


def _measured(steps: Sequence[object]) -> set[str]:
    """Labels of what the steps of a cell measure, callbacks of the training included."""
    labels = {"test_error"}
    for step in steps:
        words = step.arguments  # type: ignore[attr-defined]
        if words[0] == "probe":
            labels |= _labels(words[1:3])
        for flag, file in pairwise(words):
            if words[0] == "fit" and flag == "--config" and "callbacks" in file:
                labels |= _labels((flag, file))
        if "--trainer.callbacks+" in words:
            text = words[words.index("--trainer.callbacks+") + 1]
            if text not in _LABELS:
                config = {"trainer": {"callbacks+": yaml.safe_load(text)}}
                _LABELS[text] = {one.probe.label for one in configured_measurements(config)}
            labels |= _LABELS[text]
    return labels


def _labels(words: tuple[str, ...]) -> set[str]:
    """Labels of what `ired probe` measures with these options."""
    if str(words) not in _LABELS:
        found = chosen_measurements(None, parse(["--ckpt", "run", *words]))
        _LABELS[str(words)] = {one.probe.label for one in found}
    return _LABELS[str(words)]


def test_experiments_have_a_small_form_each() -> None:
    names = {path.stem for path in (ROOT / "configs" / "studies").glob("exp*.yaml")}
    assert names == {f"exp{n:03d}{size}" for n in range(1, 11) for size in ("", "_small")}


def test_a_record_is_read_wherever_the_program_is_installed(
    study: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = study(HERE).cells[0]
    assert cell.configs == (str(ROOT / "configs/quickstart.yaml"),)  # as there is none below here
    Record(cell).add(cell.steps[0], 3.0, ended=True)
    assert str(ROOT) not in Record(cell).path.read_text()
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    elsewhere = study(HERE).cells[0]
    assert elsewhere.configs == ("configs/quickstart.yaml",)
    assert Record(elsewhere).seconds(elsewhere.steps[0]) == 3.0


@pytest.mark.process
def test_runs_of_others_answer_and_nothing_is_made(
    study: Read, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {"each": "landscape", "beside": {"truth": 9}, "claim": {"above": "truth"}}
    made = study(asked)
    assert main(["study", "made.yaml", "--answers"]) == 2
    assert "holds none of the study's runs" in capsys.readouterr().err
    Record(made.cells[0]).begin()
    write(made, [1, 1.5, 2])  # of two trainings, one is lacking
    assert main(["study", "made.yaml", "--answers"]) == 0
    mine = Path("runs/made/study.md").read_text()
    assert main(["publish", "runs/made", "--to", "given/made"]) == 0
    before = sorted(path for path in Path("given/made").rglob("*"))
    assert main(["study", "made.yaml", "--runs", "given", "--answers"]) == 0
    assert Path("given/made/study.md").read_text() == mine.replace("runs runs", "runs given")
    assert Path("given/made/study.png").read_bytes() == Path("runs/made/study.png").read_bytes()
    assert "not trained to its end yet" in mine
    new = {path.name for path in Path("given/made").rglob("*")} - {path.name for path in before}
    assert new == {"study.md", "study.png", "answers", "made.json"}
    assert main(["study", "made.yaml", "--answers", "--jobs", "2"]) == 2
    assert "leave them out" in capsys.readouterr().err
