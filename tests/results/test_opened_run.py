"""A run opened for reading says what was logged and measured, and names what it cannot read."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import ired_interp as ii
from ired_interp.errors import InputError
from ired_interp.results import ResultKey, Run, failed_result, read_result, write_result
from ired_interp.results.provenance import provenance
from runs import PROBE, STEPS, make_run, spectrum


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path / "runs" / "demo" / "a")


def test_each_metric_has_the_steps_that_logged_it_so_that_it_plots_as_a_line(run: Run) -> None:
    metrics = ii.open(run.path).metrics
    np.testing.assert_array_equal(metrics["train/loss"]["step"], [250, 500, 1000])
    np.testing.assert_array_equal(metrics["val/error/same"]["step"], [500, 1000])
    np.testing.assert_allclose(metrics["val/error/same"], [0.2, 0.1])
    assert ii.open(run.path).step == 1000


def test_results_join_over_steps_with_their_labels(run: Run) -> None:
    opened = ii.open(run.path)
    assert opened.probes == ["hessian_spectrum_y", "test_error"]
    assert opened.landscapes == list(range(10))
    joined = opened["hessian_spectrum_y"]
    assert joined["eigenvalues"].dims == ("step", "landscape", "problem", "rank")
    np.testing.assert_array_equal(joined["step"], STEPS)
    assert joined["eigenvalues"].sel(
        step=500, landscape=3, problem=0, rank=1
    ).item() == pytest.approx(4 * 1.1 * 1.2)
    assert opened["test_error"]["error"].sel(
        variant="same", inner_steps=5, step=1000
    ).item() == pytest.approx(0.02)


def test_a_result_written_later_is_seen_by_opening_again(run: Run) -> None:
    write_result(
        run.results, ResultKey("hessian_spectrum_y", 1500, "average", PROBE), spectrum(1500, 0), {}
    )
    assert ii.open(run.path).find("hessian_spectrum_y").steps == [500, 1000, 1500]


def test_measuring_a_step_again_from_its_checkpoint_replaces_it(run: Run) -> None:
    settings = {**PROBE, "checkpoint": "digest"}
    path = write_result(
        run.results,
        ResultKey("hessian_spectrum_y", 1000, "average", settings),
        spectrum(1000, 7),
        {},
    )
    later = path.stat().st_mtime_ns + 10**9
    os.utime(path, ns=(later, later))
    series = ii.open(run.path).find("hessian_spectrum_y")
    assert series.steps == [500, 1000]
    assert float(series.last["lambda_min"][0]) == pytest.approx(1.1 + 0.07)


def test_other_settings_are_another_series_chosen_by_name(run: Run) -> None:
    settings = {**PROBE, "probe": {"space": "y", "point": "answer"}}
    write_result(
        run.results,
        ResultKey("hessian_spectrum_y", 1000, "average", settings),
        spectrum(1000, 0),
        {},
    )
    opened = ii.open(run.path)
    with pytest.raises(InputError, match=r"2 series .* probe\.point=noised \| probe\.point=answer"):
        opened["hessian_spectrum_y"]
    assert opened.find("hessian_spectrum_y", point="answer").steps == [1000]
    assert opened.find("hessian_spectrum_y", point="noised").steps == [500, 1000]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_cut_file_is_named_and_the_rest_is_shown(run: Run, share: float) -> None:
    path = next(run.results.glob("hessian_spectrum_y/step-00000500*"))
    blob = path.read_bytes()
    path.write_bytes(blob[: int(len(blob) * share)])
    opened = ii.open(run.path)
    assert opened.find("hessian_spectrum_y").steps == [1000]
    assert len(opened.skipped) == 1
    assert str(path) in opened.skipped[0]
    assert str(path) in repr(opened)


def test_a_file_that_is_no_result_is_named(run: Run) -> None:
    (run.results / "test_error" / "notes.nc").write_text("hello")
    (sentence,) = ii.open(run.path).skipped
    assert "notes.nc is damaged" in sentence


def test_a_failed_measurement_is_said_with_its_reason(run: Run) -> None:
    write_result(
        run.results,
        ResultKey("subspace_drift", 10, "average", {}),
        failed_result("out of memory"),
        {},
    )
    opened = ii.open(run.path)
    assert opened.skipped == ["subspace_drift at step 10 failed: out of memory"]
    assert "subspace_drift" not in opened.probes


def test_checkpoints_are_listed_with_their_step(run: Run) -> None:
    run.checkpoints.mkdir()
    torch.save(
        {"global_step": 40, "state_dict": {"w": torch.zeros(3)}}, run.checkpoints / "last.ckpt"
    )
    checkpoints = ii.open(run.path).checkpoints
    assert checkpoints["step"].values.tolist() == [40]
    assert checkpoints["file"].values.tolist() == [str(run.checkpoints / "last.ckpt")]


def test_the_repr_says_what_there_is(run: Run) -> None:
    text = repr(ii.open(run.path))
    for part in (
        "demo/a",
        "to step 1000",
        "hessian_spectrum_y, average weights, steps 500, 1000: landscape 10",
        "test_error",
    ):
        assert part in text


def test_an_unknown_probe_is_answered_with_those_there_are(run: Run) -> None:
    with pytest.raises(InputError, match="has hessian_spectrum_y, test_error"):
        ii.open(run.path)["hessian"]


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a run folder"):
        ii.open(tmp_path)


def test_reading_some_variables_gives_what_the_whole_file_holds(tmp_path: Path) -> None:
    result = spectrum(500, 0).assign(
        layered=(("layer", "landscape"), np.arange(20.0).reshape(2, 10)),
        bare=("angle", [0.5, 1.5]),
        total=3.5,
    )
    result = result.assign_coords(layer=["all", "fc1"])
    path = write_result(
        tmp_path, ResultKey("x", 7, "average", {"a": 1}), result, {"versions": {"torch": "2"}}
    )
    names = ["lambda_min", "eigenvalues", "layered", "bare", "total", "absent"]
    some, whole = read_result(path, names), read_result(path)
    xr.testing.assert_equal(some, whole[[name for name in names if name in whole]])
    assert some.attrs == whole.attrs


def test_a_result_keeps_the_command_that_made_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "command" not in provenance()["source"]
    monkeypatch.setattr(sys, "argv", ["/venv/bin/ired", "probe", "--ckpt", "a run"])
    assert provenance()["source"]["command"] == "ired probe --ckpt 'a run'"
