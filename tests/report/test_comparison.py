"""The verdict says where a feed-forward pass or a trivial answer is as good."""

from pathlib import Path

import pytest
import yaml

from conftest import Ired
from ired_interp.report import gather
from ired_interp.results import ResultKey, Run, open_results, write_result
from ired_interp.results.provenance import provenance
from runs import errors, make_run

pytestmark = pytest.mark.process

QUESTION = "Is it better than trivial?"


def run_that_scores(folder: Path, kind: str, error: float, n: int = 2) -> Run:
    """A run of this kind of model on inverses of n × n matrices, with this test error.

    The best constant scores 0.1.
    """
    run = make_run(folder)
    config = yaml.safe_load(run.config.read_text())
    config["model"]["class_path"] = f"ired_interp.baselines.{kind}"
    config["data"]["task"]["init_args"]["n"] = n
    run.write_config(yaml.safe_dump(config))
    result = errors(0).sel(variant=["same"])
    result["error"][:] = error
    settings = {"checkpoint": f"digest-{error}", "config": "later"}
    write_result(
        run.results, ResultKey("test_error", 1000, "average", settings), result, provenance()
    )
    return run


def verdict(*runs: Run) -> dict[str, str]:
    report = gather([open_results(run.path) for run in runs])
    (answer,) = (answer for answer in report.answers if answer.question == QUESTION)
    return {group.name: sentence for group, sentence in answer.sentences}


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (0.15, "no better than “best constant” (0.1)"),
        (0.0995, "no better than “best constant” (0.1)"),
        (0.098, "2% lower than “best constant” (0.1)"),
    ],
)
def test_within_a_percent_a_trivial_answer_is_as_good(
    tmp_path: Path, error: float, says: str
) -> None:
    assert says in verdict(run_that_scores(tmp_path / "ired", "IREDModule", error))["ired"]


@pytest.mark.parametrize(
    ("score", "says"),
    [
        (0.01, "is as good: 0.01 against 0.02"),
        (0.0201, "is as good: 0.0201 against 0.02"),
        (0.0204, "scores 0.0204"),
    ],
)
def test_a_feed_forward_pass_that_learned_the_same_is_beside_it(
    tmp_path: Path, score: float, says: str
) -> None:
    ours = run_that_scores(tmp_path / "ired", "IREDModule", 0.02)
    others = [
        run_that_scores(tmp_path / "pass", "FeedForwardModule", score),
        run_that_scores(tmp_path / "worse", "FeedForwardModule", 0.09, n=3),  # of another task
        run_that_scores(tmp_path / "noise", "DiffusionModule", 0.001),
    ]
    sentences = verdict(ours, *others)
    assert sentences["ired"].endswith(f" Same: one feed-forward pass (pass) {says}.")
    assert "feed-forward pass" not in sentences["pass"]


def test_of_another_task_it_says_nothing(tmp_path: Path) -> None:
    ours = run_that_scores(tmp_path / "ired", "IREDModule", 0.02)
    assert "feed-forward" not in verdict(ours)["ired"]
    other = run_that_scores(tmp_path / "pass", "FeedForwardModule", 0.01, n=3)
    assert "feed-forward" not in verdict(ours, other)["ired"]


def test_the_page_and_the_terminal_say_it(ired: Ired, tmp_path: Path) -> None:
    runs = [
        run_that_scores(tmp_path / "ired", "IREDModule", 0.02),
        run_that_scores(tmp_path / "pass", "FeedForwardModule", 0.01),
    ]
    sentence = "one feed-forward pass (pass) is as good: 0.01 against 0.02."
    code, out, err = ired("report", *(run.path for run in runs))
    assert code == 0, err
    assert sentence in Path(out.strip()).read_text()
    (line,) = (line for line in err.splitlines() if sentence in line)
    assert line.startswith(f"{QUESTION} ired: ")
