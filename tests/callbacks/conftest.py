"""Short runs of a small model inside a Trainer."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from ired_interp.callbacks import WeightAveraging
from ired_interp.energy import MLPEnergy
from ired_interp.lightning_cli import quiet
from ired_interp.module import IREDModule
from ired_interp.solver import SolverModule
from ired_interp.tasks import TaskData
from ired_interp.tasks.completion import Completion

Fit = Callable[..., IREDModule]


@pytest.fixture
def fit(tmp_path: Path) -> Fit:
    """Train for a number of steps, in a run folder, and return the module."""

    def run(
        *callbacks: Callback,
        steps: int = 12,
        folder: str = "run",
        resume: Path | None = None,
        module: SolverModule | None = None,
    ) -> SolverModule:
        quiet()
        if module is None:
            with torch.random.fork_rng():
                torch.manual_seed(0)
                module = IREDModule(MLPEnergy(16, 16, width=8), lr=1e-3)
        trainer = Trainer(
            max_steps=steps,
            accelerator="cpu",
            callbacks=[WeightAveraging(every_n_steps=2), *callbacks],
            default_root_dir=tmp_path / folder,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            gradient_clip_val=1.0,
        )
        data = TaskData(Completion(4, rank=2, noise=0.0), batch_size=16)
        trainer.fit(module, data, ckpt_path=resume, weights_only=True)
        return module

    return run
