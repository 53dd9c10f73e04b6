"""A stranger's probe and callback: trained with by `ired fit`, and measured again by `ired probe` as they were."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import ired_interp as ii
from conftest import TINY, Ired
from ired_interp.probes import Probe
from ired_interp.rehearsal.rehearse import rehearse
from ired_interp.results import Run, read_result

pytestmark = pytest.mark.process

MODULE = '''
import xarray as xr
from lightning.pytorch import Callback
from ired_interp.callbacks import BoundProbeCallback, ProbeCallback
from ired_interp.errors import InputError
from ired_interp.probes import Probe

class MeanEnergy(Probe):
    """Mean energy of the answers, times a factor."""
    name = "mean_energy"

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def check(self, module) -> None:
        if self.factor > module.landscapes:
            raise InputError(f"mean_energy has factor={self.factor}, more than landscapes.")

    def __call__(self, snapshot):
        x, y = snapshot.batch
        return xr.Dataset({"energy": self.factor * float(snapshot.module.energy(x, y, 0).mean())})

class Bound(BoundProbeCallback, of=MeanEnergy, every_n_steps=7): ...

class Written(ProbeCallback):
    def __init__(self, problems: int = 5) -> None:
        super().__init__(MeanEnergy(2.0), 100, "raw", problems, "harder")

class Other(Callback): ...
'''
PROBES = "trainer:\n  callbacks+:\n"
SHORT = [*TINY, "--trainer.max_steps", "2", "--name", "mine"]


@pytest.fixture
def own(ired: Ired, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module `their_probes` on the path."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "their_probes.py").write_text(MODULE)
    monkeypatch.setitem(sys.modules, "their_probes", None)  # put back to nothing afterwards
    del sys.modules["their_probes"]
    return tmp_path


def callbacks(folder: Path, *entries: dict[str, Any]) -> list[str]:
    file = folder / "own.yaml"
    file.write_text(yaml.safe_dump({"trainer": {"callbacks+": list(entries)}}))
    return ["--config", str(file)]


BOUND = {
    "class_path": "their_probes.Bound",
    "init_args": {"problems": 3, "weights": "raw", "variant": "harder", "factor": 4.0},
}
PARTS = ("problems", "variant")


def forget() -> None:
    """As a new process would, that has not imported the module."""
    sys.modules.pop("their_probes", None)
    Probe.registry.pop("mean_energy", None)


@pytest.mark.parametrize(
    ("entry", "problems", "factor"),
    [
        (BOUND, 3, 4.0),
        ({"class_path": "their_probes.Written"}, 5, 2.0),
        (
            {
                "class_path": "ired_interp.callbacks.ProbeCallback",
                "init_args": {
                    "probe": {"class_path": "their_probes.MeanEnergy"},
                    "problems": 6,
                    "weights": "raw",
                    "variant": "harder",
                },
            },
            6,
            1.0,
        ),
    ],
)
def test_probe_measures_what_the_run_was_trained_with(
    own: Path, ired: Ired, entry: dict[str, Any], problems: int, factor: float
) -> None:
    added = callbacks(own, entry, {"class_path": "their_probes.Other"})
    code, _, err = ired("fit", *SHORT, *added)
    assert code == 0, err
    run = Run(own / "runs" / "quickstart" / "mine")
    (trained,) = run.result_files()
    assert trained.parent.name == "mean_energy"
    before = read_result(trained)
    forget()
    code, _, err = ired("probe", "--ckpt", run.path)
    assert code == 0, err
    assert f"measuring mean_energy on {problems} problems (harder), raw weights" in err
    assert run.result_files() == [trained], "the same measurement is the same file"
    assert read_result(trained).equals(before)
    module = ii.load(run.path, "raw")
    data = ired_data(run)
    x, y, *_ = data.evaluation_batch("probe", "harder", 0, problems, "cpu")
    with torch.no_grad():
        expected = factor * float(module.energy(x, y, 0).mean())
    assert float(before["energy"]) == pytest.approx(expected, rel=1e-6)


def ired_data(run: Run) -> Any:
    from ired_interp.checkpoint import read_checkpoint

    return read_checkpoint(run.path).build()[1]


def test_options_override_what_the_callbacks_say(own: Path, ired: Ired) -> None:
    assert ired("fit", *SHORT, *callbacks(own, BOUND))[0] == 0
    run = own / "runs" / "quickstart" / "mine"
    given = ["--problems", 9, "--variant", "same", "--weights", "average"]
    _, _, err = ired("probe", "--ckpt", run, *given)
    assert "measuring mean_energy on 9 problems (same), average weights" in err
    fragment = callbacks(own, {**BOUND, "init_args": {"problems": 8, "weights": "raw"}})
    _, _, err = ired("probe", "--ckpt", run, *fragment)
    assert "measuring mean_energy on 8 problems (same), raw weights" in err
    _, _, err = ired("probe", "--ckpt", run, *fragment, "--problems", 4)
    assert "measuring mean_energy on 4 problems (same), raw weights" in err


def test_names_of_the_runs_own_probes_are_known(own: Path, ired: Ired) -> None:
    assert ired("fit", *SHORT, *callbacks(own, BOUND))[0] == 0
    run = own / "runs" / "quickstart" / "mine"
    forget()
    code, _, err = ired("probe", "--ckpt", run, "--probes", "mean_energy", "hessian_spectrum")
    assert code == 0, err
    assert "measuring mean_energy on 32 problems (same), average weights" in err
    assert "measuring hessian_spectrum_y on 32 problems" in err
    code, _, err = ired("probe", "--ckpt", run, "--probes", "mean_enrgy")
    assert code == 2
    assert "probe 'mean_enrgy' does not exist; there are " in err
    assert "hessian_spectrum_y, " in err
    assert "mean_energy;" in err
    module = ii.load(run)
    found = ii.probe(module, ired_data(Run(run)).draw(4, "cpu", 0, "same"), ["mean_energy"])
    assert list(found) == ["mean_energy"]


def test_a_class_that_is_gone_is_named_with_where_modules_are_found(own: Path, ired: Ired) -> None:
    assert ired("fit", *SHORT, *callbacks(own, BOUND))[0] == 0
    forget()
    (own / "their_probes.py").unlink()
    code, out, err = ired("probe", "--ckpt", own / "runs" / "quickstart" / "mine")
    assert (code, out) == (2, "")
    assert err == (
        "ired: class their_probes.Bound cannot be imported: No module named 'their_probes'; modules "
        "are looked for among what is installed, beside each --config file and in the current "
        "folder.\n"
    )


def test_a_run_without_probe_callbacks_says_that_the_default_is_measured(
    ired: Ired, tiny_run: Path
) -> None:
    code, _, err = ired("probe", "--ckpt", tiny_run, "--problems", 3)
    assert code == 0, err
    assert "no callback measured in training: measuring the default, hessian_spectrum_y" in err


def test_unknown_settings_are_refused_with_the_known_ones(own: Path, ired: Ired) -> None:
    wrong = {"class_path": "their_probes.Bound", "init_args": {"colour": 3}}
    code, _, err = ired("fit", *SHORT, *callbacks(own, wrong))
    assert code == 2
    assert "trainer.callbacks.colour does not exist; choose from " in err
    assert all(name in err for name in ("every_n_steps", "weights", "problems", "factor"))
    assert not (own / "runs").exists()


def test_what_the_model_does_not_fit_is_refused_before_the_first_step(
    own: Path, ired: Ired
) -> None:
    wrong = {"class_path": "their_probes.Bound", "init_args": {"factor": 11.0}}
    code, _, err = ired("fit", *SHORT, *callbacks(own, wrong))
    assert code == 2
    assert "mean_energy has factor=11.0, more than landscapes." in err
    assert not (own / "runs").exists()
    assert ired("fit", *SHORT, "--name", "good")[0] == 0
    good = own / "runs" / "quickstart" / "good"
    code, _, err = ired("probe", "--ckpt", good, *callbacks(own, wrong))
    assert code == 2
    assert "more than landscapes" in err
    assert "measuring" not in err


def test_the_rehearsal_measures_what_really_will_be(own: Path, ired: Ired) -> None:
    added = callbacks(own, BOUND)
    lines = list(rehearse({"tasks": [["fit", *SHORT, *added]], "ranks": 1, "thorough": False}))
    assert [line["found"] for line in lines if line.get("check") == "probe"] == [
        "mean_energy measured and summed up"
    ]
    assert ired("fit", *SHORT, *added)[0] == 0
    run = str(own / "runs" / "quickstart" / "mine")
    lines = list(rehearse({"tasks": [["probe", "--ckpt", run]], "ranks": 1, "thorough": False}))
    assert lines[-1]["found"] == "mean_energy measured and summed up"
