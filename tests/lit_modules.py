"""Plain LightningModules, as people have them, and a short training of one."""

import random
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import Accuracy

from ired_interp.results import read_result

cross_entropy = nn.functional.cross_entropy


class Lit(L.LightningModule):
    """What people's modules do: batch norm, dropout, logging, metrics, lists of losses, own random draws."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 3)
        )
        self.accuracy = Accuracy("multiclass", num_classes=3)
        self.generator = torch.Generator().manual_seed(1)
        self.losses: list[Tensor] = []
        self.calls = 0

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        x += 0.01 * torch.randn(x.shape, generator=self.generator)  # in place
        loss = cross_entropy(self.net(x), y)
        self.accuracy(self.net(x), y)
        self.losses.append(loss)
        self.calls += 1
        self.log("train_loss", loss)
        self.log("lr", self.optimizers().param_groups[0]["lr"])  # type: ignore[union-attr]
        self.logger.log_metrics({"seen": self.calls}) if self.logger else None
        return {"loss": loss}

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", cross_entropy(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), 0.02)


class Plain(L.LightningModule):
    """A module of one line, whose loss is a mean over samples."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))

    def training_step(self, batch: Any) -> Any:
        return cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


def data(rows: int = 64, batch: int = 8, **settings: Any) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 5, generator=generator)
    y = (x[:, :3] + 0.5 * torch.randn(rows, 3, generator=generator)).argmax(1)
    return DataLoader(TensorDataset(x, y), batch, **settings)


def train(
    folder: Path,
    *callbacks: L.Callback,
    module: Any = None,
    loader: Any = None,
    validation: Any = None,
    **settings: Any,
) -> L.LightningModule:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        module = Lit() if module is None else module() if isinstance(module, type) else module
        usual: dict[str, Any] = {"max_steps": 4, "logger": False, "enable_checkpointing": False}
        trainer = L.Trainer(
            accelerator="cpu",
            callbacks=list(callbacks),
            default_root_dir=folder,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            **(usual | settings),
        )
        if type(module) is Lit:
            validation = data(24, 8)
        trainer.fit(module, data(shuffle=True) if loader is None else loader, validation)
    return module  # type: ignore[no-any-return]


def same(first: Any, second: Any) -> bool:
    if isinstance(first, Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


def last(folder: Path, probe: str) -> Any:
    return read_result(sorted((folder / "results" / probe).glob("*.nc"))[-1])
