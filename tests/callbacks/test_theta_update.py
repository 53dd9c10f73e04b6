"""The optimizer's last step reaches the spectrum in θ, in training and from a checkpoint."""

from pathlib import Path

import torch
import xarray as xr
from lightning.pytorch import Callback

from conftest import TINY, Ired
from ired_interp.callbacks import HessianSpectrumTheta as During
from ired_interp.probes import HessianSpectrumTheta
from ired_interp.probes.last_update import last_update
from ired_interp.results import Run


def trained(module):
    return {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}


def test_update_in_training_is_what_the_weights_moved_by(fit, monkeypatch):
    seen, weights = [], []

    def measure(self, snapshot):
        steps, _ = last_update(snapshot.optimizer, trained(snapshot.module))
        seen.append(torch.cat([step.flatten() for step in steps.values()]))
        return xr.Dataset()

    class Record(Callback):
        def on_train_batch_start(self, trainer, pl_module, *_):
            weights.append(torch.cat([p.flatten().clone() for p in trained(pl_module).values()]))

        def on_train_end(self, trainer, pl_module):
            self.on_train_batch_start(trainer, pl_module)

    monkeypatch.setattr(HessianSpectrumTheta, "__call__", measure)
    fit(Record(), During(every_n_steps=1, weights="raw", problems=2), steps=3)
    assert len(seen) == 3
    for step, before, after in zip(seen, weights[:-1], weights[1:], strict=True):
        moved = (after - before).double()
        assert torch.cosine_similarity(step, moved, dim=0) > 1 - 1e-6


def test_a_checkpoint_gives_the_update_that_training_saw(ired: Ired, tmp_path: Path, monkeypatch):
    seen = []

    def measure(self, snapshot):
        seen.append(last_update(snapshot.optimizer, trained(snapshot.module)))
        return xr.Dataset({"share": 1.0})

    monkeypatch.setattr(HessianSpectrumTheta, "__call__", measure)
    monkeypatch.setattr(HessianSpectrumTheta, "summary", lambda self, result: "")
    fragment = ["--config", "callbacks/hessian_spectrum_theta.yaml"]
    code, _, err = ired("fit", *TINY, *fragment, "--name", "a")
    assert code == 0, err
    last = Run(tmp_path / "runs" / "quickstart" / "a").last_checkpoint()
    code, _, err = ired("probe", "--ckpt", str(last), *fragment)
    assert code == 0, err
    (during, whose), (afterwards, named) = seen
    assert whose == named
    assert "last step of Adam" in whose
    for name, step in during.items():
        torch.testing.assert_close(afterwards[name], step)
