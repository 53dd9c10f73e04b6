"""W&B offline, online against a stand-in, and off; the dashboard against what a run logs."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import wandb
from lightning.pytorch.loggers import WandbLogger
from standin import Received, standin

from conftest import ROOT, TINY, Ired
from ired_interp.callbacks import GradientStatistics, Spectrum, SubspaceDrift
from ired_interp.errors import InputError
from ired_interp.loggers import WandB
from ired_interp.loggers.dashboard import dashboard, metrics
from ired_interp.loggers.wandb import RUN_ID_KEY, chosen_mode
from ired_interp.results import read_result
from lit_modules import Plain, train

WANDB = ["--config", str(ROOT / "loggers" / "wandb.yaml"), "--name", "tiny"]
PROBED = [*TINY, "--config", "callbacks/hessian_spectrum.yaml", *WANDB]
CALLBACKS = """
trainer:
  callbacks+:
    - {class_path: ired_interp.callbacks.GradientStatistics, init_args: {every_n_steps: 6, window: 3}}
    - {class_path: ired_interp.callbacks.SubspaceDrift, init_args: {every_n_steps: 6, problems: 6}}
    - {class_path: ired_interp.callbacks.InferenceTrajectory, init_args: {every_n_steps: 12, problems: 6}}
    - class_path: ired_interp.callbacks.HessianSpectrumTheta
      init_args: {every_n_steps: 12, problems: 6, landscapes: mixed, eigenpairs: 4, tol: 0.1, density_steps: 10, trace_matvecs: 12}
    - {class_path: ired_interp.callbacks.HessianSpectrum, init_args: {every_n_steps: 12, problems: 32}}
"""


@pytest.fixture(autouse=True)
def _no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Received]:
    with standin() as received:
        yield received


def online(url: str, folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the program in its own process, as W&B reads its address once, logged in at `url`."""
    address = {"WANDB_BASE_URL": url, "WANDB_API_KEY": "0" * 40, "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-c",
        "import sys; from ired_interp.cli import main; sys.exit(main())",
        *map(str, arguments),
    ]
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **address},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def records(run: Path) -> list[dict[str, Any]]:
    """The history of the offline runs in a run's folder, in order: values by name."""
    history = []
    for file in sorted(run.glob("wandb/offline-run-*/run-*.wandb")):
        command = [
            *(sys.executable, "-m", "wandb"),
            *("leet", "inspect", "--json", str(file)),
        ]
        lines = subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=True
        ).stdout.splitlines()
        for record in map(json.loads, lines):
            if record["type"] == "history":
                history.append(_values(record["history"]["item"]))
    return history


def _values(item: dict[str, Any]) -> dict[str, Any]:
    """Media stand as "name._type", "name.path", …; one dictionary a name."""
    values: dict[str, Any] = {}
    for key, value in item.items():
        name, _, part = key.partition(".")
        if part:
            values.setdefault(name, {})[part] = value
        else:
            values[name] = value
    return values


@pytest.mark.process
def test_an_offline_run_holds_metrics_and_results_and_goes_on_as_one_run(
    ired: Ired, tmp_path: Path
) -> None:
    (tmp_path / "callbacks.yaml").write_text(CALLBACKS)
    code, _, err = ired("fit", *TINY, "--config", "callbacks.yaml", *WANDB)
    assert code == 0, err
    run = tmp_path / "runs" / "quickstart" / "tiny"
    logged = records(run)
    names = {name for record in logged for name in record}
    drift = read_result(max(run.glob("results/subspace_drift_hessian_y_training/*.nc")))
    arbitrary = {  # subspaces that no eigengap holds have no overlap to draw
        f"subspace_drift_hessian_y_training/overlap_independent_to_{which}/k{k}"
        for k in range(10)
        for which, other in (("first", 0), ("previous", -2))
        if not drift["overlap_independent"].isel(landscape=k, frame=-1, other=other).notnull()
    }
    drawn = set(metrics()) - arbitrary
    assert drawn <= names, f"the dashboard draws what nothing logs: {sorted(drawn - names)}"
    result = next(record for record in logged if "hessian_spectrum_y/figure" in record)
    assert float(result["trainer/global_step"]) == 12
    assert result["hessian_spectrum_y/figure"]["_type"] == "image-file"
    assert result["hessian_spectrum_y/table/landscape"]["_type"] == "table-file"
    histogram = result["hessian_spectrum_y/eigenvalues/k0"]
    assert histogram["_type"] == "histogram"
    assert sum(histogram["values"]) == 32 * 16
    identity = (run / "wandb-run-id").read_text().strip()
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint[RUN_ID_KEY] == identity

    (run / "wandb-run-id").unlink()
    code, _, err = ired("fit", "--resume", run, "--trainer.max_steps", "16")
    assert code == 0, err
    files = list(run.glob("wandb/offline-run-*/run-*.wandb"))
    assert {file.stem for file in files} == {f"run-{identity}"}
    assert len(files) == 2
    assert max(float(record.get("trainer/global_step", 0)) for record in records(run)) == 16


@pytest.mark.process
def test_callbacks_of_a_plain_module_reach_lightnings_own_logger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All three, offline: the numbers of every result, under the step at which it was measured."""
    measures: list[Any] = [
        Spectrum(every_n_steps=4, eigenpairs=2, which="LA", density_probes=0),
        GradientStatistics(every_n_steps=4),
        SubspaceDrift(every_n_steps=4, p=1),
    ]
    monkeypatch.setenv("WANDB_MODE", "offline")  # which Lightning sets, and leaves behind
    logger = WandbLogger(save_dir=tmp_path, offline=True, mode="offline")
    train(tmp_path, *measures, module=Plain(), logger=logger, max_steps=8)
    wandb.finish()
    logged = records(tmp_path)
    results = tmp_path / "lightning_logs" / str(logger.version) / "results"

    def previous(result: Any) -> Any:
        return result["geodesic_floor"][-1, -2]

    for label, key, of in (
        ("hessian_spectrum_loss", "eigenvalues/0", lambda r: r["eigenvalues"][0]),
        ("gradient_statistics_loss", "noise", lambda r: r["noise"].sel(layer="all")),
        ("subspace_drift_hessian_theta_training", "geodesic_floor_to_previous", previous),
    ):
        found = {
            int(float(r["trainer/global_step"])): r
            for r in logged
            if any(name.startswith(f"{label}/") for name in r)
        }
        assert list(found) == [4, 8]  # of drift, the frame before training has none to differ from
        for step, file in zip((4, 8), sorted((results / label).glob("*.nc"))[-2:], strict=True):
            value = float(of(read_result(file)))
            assert float(found[step][f"{label}/{key}"]) == pytest.approx(value, rel=1e-6)


@pytest.mark.process
def test_logged_in_a_run_goes_online(ired: Ired, server: Received, tmp_path: Path) -> None:
    done = online(server.url, tmp_path, "fit", *PROBED)
    assert done.returncode == 0, done.stderr
    (bucket, *_) = server.operations("UpsertBucket")
    assert bucket["project"] == "ired-interp"
    assert json.loads(bucket["config"])["data"]["value"]["task"]["class_path"].endswith("Inverse")
    names = {name for line in server.history for name in line}
    assert {"train/loss", "val/error/same", "hessian_spectrum_y/lambda_median/k9"} <= names
    assert server.summary["collapse"].startswith("same: never below “best constant")


@pytest.mark.process
def test_logged_in_but_out_of_reach_a_run_goes_on_offline(ired: Ired, tmp_path: Path) -> None:
    done = online("http://127.0.0.1:9", tmp_path, "fit", *PROBED)
    assert done.returncode == 0, done.stderr
    assert "W&B cannot be reached" in done.stderr
    assert list((tmp_path / "runs" / "quickstart" / "tiny").glob("wandb/offline-run-*/run-*.wandb"))


@pytest.mark.process
def test_off_means_off(ired: Ired, tmp_path: Path) -> None:
    code, _, err = ired("fit", *PROBED, "--trainer.logger.init_args.mode", "disabled")
    assert code == 0, err
    assert not (tmp_path / "runs" / "quickstart" / "tiny" / "wandb").exists()


@pytest.mark.parametrize(
    ("variable", "expected"), [(None, "offline"), ("disabled", "disabled"), ("online", "online")]
)
def test_auto_is_offline_without_an_account_and_obeys_the_environment(
    variable, expected, monkeypatch
) -> None:
    if variable:
        monkeypatch.setenv("WANDB_MODE", variable)
    assert chosen_mode("auto") == expected


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(InputError, match="'auto', 'offline', 'online' or 'disabled'"):
        WandB(mode="sometimes")  # type: ignore[arg-type]


@pytest.mark.process
def test_the_dashboard_arrives_with_its_sections(server: Received, tmp_path: Path) -> None:
    done = online(server.url, tmp_path, "dashboard", "--entity", "team", "--project", "landscapes")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{server.url}/team/landscapes?nw=dashboard"
    (view,) = server.operations("UpsertView2")
    assert (view["entityName"], view["projectName"]) == ("team", "landscapes")
    sections = json.loads(view["spec"])["section"]["panelBankConfig"]["sections"]
    assert [s["name"] for s in sections] == [
        "Training",
        "Gradients",
        "Spectra",
        "Drift",
        "Inference",
    ]
    text = view["spec"]
    assert all(name in text for name in metrics())


def test_the_dashboard_asks_for_a_login(ired: Ired) -> None:
    code, _, err = ired("dashboard", "--entity", "team")
    assert code == 2
    assert "wandb login" in err


def test_no_panel_is_empty() -> None:
    assert all(section.panels for section in dashboard("team", "project").sections)
