"""Commands that look at runs: watch, runs, export."""

import json
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from conftest import Ired
from ired_interp.commands.overview import overview, sparkline
from ired_interp.results import ResultKey, Run, open_results, write_result
from ired_interp.results.state import record_state
from runs import PROBE, make_run, spectrum


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path / "runs" / "demo" / "a")


@pytest.mark.process
def test_watch_follows_a_run_to_its_end(ired: Ired, run: Run) -> None:
    def go_on() -> None:
        with record_state(run):
            began.set()
            time.sleep(0.6)
            write_result(
                run.results,
                ResultKey("hessian_spectrum_y", 1500, "average", PROBE),
                spectrum(1500, 0),
                {},
            )
            time.sleep(0.6)

    began = threading.Event()
    training = threading.Thread(target=go_on)
    training.start()
    began.wait()
    code, out, err = ired("watch", run.path, "--every", "0.1")
    training.join()
    assert code == 0, err
    first, *_, last = out.splitlines()
    assert first.startswith(
        "running  step 1000 of 1000  train/loss 0.001  val/error/same 0.1  3 results"
    )
    assert last.startswith("done  step 1000 of 1000")
    assert "4 results" in last


def test_the_overview_names_metrics_results_and_what_is_damaged(run: Run) -> None:
    (run.results / "test_error" / "broken.nc").write_text("x")
    console = Console(width=200)
    with console.capture() as capture:
        console.print(overview(open_results(run.path), "running"))
    text = capture.get()
    for part in (
        "demo/a: running, step 1000 of 1000",
        "val/error/same",
        "hessian_spectrum_y",
        "last at step 1000",
        "broken.nc is damaged",
    ):
        assert part in text


def test_a_sparkline_shows_the_course() -> None:
    assert sparkline(np.array([1.0, 10.0, 100.0])) == "▁▅█"
    assert sparkline(np.array([3.0, 3.0])) == "▁▁"
    assert len(sparkline(np.linspace(-1, 1, 1000))) == 40
    assert sparkline(np.array([1.0, np.nan, 10.0, 100.0])) == "▁▅█"
    assert sparkline(np.array([np.nan])) == sparkline(np.array([])) == ""


def test_runs_says_the_state(ired: Ired, run: Run) -> None:
    with record_state(run):
        _, out, _ = ired("runs", run.path.parents[1])
        assert "running" in out
    _, out, _ = ired("runs", run.path.parents[1])
    assert "done" in out
    assert "hessian_spectrum_y (2)" in out


def test_a_finished_training_is_done(tiny_run: Path) -> None:
    assert json.loads((tiny_run / "state.json").read_text())["state"] == "done"


def test_export_writes_every_result(ired: Ired, run: Run) -> None:
    (run.results / "test_error" / "broken.nc").write_text("x")
    code, out, err = ired("export", run.path)
    assert code == 0
    assert (
        out == f"8 tables written to {run.path / 'tables'}\n"
    )  # 3 of each spectrum, 2 of the test
    assert "broken.nc is damaged" in err
    (table,) = run.path.glob("tables/hessian_spectrum_y/step-00000500*/landscape.csv")
    assert pd.read_csv(table)["lambda_min"].tolist() == pytest.approx(
        spectrum(500, 0)["lambda_min"].values.tolist()
    )
