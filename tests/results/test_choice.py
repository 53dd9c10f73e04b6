"""One rule says which checkpoint a run means: the best by validation, else the last."""

from pathlib import Path

import pytest

from ired_interp.errors import InputError
from ired_interp.results import Run, choose_checkpoint
from ired_interp.results.choice import behind_best


def make(folder: Path, kept: list[str], errors: dict[int, str], evaluate: str = "same") -> Run:
    run = Run(folder / "run")
    run.write_config(f"data: {{evaluate: [{evaluate}, other]}}\n")
    run.checkpoints.mkdir()
    for name in kept:
        (run.checkpoints / name).touch()
    metrics = run.path / "metrics" / "version_0" / "metrics.csv"
    metrics.parent.mkdir(parents=True)
    rows = [f"{step},{error},1" for step, error in errors.items()]
    metrics.write_text("\n".join([f"step,val/error/{evaluate},val/error/other", *rows]) + "\n")
    return run


def chosen(run: Run, which: str | None = None) -> str:
    return choose_checkpoint(run.path, which).path.name  # type: ignore[arg-type]


def test_the_best_by_validation_is_meant_and_the_last_when_asked(tmp_path: Path) -> None:
    kept = ["last.ckpt", "best-step=10.ckpt", "best-step=20.ckpt"]
    run = make(tmp_path, kept, {10: "0.0096", 20: "0.03", 30: "0.9"}, "harder")
    assert chosen(run) == chosen(run, "best") == "best-step=10.ckpt"
    assert chosen(run, "last") == "last.ckpt"
    assert choose_checkpoint(run.path).sentence() == (
        "checkpoint: best of validation, step 10 (val error 0.0096)"
    )
    assert choose_checkpoint(run.path, "last").sentence(30) == "checkpoint: last, step 30"


def test_a_run_without_a_best_means_its_last_and_says_so(tmp_path: Path) -> None:
    run = make(tmp_path, ["last.ckpt"], {})
    assert choose_checkpoint(run.path).sentence(7) == (
        "checkpoint: last, as no validation has kept a best, step 7"
    )
    assert chosen(run, "best") == "last.ckpt"


def test_an_error_that_is_no_number_is_no_best(tmp_path: Path) -> None:
    assert chosen(make(tmp_path, ["last.ckpt", "best-step=10.ckpt"], {10: "nan"})) == "last.ckpt"


def test_a_best_whose_error_is_not_known_comes_after_those_that_are(tmp_path: Path) -> None:
    kept = ["best-step=10.ckpt", "best-step=20.ckpt", "best-step=30-v1.ckpt"]
    run = make(tmp_path, kept, {10: "5"})
    assert chosen(run) == "best-step=10.ckpt"
    (run.checkpoints / kept[0]).unlink()
    assert chosen(run) == "best-step=30-v1.ckpt"


def test_a_file_is_itself_and_leaves_nothing_to_choose(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    assert choose_checkpoint(path).path == path
    with pytest.raises(InputError, match="is one file"):
        choose_checkpoint(path, "best")
    with pytest.raises(InputError, match="choose 'best' or 'last'"):
        choose_checkpoint(tmp_path, "newest")  # type: ignore[arg-type]


def test_weights_that_were_validated_as_worse_are_named(tmp_path: Path) -> None:
    run = make(tmp_path, ["last.ckpt", "best-step=10.ckpt"], {5: "1", 10: "0.1", 20: "0.4"})
    assert behind_best(run, 10) is None
    assert behind_best(run, 5) is not None
    worse = behind_best(run, 25)
    assert worse is not None
    assert "error 0.4 at step 20, against 0.1 at step 10" in worse
