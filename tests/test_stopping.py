"""A run that is stopped or killed, at whatever moment, ends up as the undisturbed one: weights, metrics, best checkpoint and results.

Over 300 lines: every case is held against one undisturbed run.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
import xarray as xr
from lightning.pytorch import Callback

from conftest import TINY, Ired, Trained
from interruptions import fragment, wait_for_the_first
from ired_interp.callbacks import SaveLast
from ired_interp.module import IREDModule
from ired_interp.probes import HessianSpectrumY, InferenceTrajectory
from ired_interp.results import Run, read_result
from ired_interp.results.state import state
from ired_interp.spectra import HessianOperator

pytestmark = pytest.mark.process  # several trainings a test, some in other processes

HERE = "ired_interp.callbacks"
PROBES = [
    f"{HERE}.HessianSpectrum: {{every_n_steps: 5, problems: 4}}",
    f"{HERE}.HessianSpectrum: {{every_n_steps: 7, problems: 4, weights: raw}}",
    f"{HERE}.GradientStatistics: {{every_n_steps: 4, window: 3, collect: 20}}",
    f"{HERE}.SubspaceDrift: {{every_n_steps: 4, problems: 4, landscapes: [0, 8]}}",
    f"{HERE}.InferenceTrajectory: {{every_n_steps: 6, problems: 4}}",
]


def last(run: Path) -> dict[str, Any]:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


def results(run: Path) -> dict[str, xr.Dataset]:
    found = {str(path.relative_to(run)): read_result(path) for path in Run(run).result_files()}
    return {name: result.assign_attrs(versions="", source="") for name, result in found.items()}


def assert_same_run(one: Path, other: Path) -> None:
    first, second = last(one), last(other)
    assert first["global_step"] == second["global_step"]
    for key in ("state_dict", "current_model_state"):
        assert all(torch.equal(value, second[key][name]) for name, value in first[key].items())
    assert Run(one).metrics() == Run(other).metrics()
    assert {p.name for p in (one / "checkpoints").iterdir()} == {
        p.name for p in (other / "checkpoints").iterdir()
    }
    wanted, found = results(one), results(other)
    assert wanted.keys() == found.keys()
    for name, result in wanted.items():
        assert "failed" not in result.attrs, name
        assert result.identical(found[name]), name
    assert not list(other.glob("results/*/.*")), "no state of a measurement is left"


def ired_process(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    program = str(Path(sys.executable).with_name("ired"))
    return subprocess.Popen(
        [program, *arguments], cwd=cwd, env=environment, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture(scope="session")
def whole(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The undisturbed run with all probes."""
    return trained(*fragment(tmp_path_factory.mktemp("fragment"), *PROBES))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "quickstart"


MOMENTS = {
    "before any save": (3, signal.SIGTERM),  # inside a window of gradients
    "where validation and measurement are due": (5, signal.SIGTERM),
    "where a measurement is due": (7, signal.SIGINT),
    "where a save and the drift are due": (8, signal.SIGTERM),
    "at the last step": (12, signal.SIGTERM),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_stopped_run_loses_nothing(
    ired: Ired, whole: Path, runs: Path, tmp_path: Path, moment: str
) -> None:
    step, number = MOMENTS[moment]
    every = [*TINY, *fragment(tmp_path, *PROBES)]
    signalled = fragment(
        tmp_path, f"interruptions.SignalAt: {{step: {step}, number: {int(number)}}}"
    )
    code, _, err = ired("fit", *every, *signalled, "--name", "stopped")
    assert code == 128 + number, err
    assert f"stopped at step {step}; go on with: ired fit --resume {runs / 'stopped'}" in err
    assert state(Run(runs / "stopped")) == "stopped"
    assert last(runs / "stopped")["global_step"] == step
    code, _, err = ired("fit", "--resume", runs / "stopped")
    assert code == 0, err
    assert_same_run(whole, runs / "stopped")


def test_a_run_killed_before_its_first_periodic_save_loses_nothing(
    ired: Ired, whole: Path, runs: Path, tmp_path: Path
) -> None:
    every = [*TINY, *fragment(tmp_path, *PROBES)]
    killed = fragment(
        tmp_path, f"interruptions.SignalAt: {{step: 3, number: {int(signal.SIGKILL)}}}"
    )
    process = ired_process("fit", *every, *killed, "--name", "killed", cwd=tmp_path)
    assert process.wait() == -signal.SIGKILL, process.stderr.read()
    assert last(runs / "killed")["global_step"] == 0
    code, _, err = ired("fit", "--resume", runs / "killed")
    assert code == 0, err
    assert_same_run(whole, runs / "killed")


THETA = (
    f"{HERE}.HessianSpectrumTheta: {{every_n_steps: 6, problems: 8, landscapes: [3], "
    "eigenpairs: 12, density_probes: 3, dtype: float64}"
)


def signal_at_product(monkeypatch: Any, number: int) -> list[HessianOperator]:
    """Ask this process to stop at a Hessian product; the operators of all products so far."""
    product, asked = HessianOperator._product, []

    def signalled(self: HessianOperator, v: torch.Tensor) -> torch.Tensor:
        asked.append(self)
        if len(asked) == number:
            os.kill(os.getpid(), signal.SIGTERM)
        return product(self, v)

    monkeypatch.setattr(HessianOperator, "_product", signalled)
    return asked


def test_a_measurement_that_is_stopped_goes_on(
    ired: Ired, runs: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    every = [*TINY, *fragment(tmp_path, THETA)]
    assert ired("fit", *every, "--name", "whole")[0] == 0
    asked = signal_at_product(monkeypatch, 60)
    code, _, err = ired("fit", *every, "--name", "stopped")
    stopped = runs / "stopped"
    assert code == 128 + signal.SIGTERM, err
    assert len(asked) == 60, "the measurement ends with the product that it was in"
    assert last(stopped)["global_step"] == 6, "the state of the step that is measured"
    assert not Run(stopped).result_files()
    assert len(list(stopped.glob("results/*/.*/**/state.npz"))) == 1

    code, _, err = ired("fit", "--resume", stopped)
    assert code == 0, err
    wanted, found = results(runs / "whole"), results(stopped)
    assert wanted.keys() == found.keys()
    assert len(wanted) == 2  # steps 6 and 12
    products = sum(int(result["matvecs"]) for result in wanted.values())
    assert len(asked) - 60 + 20 < products, "Lanczos goes on, it does not begin anew"
    for name, result in wanted.items():
        assert bool(result["converged"].all())
        assert result.equals(found[name]), "every variable, the count of products too"
    assert all(
        torch.equal(v, last(stopped)["state_dict"][n])
        for n, v in last(runs / "whole")["state_dict"].items()
    )


def test_a_probe_of_a_checkpoint_that_is_stopped_goes_on(
    ired: Ired, tiny_run: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    probe = ["probe", "--ckpt", tiny_run, *fragment(tmp_path, THETA), "--problems", 8]
    asked = signal_at_product(monkeypatch, 60)
    assert ired(*probe)[0] == 128 + signal.SIGTERM
    assert len(asked) == 60
    assert not Run(tiny_run).result_files()
    code, _, err = ired(*probe)
    assert code == 0, err
    went_on = len(asked) - 60
    (file,) = Run(tiny_run).result_files()
    resumed = read_result(file)
    file.unlink()
    assert ired(*probe)[0] == 0
    whole = read_result(file)
    assert went_on + 20 < int(whole["matvecs"]), "Lanczos goes on, it does not begin anew"
    assert resumed.equals(whole)


def test_any_measurement_ends_at_once(
    ired: Ired, runs: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    def sleep(self: InferenceTrajectory, snapshot: Any) -> xr.Dataset:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        time.sleep(60)
        return xr.Dataset()

    every = [*TINY, *fragment(tmp_path, PROBES[-1])]
    assert ired("fit", *every, "--name", "whole")[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr(InferenceTrajectory, "__call__", sleep)
        begin = time.monotonic()
        code, _, err = ired("fit", *every, "--name", "stopped")
    assert code == 128 + signal.SIGINT, err
    assert time.monotonic() - begin < 50, "it did not sleep to the end"
    assert ired("fit", "--resume", runs / "stopped")[0] == 0
    assert_same_run(runs / "whole", runs / "stopped")


def test_the_state_is_saved_before_it_is_measured_and_measured_once(
    ired: Ired, runs: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    measured, measure = [], HessianSpectrumY.__call__

    def note(self: HessianSpectrumY, snapshot: Any) -> xr.Dataset:
        assert last(runs / "a")["global_step"] == snapshot.step
        measured.append(snapshot.step)
        return measure(self, snapshot)

    monkeypatch.setattr(HessianSpectrumY, "__call__", note)
    every = [*TINY, "--save_every", "100", *fragment(tmp_path, PROBES[0])]
    stopped = fragment(
        tmp_path, f"interruptions.SignalAt: {{step: 11, number: {int(signal.SIGTERM)}}}"
    )
    assert ired("fit", *every, *stopped, "--name", "a")[0] == 143
    assert ired("fit", "--resume", runs / "a")[0] == 0
    assert (
        ired("fit", "--resume", runs / "a")[0] == 0
    )  # finished: nothing is trained or measured again
    assert measured == [5, 10, 12]


def test_the_last_measurement_of_raw_weights_is_of_raw_weights(
    ired: Ired, runs: Path, tmp_path: Path
) -> None:
    """At the end of training the average takes the raw weights' place; a step that is due by schedule is measured before that in any case."""
    for name, every in (("scheduled", 4), ("last", 5)):
        probe = f"{HERE}.HessianSpectrum: {{every_n_steps: {every}, problems: 4, weights: raw}}"
        assert ired("fit", *TINY, *fragment(tmp_path, probe), "--name", name)[0] == 0
    (at_schedule, at_end) = (results(runs / name) for name in ("scheduled", "last"))
    (name,) = (n for n in at_end if "00000012" in n)
    assert at_end[name].identical(at_schedule[name])


def test_a_run_that_never_began_is_started_by_resuming_it(
    ired: Ired, tiny_run: Path, runs: Path
) -> None:
    run = Run(runs / "new")
    run.write_config(Run(tiny_run).config.read_text().replace("name: tiny", "name: new"))
    code, _, err = ired("fit", "--resume", run.path)
    assert code == 0, err
    assert "training never began: from step 0" in err
    assert_same_run(tiny_run, run.path)


def test_a_run_that_lost_its_checkpoint_is_not_begun_again(ired: Ired, tiny_run: Path) -> None:
    (tiny_run / "checkpoints" / "last.ckpt").unlink()
    code, _, err = ired("fit", "--resume", tiny_run)
    assert code == 2
    assert "holds no checkpoint" in err


class Handlers(Callback):
    """Keeps the handlers that are in force at a step."""

    def on_train_batch_end(self, *_: Any) -> None:
        self.term, self.usr1 = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGUSR1)


def test_no_handler_of_lightning_is_in_force_under_slurm(ired: Ired, monkeypatch: Any) -> None:
    """Its own would requeue at SIGUSR1 and communicate from inside the handler of SIGTERM."""
    for name, value in {
        "NTASKS": "1",
        "JOB_NAME": "train",
        "JOB_ID": "7",
        "PROCID": "0",
        "LOCALID": "0",
    }.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("SLURM_NODEID", "0")
    seen = Handlers()
    start = SaveLast.on_train_start

    def add(self: SaveLast, trainer: Any, pl_module: Any) -> None:
        assert (
            type(trainer._accelerator_connector.cluster_environment).__name__ == "SLURMEnvironment"
        )
        trainer.callbacks.append(seen)
        start(self, trainer, pl_module)

    monkeypatch.setattr(SaveLast, "on_train_start", add)
    before = signal.getsignal(signal.SIGTERM)
    code, _, err = ired("fit", *TINY, "--name", "a")
    assert code == 0, err
    assert getattr(seen.term, "__module__", None) == "ired_interp.stopping"
    assert seen.usr1 == signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) == before


def test_sigterm_ends_a_test_at_once(
    ired: Ired, trained: Trained, tmp_path: Path, monkeypatch: Any
) -> None:
    """Lightning's handler would note it alone, and a test never look for that."""
    seen, start = [], IREDModule.on_test_epoch_start

    def begin(self: IREDModule) -> None:
        seen.append(signal.getsignal(signal.SIGTERM))
        start(self)

    monkeypatch.setattr(IREDModule, "on_test_epoch_start", begin)
    before = signal.getsignal(signal.SIGTERM)
    run = shutil.copytree(trained(), tmp_path / "run")
    code, _, err = ired("test", "--ckpt", run)
    assert code == 0, err
    assert seen == [before]


NOTING = """
import os, sys
from ired_interp.stopping import defer_signals, requested
with defer_signals():
    os.set_blocking(2, False)
    try:
        while True:
            os.write(2, b".")
    except BlockingIOError:
        os.set_blocking(2, True)
    print("full", flush=True)
    print("a line that waits for room", file=sys.stderr, flush=True)
    print(requested(), flush=True)
    sys.stdin.read()
"""


def test_the_first_signal_is_noted_wherever_it_comes_and_the_second_ends_the_process() -> None:
    """Here it comes while a line is printed, where Python does not allow another print."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = subprocess.Popen(
        [sys.executable, "-c", NOTING], env=environment, stdin=-1, stdout=-1, stderr=-1
    )
    assert process.stdout.readline() == b"full\n"
    time.sleep(0.5)  # for the print to begin; were it too short, nothing would fail
    process.send_signal(signal.SIGTERM)
    read = threading.Thread(target=process.stderr.read)
    read.start()
    assert process.stdout.readline() == b"%d\n" % signal.SIGTERM
    time.sleep(1.5)  # more than the second in which two signals are one
    process.send_signal(signal.SIGTERM)
    assert process.wait() == -signal.SIGTERM
    read.join()


def test_a_run_is_saved_when_its_reader_is_gone(ired: Ired, runs: Path, tmp_path: Path) -> None:
    """Ctrl-C ends all of `ired fit … 2>&1 | tee log`."""
    at = fragment(tmp_path, f"interruptions.SignalAt: {{step: 3, number: {int(signal.SIGINT)}}}")
    process = ired_process("fit", *TINY, *at, "--name", "a", cwd=tmp_path)
    process.stderr.close()
    process.wait()
    assert last(runs / "a")["global_step"] == 3
    assert state(Run(runs / "a")) == "stopped"


def test_ranks_wait_for_the_first_longer_than_their_group_allows(tmp_path: Path) -> None:
    mp.spawn(wait_for_the_first, (f"file://{tmp_path / 'meeting'}",), nprocs=2)


def test_two_ranks_stop_together_in_a_measurement_of_the_first(
    ired: Ired, runs: Path, tmp_path: Path
) -> None:
    every = [
        *TINY,
        *fragment(
            tmp_path, *PROBES, "interruptions.SignalledProbe: {every_n_steps: 6, problems: 4}"
        ),
    ]
    two = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]
    process = ired_process("fit", *every, *two, "--name", "two", cwd=tmp_path)
    code = process.wait(timeout=600)
    err = process.stderr.read()
    assert code == 128 + signal.SIGTERM, err
    assert "stopped at step 6" in err
    assert last(runs / "two")["global_step"] == 6
    code, _, err = ired(
        "fit", "--resume", runs / "two", "--trainer.devices", 1, "--trainer.strategy", "auto"
    )
    assert code == 0, err
    names = {name.split("_average")[0].split("_raw")[0] for name in results(runs / "two")}
    assert {f"results/hessian_spectrum_y/step-{step:08d}" for step in (5, 6, 7, 10, 12)} <= names
