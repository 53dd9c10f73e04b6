"""A study makes what it lacks, once, and says what came of it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import xarray as xr
import yaml

from conftest import ROOT
from ired_interp.commands.study_page import write_page
from ired_interp.errors import InputError
from ired_interp.results import ResultKey, open_results, write_result
from ired_interp.results.statement import read_findings
from ired_interp.shipped import configurations
from ired_interp.studies import Record, Step, findings, read_study, run_study, study_page
from ired_interp.studies.arrays import step_title

TRAIN = {
    "model.energy.width": 16,
    "data.batch_size": 16,
    "data.validation_problems": 40,
    "data.test_problems": 40,
    "trainer.max_steps": 6,
    "trainer.val_check_interval": 3,
}
FILE = {
    "question": "Does anything learn in six steps?",
    "seeds": [0, 1],
    "options": TRAIN,
    "trainings": {"small": {"config": "quickstart", "grid": {"data.task.n": [2, 3]}}},
}


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("IRED_RUN_NAME", raising=False)

    def read(**changes):
        Path("tiny.yaml").write_text(yaml.safe_dump({**FILE, **changes}))
        return read_study("tiny.yaml", Path("runs"))

    return read


STUBBORN = """
import time
from ired_interp.stopping import defer_signals
with defer_signals():
    print("ready", flush=True)
    time.sleep(600)
    time.sleep(600)
"""
STUDY = f"""
import subprocess, sys
from pathlib import Path
from ired_interp.studies import read_study, run_study

def start(arguments, output, variables):
    child = subprocess.Popen(
        [sys.executable, "-c", {STUBBORN!r}], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    child.stdout.readline()
    print(child.pid, flush=True)
    return child

run_study(read_study("tiny.yaml", Path("runs")), 1, start=start)
"""


@pytest.mark.process
def test_a_second_signal_reaches_what_a_study_waits_for(study):
    """Which has process groups of its own, and so does not hear a second Ctrl-C."""
    study()
    process = subprocess.Popen([sys.executable, "-c", STUDY], stdout=subprocess.PIPE, text=True)
    child = int(process.stdout.readline())
    process.send_signal(signal.SIGTERM)
    time.sleep(1.5)  # more than the second in which two signals are one
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == -signal.SIGTERM
    for _ in range(600):
        if not Path(f"/proc/{child}").exists():
            return
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the study ended, but not what it had started")


class InProcess:
    """Stands for a process: runs `ired` here and now, and remembers what it was asked."""

    def __init__(self, fail: str = "") -> None:
        self.commands: list[str] = []
        self.fail = fail

    def __call__(self, arguments: Sequence[str], output: Path, variables: dict[str, str]):
        from ired_interp.cli import main

        text = " ".join(arguments)
        self.commands.append(text)
        code = 1 if self.fail and self.fail in text else main(list(arguments))
        output.write_text(f"ended with {code}\n")
        done = subprocess.CompletedProcess(arguments, code)
        done.poll = lambda: code  # type: ignore[attr-defined]
        return done


def test_a_grid_has_a_cell_for_every_place_and_seed(study) -> None:
    cells = study().cells
    assert [(c.label, c.seed) for c in cells] == [
        ("small n=2", 0),
        ("small n=2", 1),
        ("small n=3", 0),
        ("small n=3", 1),
    ]
    assert len({c.run.path for c in cells}) == 4
    line = cells[2].command_line(cells[2].steps[0])
    assert line[:2] == ("fit", "--config")
    assert line[line.index("--data.task.n") + 1] == "3"


def test_a_study_changes_its_base_key_by_key(study) -> None:
    study(seeds=[0], options={"model.lr": 0.1, "trainer.max_steps": 9})
    above = {
        "base": "tiny.yaml",
        "options": {"model.lr": 0.2},
        "trainings": {"small": {"grid": None}, "other": {"config": "quickstart"}},
        "probes": [{"minimum": {"starts": 8}}, "callbacks/curvature.yaml"],
    }
    Path("above.yaml").write_text(yaml.safe_dump(above))
    made = read_study("above.yaml", Path("runs"))
    assert (made.name, made.question) == ("above", FILE["question"])
    assert [c.label for c in made.cells] == ["small", "other"]
    fit, _, minimum, curvature = made.cells[0].steps
    assert fit.arguments[fit.arguments.index("--model.lr") + 1] == "0.2"
    assert fit.arguments[fit.arguments.index("--trainer.max_steps") + 1] == "9"
    assert minimum.arguments == ("probe", "--probes", 'minimum: {"starts": 8}')
    assert curvature.arguments[1] == "--config"
    Path("top.yaml").write_text("base: above.yaml\ntrainings: {small: null}\n")
    assert {c.training for c in read_study("top.yaml", Path("runs")).cells} == {"other"}
    Path("tiny.yaml").write_text("base: above.yaml\n")
    with pytest.raises(InputError, match="is its own base"):
        read_study("above.yaml", Path("runs"))


@pytest.mark.process
def test_it_trains_and_tests_once_and_then_does_nothing(study, capfd) -> None:
    start = InProcess()
    made = study(trainings={"small": {"config": "quickstart"}})
    assert [o.fault for o in run_study(made, 2, start=start)] == ["", ""]
    assert [c.split()[0] for c in start.commands].count("fit") == 2
    assert [c.split()[0] for c in start.commands].count("test") == 2
    page = study_page(made, "ired study tiny.yaml", findings(made))
    assert "2 of 2 trainings" in page
    assert "no better than “best constant”" in page  # six steps teach nothing, and it says so
    row = next(line for line in page.splitlines() if line.startswith("| small"))
    assert "±" in row
    assert "| 2 | 6 |" in row
    again = InProcess()
    run_study(made, 2, start=again)
    assert again.commands == []

    from ired_interp.cli import main

    assert main(["study", "tiny.yaml", "--dry-run"]) == 0
    assert capfd.readouterr().out.count("[done in ") == 4


@pytest.mark.process
def test_the_first_experiment_answers_its_question_in_its_first_lines(study, capfd) -> None:
    asked = yaml.safe_load((ROOT / "configs" / "studies" / "exp001.yaml").read_text())
    completion = "completion, MLP"
    made = study(
        question=asked["question"],
        base="studies/exp001_small",
        options={**TRAIN, "data.task.n": 4, "model.warmup_steps": 2, "data.batch_size": 16},
        trainings={
            completion: {
                "options": {"model.energy.width": 16},
                "grid": {"data.task.rank": [1, 2]},
            },
            **dict.fromkeys(asked["trainings"].keys() - {completion}),
            "small": None,  # of FILE
        },
        probes=[{"curvature": {"problems": 6, "landscapes": [0, 2, 4, 6, 8], "candidates": 1}}],
        answers=[
            {**answer, "trainings": [completion]}
            for answer in asked["answers"]
            if answer["probe"] == "curvature" and "theory" not in str(answer)
        ],
    )
    start = InProcess()
    assert not any(o.fault for o in run_study(made, 2, start=start))
    assert [c.split()[0] for c in start.commands].count("probe") == 4
    again = InProcess()
    run_study(made, 2, start=again)
    assert again.commands == []

    found = findings(made)
    page = study_page(made, "ired study tiny.yaml", found).splitlines()
    assert page[0] == "# tiny"
    assert page[2].startswith("What do the eigenvalues of the Hessian in y say")
    assert page[4].startswith("**Curvature along entries that are given (truth 1).** That it is")
    assert "2 seeds" in page[4]  # as the model learned nothing in six steps, it cannot hold
    assert "holds everywhere" not in page[4]
    opened = [open_results(c.run.path) for c in made.cells if c.label == f"{completion} rank=1"]
    values = [float(run["curvature"]["curvature"].sel(family="visible")[0, 0]) for run in opened]
    row = found.statements[0].rows[f"{completion} rank=1"]
    assert float(row["landscape 0"].split()[0]) == pytest.approx(sum(values) / 2, rel=0.05)
    assert "rank=2" in found.statements[2].summary[0]  # compared with rank 1

    from ired_interp.cli import main

    found.write(Path("runs/tiny"))
    assert main(["report", "runs/tiny"]) == 0
    assert "curvature along entries that are given (truth 1): That it is" in capfd.readouterr().err
    html = Path("runs/tiny/report.html").read_text()
    assert html.index(found.question) < html.index("Did it learn?")
    assert "curvature along entries that are given (truth 1)" in html


@pytest.mark.process
def test_a_training_is_held_against_floors_of_the_problems_that_it_was_tested_on(study) -> None:
    """An easy draw of few problems must not speak against a training tested on many, nor for it."""
    tests = {"many": (1000, 0.9, 1.0), "few": (100, 0.6, 0.5)}  # problems, error, floor
    made = study(seeds=[0], trainings={name: {"config": "quickstart"} for name in tests})
    for cell in made.cells:
        problems, error, floor = tests[cell.label]
        Record(cell).begin()
        cell.run.write_config("data: {task: {class_path: Inverse}}\nmodel: {class_path: x.Any}\n")
        result = xr.Dataset(
            {
                "error": (("variant", "inner_steps"), [[error]]),
                "floor": (("variant", "predictor"), [[floor]]),
            },
            {"variant": ["same"], "inner_steps": [5], "predictor": ["best constant"]},
            {"problems": problems, "trained_on": "same"},
        )
        key = ResultKey("test_error", 10, "average", {"problems": problems})
        write_result(cell.run.results, key, result, {})
    page = study_page(made, "ired study tiny.yaml", findings(made))
    assert "few is no better than “best constant”: 0.6 against 0.5" in page
    assert "many is no better" not in page
    assert "| *best constant* | 1 |" in page, "the table has the floor of most problems"


def test_what_was_cut_off_goes_on_and_what_fails_holds_nothing_up(study) -> None:
    made = study(trainings={"small": {"config": "quickstart"}})
    first = InProcess(fail="--seed_everything 1")
    outcomes = run_study(made, 1, start=first)
    assert [bool(o.fault) for o in outcomes] == [False, True]
    assert "fit ended with code 1" in outcomes[1].fault

    state = made.cells[0].run.path / "state.json"  # as a kill -9 leaves it
    record = Record(made.cells[0]).path
    content = json.loads(record.read_text())
    content["done"] = {}
    record.write_text(json.dumps(content))
    state.write_text(json.dumps({**json.loads(state.read_text()), "state": "stopped"}))
    second = InProcess()
    assert not any(o.fault for o in run_study(made, 1, start=second))
    assert sum("fit --resume" in command for command in second.commands) == 1
    assert sum("fit --config" in command for command in second.commands) == 1


@pytest.mark.process
def test_the_program_starts_processes_of_its_own(study) -> None:
    study(seeds=[0], trainings={"small": {"config": "quickstart"}})
    done = subprocess.run(
        [sys.executable, "-m", "ired_interp", "study", "tiny.yaml"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "fit done in" in done.stderr
    assert "| small |" in done.stdout
    assert Path("runs/tiny/study.md").read_text() == done.stdout.rstrip("\n") + "\n"


def test_a_file_that_changed_is_not_mixed_with_what_was_made(study) -> None:
    before = study()
    Record(before.cells[0]).begin()
    changed = study(options={**TRAIN, "model.lr": 0.5})
    with pytest.raises(InputError, match="begun by this study with other settings"):
        run_study(changed, 1, start=InProcess())
    other = before.cells[1].run
    other.write_config("model: {}\n")
    with pytest.raises(InputError, match="was not begun by this study"):
        run_study(before, 1, start=InProcess())


def test_a_configuration_may_change_its_comments_but_no_setting(study) -> None:
    own = Path("own.yaml")
    own.write_text("model: {lr: 1.0e-3, warmup_steps: 5}\n")
    made = study(trainings={"own": {"config": ["quickstart", "own.yaml"]}})
    Record(made.cells[0]).begin()
    own.write_text("# Better.\nmodel:\n  warmup_steps: 5\n  lr: 0.001\n")
    assert Record(made.cells[0]).remaining()
    own.write_text("model: {lr: 2.0e-3, warmup_steps: 5}\n")
    with pytest.raises(InputError, match="other settings in its configuration files"):
        Record(made.cells[0])


def test_studies_of_one_experiment_share_its_runs(study, tmp_path: Path) -> None:
    asking = [{"name": "the error", "probe": "test_error", "variable": "error"}]
    probe = {"gradient_statistics": {"landscapes": [0]}}
    first = study(seeds=[0], trainings={"a": {"config": "quickstart"}}, probes=[probe])
    run_study(first, 1, start=InProcess())

    def another(**changes):
        file = {"base": "tiny.yaml", "experiment": "tiny", "question": "Another?", **changes}
        (tmp_path / "another.yaml").write_text(yaml.safe_dump(file))
        return read_study("another.yaml", Path("runs"))

    made = another(answers=asking)
    assert (made.name, made.folder) == ("another", Path("runs/tiny"))
    assert [cell.run.path for cell in made.cells] == [cell.run.path for cell in first.cells]
    start = InProcess()
    run_study(made, 1, start=start)
    assert start.commands == [], "trainings, tests and probes are there"

    write_page(first, "ired study tiny.yaml")
    write_page(made, "ired study another.yaml")
    pages = [Path("runs/tiny", name).read_text() for name in ("study.md", "another.md")]
    assert [FILE["question"] in page for page in pages] == [True, False]
    assert [found.question for found in read_findings(made.folder)] == [
        "Another?",
        FILE["question"],
    ]

    more = InProcess()
    run_study(another(probes=[probe, {"curvature": {"landscapes": [0]}}]), 1, start=more)
    assert [c.split()[0] for c in more.commands] == ["probe"], "only what is lacking is measured"
    with pytest.raises(InputError, match="begun by this study with other settings"):
        run_study(another(options={"model.lr": 0.5}), 1, start=InProcess())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"experiment": "a/b"}, "expected the name of one folder"),
        ({"experiment": ".."}, "expected the name of one folder"),
        ({"experiment": 3}, "expected the name of one folder"),
        ({"trainings": {}}, "names no trainings"),
        ({"trainings": {"a": {"grid": {}}}}, "lacks `config:`"),
        ({"trainings": {"a": 3}}, "expected a mapping"),
        ({"trainings": {"a": {"config": "quickstart", "grid": {"lr": 3}}}}, "expected a list"),
        ({"trainings": {"a": {"config": "nothing_here"}}}, "none of the configurations"),
        ({"seeds": "0"}, "expected a list of whole numbers"),
        ({"seed": [0]}, "has no setting 'seed'"),
        (
            {"trainings": {"a b": {"config": "quickstart"}, "a-b": {"config": "quickstart"}}},
            "name them apart",
        ),
    ],
)
def test_a_file_that_says_what_no_study_can_is_refused(study, changes, sentence) -> None:
    with pytest.raises(InputError, match=sentence):
        study(**changes)


@pytest.mark.parametrize(
    ("arguments", "title"),
    [
        (("test",), "test"),
        (("probe", "--config", "/a/callbacks/hessian_spectrum.yaml"), "hessian_spectrum"),
        (("probe", "--probes", 'minimum: {"starts": 1.5, "variant": "x/y"}'), "minimum"),
    ],
)
def test_jobs_of_a_study_are_named_by_what_they_do(arguments: tuple[str, ...], title: str) -> None:
    assert step_title(Step(arguments)) == title


@pytest.mark.parametrize("file", sorted((ROOT / "configs" / "studies").rglob("*.yaml")))
def test_the_studies_that_come_with_the_program_are_studies(file: Path, tmp_path: Path) -> None:
    made = read_study(str(file), tmp_path)
    assert made.question
    assert made.cells
    assert file.relative_to(ROOT).as_posix() in map(str, configurations())
