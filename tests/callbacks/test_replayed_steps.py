"""Steps that are replayed between those of Lightning's loop change nothing; on a CPU a replay calls the update with fixed memory for its batch."""

import signal

import pytest
import torch
from lightning.pytorch import Callback

from conftest import TINY
from interruptions import SignalAt, fragment
from ired_interp import solver
from ired_interp.callbacks import ReplayedSteps, replayed_steps
from ired_interp.capture import Capture, NotCapturedError
from ired_interp.results import Run, read_result

SLOW = (
    *TINY,
    *("--model.compile", "true", "--trainer.max_steps", "60", "--trainer.log_every_n_steps", "10"),
    *("--trainer.val_check_interval", "25", "--save_every", "30"),
    *("--model.lr_schedule", "cosine", "--model.warmup_steps", "5"),
)
MEASURED = "ired_interp.callbacks.GradientStatistics: {every_n_steps: 24, window: 4}"


@pytest.fixture
def replays(monkeypatch):
    """Let a CPU record steps, and list the numbers of those that are replayed."""
    steps: list[int] = []
    stepped = ReplayedSteps.stepped

    def noted(self):
        steps.append(self._trainer.global_step)
        stepped(self)

    monkeypatch.setattr(replayed_steps, "capturable", lambda device: True)
    monkeypatch.setattr(solver, "compiled", lambda loss, device, within: loss)
    monkeypatch.setattr(ReplayedSteps, "stepped", noted)
    return steps


class AskedToStop(SignalAt):
    """Asks the run to stop at a step, which it tells beforehand."""

    def needs(self, step):
        return step == self.step


class Watcher(Callback):
    """Acts on every batch, and does not tell at which."""

    def on_train_batch_end(self, *arguments):
        pass


def fitted(ired, tmp_path, name, *options):
    code, _, err = ired("fit", *SLOW, *options, "--name", name)
    assert code == 0, err
    return Run(tmp_path / "runs" / "quickstart" / name)


def state(run):
    content = torch.load(run.path / "checkpoints" / "last.ckpt", weights_only=True)
    kept = ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers", "loops")
    return {name: content[name] for name in kept}


def assert_equal(found, truth, where="state"):
    if isinstance(truth, torch.Tensor):
        assert torch.equal(torch.as_tensor(found), truth), where
    elif isinstance(truth, dict):
        assert found.keys() == truth.keys(), where
        for name, value in truth.items():
            assert_equal(found[name], value, f"{where}.{name}")
    elif isinstance(truth, list):
        assert len(found) == len(truth), where
        for place, value in enumerate(truth):
            assert_equal(found[place], value, f"{where}.{place}")
    else:
        assert found == truth, where


@pytest.mark.process
def test_a_replayed_run_is_bit_for_bit_the_run_of_lightnings_steps(
    ired, tmp_path, replays, monkeypatch
):
    measured = fragment(tmp_path, MEASURED)
    replayed = fitted(ired, tmp_path, "replayed", *measured)
    quiet = [s for s in range(2, 60) if s % 25 and s % 30 and -s % 24 >= 4]
    assert replays == quiet
    monkeypatch.setattr(ReplayedSteps, "covers", lambda self, step: False)
    stepped = fitted(ired, tmp_path, "stepped", *measured)
    assert replays == quiet
    assert_equal(state(replayed), state(stepped))
    assert replayed.metrics() == stepped.metrics()
    for mine, truth in zip(replayed.result_files(), stepped.result_files(), strict=True):
        assert read_result(mine).equals(read_result(truth))


@pytest.mark.process
def test_a_run_that_was_stopped_goes_on_bit_for_bit(ired, tmp_path, replays, monkeypatch):
    whole = fitted(ired, tmp_path, "whole")
    kept, on_exception = [], ReplayedSteps.on_exception

    def noted(self, *arguments):
        on_exception(self, *arguments)
        kept.append(hasattr(self, "_capture"))  # for which NCCL would wait

    monkeypatch.setattr(ReplayedSteps, "on_exception", noted)
    asked = f"{__name__}.AskedToStop: {{step: 37, number: {int(signal.SIGTERM)}}}"
    code, _, err = ired("fit", *SLOW, *fragment(tmp_path, asked), "--name", "stopped")
    assert code == 128 + signal.SIGTERM, err
    assert kept == [False]
    replays.clear()
    stopped = Run(tmp_path / "runs" / "quickstart" / "stopped")
    assert ired("fit", "--resume", stopped.path)[0] == 0
    assert replays == [s for s in range(38, 60) if s % 25]  # from the first on
    found, truth = state(stopped), state(whole)
    del found["loops"], truth["loops"]
    assert_equal(found, truth)


@pytest.mark.parametrize("reason", ["callback", "recording"])
def test_steps_that_cannot_be_replayed_are_lightnings(ired, tmp_path, replays, monkeypatch, reason):
    options = ["--trainer.max_steps", "6"]
    if reason == "callback":
        options += fragment(tmp_path, f"{__name__}.Watcher")
    else:

        def refuse(self, function, inputs=(), generators=()):
            function(*inputs)
            raise NotCapturedError("it waits for the device")

        monkeypatch.setattr(Capture, "record", refuse)
    code, _, err = ired("fit", *SLOW, *options, "--name", "a")
    assert code == 0, err
    said = "Watcher acts on every batch" if reason == "callback" else "it waits for the device"
    assert f"not replayed as a CUDA graph: {said}" in err
    assert replays == ([] if reason == "callback" else [2])
    if reason == "callback":
        return
    monkeypatch.setattr(replayed_steps, "capturable", lambda device: False)
    truth = fitted(ired, tmp_path, "b", "--trainer.max_steps", "6")
    weights = state(Run(tmp_path / "runs" / "quickstart" / "a"))["current_model_state"]
    for name, value in state(truth)["current_model_state"].items():
        torch.testing.assert_close(weights[name], value, rtol=1e-4, atol=1e-6)
