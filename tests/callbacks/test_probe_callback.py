"""A measurement that fails is kept as failed and training goes on; one that is wrong says so."""

from pathlib import Path

import pytest
import torch

from conftest import TINY, Ired
from ired_interp import measure
from ired_interp.callbacks import HessianSpectrum
from ired_interp.commands.runs import _columns
from ired_interp.errors import InputError, RunError
from ired_interp.probes import HessianSpectrumY as Probe
from ired_interp.results import ResultKey, Run, failed_result, read_result, write_result

FAILURES = {
    "memory": (torch.OutOfMemoryError("tried to allocate 9 GiB"), "out of memory"),
    "allocator": (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out of memory"),
    "values": (RunError("the Hessian is not finite"), "not finite"),
    "refusal": (InputError("1 KiB of memory cannot hold the vectors"), "cannot hold the vectors"),
    "decomposition": (torch.linalg.LinAlgError("did not converge"), "no decomposition"),
}


@pytest.mark.process
@pytest.mark.parametrize("kind", FAILURES)
def test_a_failed_measurement_does_not_end_training(ired: Ired, tmp_path: Path, monkeypatch, kind):
    error, words = FAILURES[kind]

    def fail(self, snapshot):
        raise error

    monkeypatch.setattr(Probe, "__call__", fail)
    fragment = ["--config", "callbacks/hessian_spectrum.yaml"]
    code, _, err = ired("fit", *TINY, *fragment, "--name", "a")
    assert code == 1, err
    assert err.splitlines()[-1].startswith("ired: training is done, but of its measurements 1 fail")
    assert f"hessian_spectrum_y at step 12 failed: {words}" in err or words in err
    run = Run(tmp_path / "runs" / "quickstart" / "a")
    assert "hessian_spectrum_y (0, 1 failed)" in _columns(run)
    (file,) = run.result_files()
    assert words in read_result(file).attrs["failed"]
    assert torch.load(run.last_checkpoint(), weights_only=True)["global_step"] == 12


def test_a_programming_error_is_not_swallowed(small_module, monkeypatch, tmp_path):
    def wrong(self, snapshot):
        raise RuntimeError("a bug")

    monkeypatch.setattr(Probe, "__call__", wrong)
    module, data = small_module
    x, y, *_ = data.evaluation_batch("probe", "same", 0, 2, "cpu")
    snapshot = measure.Snapshot(module, (x, y))
    with pytest.raises(RuntimeError, match="a bug"):
        measure.measure(Probe(), snapshot, tmp_path, {})


def test_a_failure_never_replaces_a_result(tmp_path):
    label = ResultKey("hessian_spectrum_y", 5, "average", {})
    good = measure.xr.Dataset({"eigenvalues": ("rank", [1.0, 2.0])})
    path = write_result(tmp_path, label, good, {})
    assert write_result(tmp_path, label, failed_result("out of memory"), {}) == path
    assert read_result(path)["eigenvalues"].values.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"every_n_steps": 0}, "every_n_steps=0"),
        ({"problems": 0}, "problems=0"),
        ({"weights": "best"}, "weights='best'"),
    ],
)
def test_bad_schedules_are_refused(settings, words):
    with pytest.raises(InputError, match=words):
        HessianSpectrum(**settings)


def test_a_variant_that_the_task_has_not_is_refused_before_the_run_begins(ired: Ired, tmp_path):
    (tmp_path / "hard.yaml").write_text(
        "trainer: {callbacks+: [{class_path: ired_interp.callbacks.HessianSpectrum, "
        "init_args: {variant: hard}}]}\n"
    )
    code, _, err = ired("fit", *TINY, "--config", "hard.yaml", "--name", "never")
    assert code == 2
    assert "variant 'hard'" in err
    assert not (tmp_path / "runs").exists()
