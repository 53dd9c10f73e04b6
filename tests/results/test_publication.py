"""A published run says what the run says, in fewer bytes, and nothing of the machine that made it."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml

from ired_interp.cli import main
from ired_interp.errors import InputError
from ired_interp.report import gather
from ired_interp.results import ResultKey, Run, failed_result, open_results, write_result
from ired_interp.results.publication import Places, publish_run
from runs import PROBE, make_run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = make_run(tmp_path / "here" / "first" / "one")
    config = yaml.safe_load(made.config.read_text()) | {"runs": "/somewhere/else"}
    made.write_config(yaml.safe_dump(config))
    made.checkpoints.mkdir()
    (made.checkpoints / "last.ckpt").write_bytes(b"weights")
    state = {"state": "done", "host": "tower", "pid": 7, "time": 9.0, "began": 4.0, "before": 0.0}
    (made.path / "state.json").write_text(json.dumps({**state, "device": "CPU"}))
    values = np.random.default_rng(0).standard_normal((80, 90))
    large = xr.Dataset({"field": (("i", "j"), values), "mean": values.mean()})
    command = f"ired probe --ckpt {made.path} --config /somewhere/else/first/x.yaml"
    key = ResultKey("field", 1000, "average", {"config": f"runs: {made.path.parents[1]}\nn: 2"})
    write_result(made.results, key, large, {"source": {"command": command}})
    key = ResultKey("slice", 1000, "average", PROBE)
    write_result(made.results, key, failed_result("too few problems"), {})
    return made


def publish(run: Run, folder: Path) -> Places:
    places = Places([run])
    publish_run(run, folder, places)
    return places


def test_it_has_the_same_numbers_in_single_precision_and_large_arrays_to_ten_bits(
    run: Run, tmp_path: Path
) -> None:
    publish(run, tmp_path / "copy")
    before, after = open_results(run.path), open_results(tmp_path / "copy")
    assert after.probes == before.probes
    assert after.skipped == before.skipped == ["slice at step 1000 failed: too few problems"]
    assert after.metrics.keys() == before.metrics.keys()
    for probe in before.probes:
        assert after.find(probe).steps == before.find(probe).steps
        xr.testing.assert_allclose(after[probe], before[probe], rtol=2**-11)
    small = after["test_error"].squeeze()
    xr.testing.assert_allclose(small, before["test_error"].squeeze(), rtol=1e-7)
    floor = small["floor"].sel(variant="same", predictor="perfect energy, same inference")
    assert float(floor) == pytest.approx(1e-16, rel=1e-6)  # not lost
    field = after["field"]["field"]
    assert field.dtype == np.float32
    assert field.attrs["precision"] == "rounded to 10 binary digits, 0.05%"
    kept = np.unique(np.asarray(field).view(np.uint32) & 0x1FFF)
    assert kept.tolist() == [0]
    size = sum(file.stat().st_size for file in (tmp_path / "copy/results/field").iterdir())
    assert size < 0.5 * 8 * field.size


def test_it_names_no_place_of_the_machine_and_says_which_it_could_not_leave_out(
    run: Run, tmp_path: Path
) -> None:
    run.config.write_text(run.config.read_text() + "data_root: /srv/matrices/a\n")
    places = publish(run, tmp_path / "copy")
    assert places.left == {"/srv/matrices/a"}
    files = [file for file in (tmp_path / "copy").rglob("*") if file.is_file()]
    assert "last.ckpt" not in {file.name for file in files}
    for file in files:
        for word in (str(tmp_path), "/somewhere", "tower", '"pid"'):
            assert word.encode() not in file.read_bytes(), (file, word)
    assert yaml.safe_load((tmp_path / "copy/config.yaml").read_text())["runs"] == "runs"
    (file,) = (tmp_path / "copy/results/field").iterdir()
    attributes = xr.load_dataset(file).attrs
    command = json.loads(attributes["source"])["command"]
    assert command == "ired probe --ckpt runs/first/one --config runs/first/x.yaml"
    settings = {"config": "runs: runs\nn: 2"}
    assert json.loads(attributes["settings"]) == settings
    assert file.name == ResultKey("field", 1000, "average", settings).filename


def test_of_what_was_measured_again_the_newest_is_kept(run: Run, tmp_path: Path) -> None:
    probe = {"space": "y", "point": "noised", "frames": "abc"}  # another file of the same series
    key = ResultKey("hessian_spectrum_y", 1000, "average", {**PROBE, "probe": probe})
    again = open_results(run.path).find("hessian_spectrum_y").at(1000) * 2
    write_result(run.results, key, again, {})
    publish(run, tmp_path / "copy")
    files = sorted((tmp_path / "copy/results/hessian_spectrum_y").iterdir())
    assert [file.name[:13] for file in files] == ["step-00000500", "step-00001000"]
    kept = open_results(tmp_path / "copy")["hessian_spectrum_y"].sel(step=1000, drop=True)
    xr.testing.assert_allclose(kept["lambda_max"], again["lambda_max"])


@pytest.mark.process
def test_its_report_shows_the_same_figures_and_numbers(run: Run, tmp_path: Path) -> None:
    publish(run, tmp_path / "copy/first/one")
    before, after = (
        gather([open_results(path)]) for path in (run.path, tmp_path / "copy/first/one")
    )
    assert [figure.name for figure in after.figures] == [figure.name for figure in before.figures]
    for one, other in zip(before.figures, after.figures, strict=True):
        assert (one.table is None) == (other.table is None)
        if one.table is not None and other.table is not None:
            old, new = (t.select_dtypes("number").to_numpy(float) for t in (one.table, other.table))
            np.testing.assert_allclose(new, old, rtol=2**-11, atol=2**-11)  # of values about 1


def test_nothing_is_overwritten_and_what_is_no_ended_run_is_refused(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "full").mkdir()
    with pytest.raises(InputError, match="nothing is overwritten"):
        publish(run, tmp_path / "full")
    (tmp_path / "none").mkdir()
    assert main(["publish", str(tmp_path / "none"), "--to", str(tmp_path / "copy")]) == 2
    assert "is not a run folder" in capsys.readouterr().err
    (run.path / "state.json").write_text('{"state": "running", "host": "afar", "pid": 1}')
    with pytest.raises(InputError, match="is being trained"):
        publish(run, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
