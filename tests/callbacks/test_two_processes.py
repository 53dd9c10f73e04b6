"""A stranger's LightningModule under DDP: what one process measures, and a training without a trace."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from ired_interp.callbacks import GradientStatistics, Spectrum, SubspaceDrift
from lit_modules import Plain, data, same, train
from two_tasks import results, torchrun, two

pytestmark = pytest.mark.process

PROGRAM = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
PROGRAM += f"sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
PROGRAM += "from test_two_processes import both; both(sys.argv[1])"
LABELS = {
    "hessian_spectrum_loss",
    "gradient_statistics_loss",
    "subspace_drift_hessian_theta_training",
}


class Double(Plain):
    """In float64, with a validation set."""

    def __init__(self) -> None:
        super().__init__()
        self.double()

    def validation_step(self, batch: Any) -> None:
        self.training_step(batch)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), 0.02)


def doubled(rows: int, batch: int, first: int = 0, every: int = 1) -> DataLoader[Any]:
    """Every so manieth of some rows, in order."""
    x, y = data(rows).dataset.tensors  # type: ignore[attr-defined]
    return DataLoader(TensorDataset(x.double()[first::every], y[first::every]), batch)


def measures(tol: float) -> list[Any]:
    few: dict[str, Any] = {"every_n_steps": 2, "loader": "val", "batches": 3}
    return [
        Spectrum(eigenpairs=4, tol=tol, density_probes=2, density_steps=10, **few),
        GradientStatistics(**few),
        SubspaceDrift(p=2, **few),
    ]


def both(folder: str) -> None:
    """Train one module with the callbacks on two ranks, and another with and without them."""
    ddp: dict[str, Any] = {"strategy": "ddp", "devices": 2}
    mine = int(os.environ["RANK"]), 2
    shares: dict[str, Any] = {"loader": doubled(64, 8, *mine), "validation": doubled(48, 8, *mine)}
    settings = shares | ddp | {"use_distributed_sampler": False}
    train(Path(folder, "double"), *measures(1e-9), module=Double, **settings)
    ends = [
        train(Path(folder, name), *callbacks, max_steps=3, **ddp).state_dict()
        for name, callbacks in (("plain", []), ("seen", measures(1e-3)))
    ]
    if not same(*ends):
        sys.exit("training left a trace")


def test_two_ranks_measure_what_one_process_does_and_leave_no_trace(tmp_path: Path) -> None:
    for code, _, said in two(torchrun, tmp_path, tmp_path / "two", program=PROGRAM):
        assert code == 0, said[-2000:]
    # What both ranks train on, and what the first of them measures on.
    whole: dict[str, Any] = {"loader": doubled(64, 16), "validation": doubled(48, 8, 0, 2)}
    train(tmp_path / "one", *measures(1e-9), module=Double, **whole)
    expected, found = results(tmp_path / "one"), results(tmp_path / "two" / "double")
    assert found.keys() == expected.keys()
    assert {Path(file).parent.name for file in expected} == LABELS
    for file, one in expected.items():
        assert "failed" not in one.attrs
        for name, variable in one.variables.items():
            if variable.dtype.kind == "f" and name != "residuals":
                atol = 1e-7 * np.abs(np.nan_to_num(variable.values)).max()
                other = found[file][name].values
                np.testing.assert_allclose(
                    other, variable.values, 0, atol, err_msg=f"{file} {name}"
                )
    assert list((tmp_path / "two" / "seen").rglob("*.nc"))
