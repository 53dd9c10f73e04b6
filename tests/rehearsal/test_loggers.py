"""Loggers of a rehearsal write into its temporary folder, and send nothing anywhere."""

import json
from pathlib import Path

import pytest
import wandb

from conftest import ROOT
from ired_interp.loggers import WandB
from rehearsals import SMALL, checks, passed


def test_loggers_write_into_the_temporary_folder(user_module, tmp_path: Path):
    before = set(tmp_path.rglob("*"))
    passed(checks(["fit", *SMALL, "--config", "loggers/tensorboard.yaml"]))
    assert set(tmp_path.rglob("*")) == before
    elsewhere = tmp_path / "elsewhere"
    csv = "lightning.pytorch.loggers.CSVLogger"
    log = json.dumps([{"class_path": csv, "init_args": {"save_dir": str(elsewhere)}}])
    passed(checks(["fit", *SMALL, "--trainer.logger", log]))
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.process
def test_wandb_is_offline_whatever_is_configured(
    user_module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
):
    request.addfinalizer(wandb.teardown)  # it remembers the key for the whole process
    modes = []
    begin = WandB._begin
    monkeypatch.setattr(
        WandB,
        "_begin",
        lambda self, mode: (modes.append((mode, self.save_dir)), begin(self, mode))[1],
    )
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # where nobody listens
    file = tmp_path / "online.yaml"
    file.write_text(
        (ROOT / "loggers" / "wandb.yaml").read_text().replace("mode: auto", "mode: online")
    )
    before = set(tmp_path.rglob("*"))
    for config in ("loggers/wandb.yaml", str(file)):
        passed(checks(["fit", *SMALL, "--config", config]))
    assert [mode for mode, _ in modes] == ["offline", "offline"]
    assert all("ired-rehearsal-" in place for _, place in modes)
    assert set(tmp_path.rglob("*")) == before
