"""A run as a whole: probes do not touch it, a killed one goes on as if nothing had happened, and it learns."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from conftest import ROOT, TINY, Ired, Trained
from ired_interp.diffusion import Inference
from ired_interp.energy import MLPEnergy
from ired_interp.module import IREDModule
from ired_interp.results import Run, read_result


def last(run: Path) -> dict:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


def assert_same_weights(a: dict, b: dict) -> None:
    assert a["global_step"] == b["global_step"]
    for key in ("state_dict", "current_model_state"):
        for name, value in a[key].items():
            assert torch.equal(value, b[key][name]), f"{key}: {name}"


@pytest.mark.process
@pytest.mark.parametrize("weights", ["average", "raw"])
def test_training_is_bit_identical_with_and_without_probes(
    ired: Ired, tiny_run: Path, tmp_path: Path, weights: str
):
    fragment = tmp_path / "fragment.yaml"
    fragment.write_text(
        "trainer:\n  callbacks+:\n    - class_path: ired_interp.callbacks.HessianSpectrum\n"
        f"      init_args: {{every_n_steps: 3, problems: 4, weights: {weights}}}\n"
    )
    code, _, err = ired("fit", *TINY, "--config", fragment, "--name", "probed")
    assert code == 0, err
    probed = tmp_path / "runs" / "quickstart" / "probed"
    files = Run(probed).result_files()
    assert [read_result(f).attrs["step"] for f in files] == [3, 6, 9, 12]
    assert_same_weights(last(tiny_run), last(probed))


def test_a_run_writes_everything_into_its_folder(tiny_run: Path, tmp_path: Path):
    run = Run(tiny_run)
    assert run.last_checkpoint().is_file()
    assert list(run.checkpoints.glob("best-step=*.ckpt"))
    metrics = run.metrics()
    assert {
        2,
        4,
        5,
        10,
        12,
    } <= metrics.keys()  # logged every 2 steps, validated every 5: steps are updates done
    assert "train/loss" in metrics[12]
    assert {"val/error/same", "val/error/harder"} <= metrics[10].keys()
    assert not list(tiny_run.glob("**/.*")), "no temporary file is left"
    assert {p.name for p in tmp_path.iterdir()} == {"configs", "callbacks", "runs"}


def test_a_run_is_never_overwritten(ired: Ired, tiny_run: Path):
    before = {p: p.stat().st_mtime_ns for p in tiny_run.rglob("*")}
    code, _, err = ired("fit", *TINY, "--name", "tiny")
    assert code == 2
    assert "never overwritten" in err
    assert {p: p.stat().st_mtime_ns for p in tiny_run.rglob("*")} == before


@pytest.mark.process
def test_resuming_a_finished_run_for_longer_equals_a_longer_run(
    ired: Ired, tiny_run: Path, tmp_path: Path
):
    """The learning rate must not depend on the run's length here, so both are compared at a constant one."""
    constant = ["--model.lr_schedule", "constant"]
    for name, steps in (("short", 8), ("long", 14)):
        code, _, err = ired("fit", *TINY, *constant, "--trainer.max_steps", steps, "--name", name)
        assert code == 0, err
    runs = tmp_path / "runs" / "quickstart"
    code, _, err = ired("fit", "--resume", runs / "short", "--trainer.max_steps", 14)
    assert code == 0, err
    assert_same_weights(last(runs / "short"), last(runs / "long"))


def start(*arguments: str, cwd: Path) -> subprocess.Popen:
    program = [str(Path(sys.executable).with_name("ired"))]
    return subprocess.Popen(
        [*program, *arguments],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition, process: subprocess.Popen) -> None:
    while not condition():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)


LONGER = ["--trainer.max_steps", "400", "--save_every", "20", "--trainer.val_check_interval", "150"]


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda n: n.name)
def test_a_stopped_run_goes_on_bit_for_bit(
    ired: Ired, trained: Trained, tmp_path: Path, number: signal.Signals
):
    whole = trained(*LONGER)
    runs = tmp_path / "runs" / "quickstart"
    process = start("fit", *TINY, *LONGER, "--name", "stopped", cwd=tmp_path)
    checkpoint = runs / "stopped" / "checkpoints" / "last.ckpt"
    wait_for(lambda: checkpoint.is_file() and last(runs / "stopped")["global_step"] >= 20, process)
    process.send_signal(number)
    code = process.wait()
    err = process.stderr.read()
    assert code == (-9 if number == signal.SIGKILL else 128 + number), err
    if number != signal.SIGKILL:
        assert f"ired fit --resume {runs / 'stopped'}" in err
    assert 20 <= last(runs / "stopped")["global_step"] < 400
    code, _, err = ired("fit", "--resume", runs / "stopped")
    assert code == 0, err
    assert_same_weights(last(whole), last(runs / "stopped"))
    assert max(Run(runs / "stopped").metrics()) == 400
    metrics = [Run(run).metrics() for run in (whole, runs / "stopped")]
    logged = [{s: v["train/loss"] for s, v in m.items() if "train/loss" in v} for m in metrics]
    assert all(logged[0][step] == value for step, value in logged[1].items())


@pytest.mark.process
def test_two_processes_train_the_run_of_one(ired: Ired, tiny_run: Path, tmp_path: Path):
    """Two ranks share each batch's rows and noise; gradients are averaged in another order, so weights agree to float32 rounding."""
    process = start(
        "fit",
        *TINY,
        "--trainer.devices",
        "2",
        "--trainer.strategy",
        "ddp",
        "--name",
        "two",
        cwd=tmp_path,
    )
    assert process.wait() == 0, process.stderr.read()
    one, two = last(tiny_run), last(tiny_run.with_name("two"))
    assert one["global_step"] == two["global_step"]
    for name, value in one["state_dict"].items():
        torch.testing.assert_close(two["state_dict"][name], value, rtol=1e-4, atol=1e-5)
    metrics = [Run(run).metrics()[12] for run in (tiny_run, tiny_run.with_name("two"))]
    # The first jump divides by √ᾱ_9 = .005, and so multiplies what rounding leaves in the weights.
    assert metrics[0] == pytest.approx(metrics[1], rel=1e-2)


def test_a_loss_that_is_no_number_ends_the_run(ired: Ired, tmp_path: Path):
    code, _, err = ired(
        "fit",
        *TINY,
        "--trainer.max_steps",
        60,
        "--model.lr",
        "1e30",
        "--trainer.gradient_clip_val",
        "null",
    )
    assert code == 1
    assert "gradients exploded" in err


def test_reverse_diffusion_has_no_inner_steps_to_compare() -> None:
    module = IREDModule(MLPEnergy(4, 4, 4), inference=Inference(gradient_descent=False))
    (steps,) = module.step_counts
    assert steps == 0
    generator = torch.Generator().manual_seed(0)
    found = module.predict(torch.zeros(3, 4), torch.ones(3, 4), steps, 2.0, generator)
    assert found.shape == (3, 4)
    assert found.isfinite().all()


@pytest.mark.process
@pytest.mark.parametrize("baseline", ["feed_forward", "diffusion"])
def test_baselines_train_and_are_tested_with_the_same_commands(ired: Ired, baseline: str):
    tiny = [
        "--model.width",
        16,
        "--data.task.n",
        3,
        "--data.batch_size",
        16,
        "--data.validation_problems",
        20,
    ]
    configs = ["--config", "configs/inverse.yaml", "--config", f"configs/baselines/{baseline}.yaml"]
    code, _, err = ired(
        "fit",
        *configs,
        *tiny,
        "--trainer.max_steps",
        4,
        "--trainer.val_check_interval",
        2,
        "--name",
        "a",
    )
    assert code == 0, err
    code, out, err = ired("validate", "--ckpt", f"runs/{baseline}/a")
    assert code == 0, err
    assert "20 validation problems" in out
    code, out, err = ired("test", "--ckpt", f"runs/{baseline}/a", "--data.test_problems", 30)
    assert code == 0, err
    assert "best constant" in out
    code, _, err = ired("probe", "--ckpt", f"runs/{baseline}/a")
    assert code == 2
    assert "no energy to probe" in err
    code, out, err = ired("probe", "--ckpt", f"runs/{baseline}/a", "--probes", "effective_rank")
    if baseline == "feed_forward":
        assert code == 0, err
        assert "Participation ratio" in out
    else:
        assert code == 2
        assert "no energy to probe" in err


@pytest.mark.process  # six seconds of training
def test_a_small_model_beats_its_floors_and_approaches_the_theory(ired: Ired, tmp_path: Path):
    """600 steps of the quickstart at half width: error well below the best constant; curvature on the way to 1/σ_k in every landscape."""
    shorter = [
        "--trainer.max_steps",
        600,
        "--trainer.val_check_interval",
        600,
        "--model.energy.width",
        64,
    ]
    code, _, err = ired("fit", "--config", "configs/quickstart.yaml", *shorter, "--name", "a")
    assert code == 0, err
    code, _, err = ired("test", "--ckpt", "runs/quickstart/a", "--data.test_problems", 1000)
    assert code == 0, err
    run = Run(tmp_path / "runs" / "quickstart" / "a")
    tested = read_result(next(f for f in run.result_files() if f.parent.name == "test_error"))
    same = tested.sel(variant="same")
    error, floor = float(same["error"][0]), float(same["floor"].sel(predictor="best constant"))
    assert error + 5 * float(same["standard_error"][0]) < 0.5 * floor
    code, out, err = ired("probe", "--ckpt", "runs/quickstart/a", "--problems", 16)
    assert code == 0, err
    assert "theory" in out
    spectrum = read_result(
        next(f for f in run.result_files() if f.parent.name == "hessian_spectrum_y")
    )
    ratio = spectrum["lambda_median"] / spectrum["theory_median"]
    assert ((ratio > 0.3) & (ratio < 1.2)).all()  # at the start it is 0.01
    assert bool((spectrum["lambda_median"].diff("landscape") < 0).all()), (
        "sharper landscapes curve more"
    )
    assert ROOT not in run.path.parents
