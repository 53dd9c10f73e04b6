"""`ired probe` with several checkpoints compares their subspaces; a configuration file names probes and their settings."""

import shutil
from pathlib import Path

import pytest
import yaml

from conftest import Ired, Trained
from ired_interp.results import Run, read_result


@pytest.mark.process
def test_drift_over_checkpoints(ired: Ired, trained: Trained, tmp_path: Path) -> None:
    tiny_run = Path(shutil.copytree(trained("--keep_best", "3"), tmp_path / "runs/quickstart/tiny"))
    best = min((tiny_run / "checkpoints").glob("best*"), key=lambda file: file.name)
    ending = tiny_run / "checkpoints" / "last.ckpt"
    code, out, err = ired(
        "probe", "--ckpt", best, ending, "--probes", "subspace_drift", "--problems", 6
    )
    assert code == 0, err
    last = read_result(Run(tiny_run).result_files()[-1])
    assert len(last["label"]) == 2
    assert int(last["label"][-1]) == 12
    assert 0 < float(last["overlap"].isel(frame=0, other=1).min()) < 1 - 1e-9
    assert "k = 0, step 12" in out
    before = Run(tiny_run).result_files()
    assert (
        ired("probe", "--ckpt", best, ending, "--probes", "subspace_drift", "--problems", 6)[0] == 0
    )
    assert Run(tiny_run).result_files() == before  # measured again, the same files
    assert (
        ired("probe", "--ckpt", ending, best, "--probes", "subspace_drift", "--problems", 6)[0] == 0
    )
    assert len(Run(tiny_run).result_files()) == 2 * len(before)  # another order is another history


@pytest.mark.process
def test_probes_of_a_configuration_file(ired: Ired, tiny_run: Path, tmp_path: Path) -> None:
    named = [
        {"class_path": "GradientStatisticsTheta", "init_args": {"landscapes": [3]}},
        {"class_path": "SubspaceDrift", "init_args": {"source": "solution", "axis": "inference"}},
        {"class_path": "InferenceTrajectory", "init_args": {"steps": 2}},
    ]
    (tmp_path / "probes.yaml").write_text(yaml.safe_dump({"probes": named}))
    code, _, err = ired("probe", "--ckpt", tiny_run, "--config", "probes.yaml", "--problems", 6)
    assert code == 0, err
    found = {path.parent.name: read_result(path) for path in Run(tiny_run).result_files()}
    assert list(found["gradient_statistics_theta"]["landscape"].values) == [3]
    assert found["subspace_drift_solution_y_inference"].sizes["frame"] == 60
    assert found["inference_trajectory"].sizes["inner_step"] == 3


@pytest.mark.process
def test_every_fragment_trains(ired: Ired, tmp_path: Path) -> None:
    fragments = [
        f"callbacks/{name}.yaml"
        for name in ("gradient_statistics", "subspace_drift", "inference_trajectory")
    ]
    small = [
        "--model.energy.width",
        8,
        "--data.batch_size",
        16,
        "--data.validation_problems",
        10,
        "--trainer.max_steps",
        4,
    ]
    configs = [argument for fragment in fragments for argument in ("--config", fragment)]
    code, _, err = ired(
        "fit", "--config", "configs/quickstart.yaml", *configs, *small, "--name", "all"
    )
    assert code == 0, err
    run = Run(tmp_path / "runs" / "quickstart" / "all")
    assert {path.parent.name for path in run.result_files()} == {
        "subspace_drift_hessian_y_training",
        "inference_trajectory",
    }
