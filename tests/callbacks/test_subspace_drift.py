"""The drift callback's history survives a stop, and none of the callbacks changes training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from ired_interp.callbacks import (
    GradientStatistics,
    HessianSpectrum,
    InferenceTrajectory,
    SubspaceDrift,
)
from ired_interp.errors import InputError
from ired_interp.module import IREDModule
from ired_interp.results import Run, read_result

Fit = Callable[..., IREDModule]


class SaveAt(Callback):
    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def drifts() -> list[SubspaceDrift]:
    return [
        SubspaceDrift(every_n_steps=4, problems=8, landscapes=[0, 8]),
        SubspaceDrift(
            every_n_steps=4,
            problems=8,
            landscapes=[5],
            source="gradients",
            space="theta",
            weights="raw",
        ),
    ]


@pytest.mark.process  # six seconds of training
def test_history_goes_on_after_a_kill(fit: Fit, tmp_path: Path) -> None:
    """Saved at step 5, killed at 8, with a measurement in between: the resumed run ends as the whole one."""
    fit(*drifts(), folder="whole")
    fit(*drifts(), SaveAt(5, tmp_path / "last.ckpt"), steps=8, folder="killed")
    fit(*drifts(), folder="killed", resume=tmp_path / "last.ckpt")
    results = {folder: Run(tmp_path / folder).result_files() for folder in ("whole", "killed")}
    names = [
        {path.relative_to(tmp_path / folder) for path in paths} for folder, paths in results.items()
    ]
    assert names[0] == names[1]
    assert len(names[0]) == 8  # steps 0, 4, 8, 12 of each
    for path in sorted(names[0]):
        whole, killed = (read_result(tmp_path / folder / path) for folder in results)
        assert whole.drop_attrs().identical(killed.drop_attrs()), path
    assert list(whole["label"].values) == [0, 4, 8, 12]


def test_settings_that_do_not_fit_are_refused_before_the_first_step(
    fit: Fit, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="p=16"):
        fit(SubspaceDrift(p=16))
    assert Run(tmp_path / "run").result_files() == []


@pytest.mark.process
def test_training_is_bit_identical(fit: Fit) -> None:
    plain = fit(folder="plain").state_dict()
    callbacks = [
        GradientStatistics(every_n_steps=4, window=3, collect=4),
        InferenceTrajectory(every_n_steps=3, problems=6),
        HessianSpectrum(every_n_steps=5, problems=6),
        *drifts(),
    ]
    measured = fit(*callbacks, folder="measured").state_dict()
    assert all(torch.equal(plain[name], measured[name]) for name in plain)
