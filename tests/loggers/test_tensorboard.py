"""TensorBoard's files lie in the run's folder and hold metrics and results at updates done."""

from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from conftest import ROOT, TINY, Ired


def test_tensorboard_holds_metrics_and_results(ired: Ired, tmp_path: Path) -> None:
    fragments = [
        "--config",
        "callbacks/hessian_spectrum.yaml",
        "--config",
        str(ROOT / "loggers" / "tensorboard.yaml"),
    ]
    code, _, err = ired("fit", *TINY, *fragments, "--name", "tiny")
    assert code == 0, err
    events = EventAccumulator(str(tmp_path / "runs" / "quickstart" / "tiny" / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [2, 4, 6, 8, 10, 12]
    assert [event.step for event in events.Scalars("hessian_spectrum_y/lambda_median/k0")] == [12]
