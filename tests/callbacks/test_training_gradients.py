"""The callback's numbers are those of the gradients that training used."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback

from ired_interp.callbacks import GradientStatistics
from ired_interp.errors import InputError
from ired_interp.probes.gram_statistics import gram_statistics
from ired_interp.results import Run, read_result
from ired_interp.results.collection import Collection


class Spy(Callback):
    """Keeps every gradient."""

    def __init__(self) -> None:
        self.gradients: dict[int, torch.Tensor] = {}

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        flat = [p.grad.flatten() for p in pl_module.energy.parameters()]
        self.gradients[trainer.global_step + 1] = torch.cat(flat).double()


def test_reads_the_gradients_of_each_window(fit: Callable[..., Any], tmp_path: Path) -> None:
    spy = Spy()
    fit(spy, GradientStatistics(every_n_steps=6, window=4, collect=7))
    results = [read_result(path) for path in Run(tmp_path / "run").result_files()]
    assert [r.attrs["step"] for r in results] == [6, 12]
    for result in results:
        updates = list(range(result.attrs["step"] - 3, result.attrs["step"] + 1))
        assert list(result["update"].values) == updates
        g = torch.stack([spy.gradients[u] for u in updates]).numpy()
        truth = gram_statistics(g @ g.T, 16)
        mine = result.sel(layer="all")
        for name in ("signal", "noise", "noise_scale", "mean_cosine", "participation"):
            # float64 sums of the same float32 numbers in another order; the signal is a small difference of large sums
            np.testing.assert_allclose(
                mine[name], truth[name], rtol=1e-6, atol=1e-12 * float((g * g).sum())
            )
        cosine = (
            (g[1:] * g[:-1]).sum(1) / np.linalg.norm(g[1:], axis=1) / np.linalg.norm(g[:-1], axis=1)
        )
        np.testing.assert_allclose(mine["consecutive_cosine"], cosine, rtol=1e-9)
        layers = result.drop_sel(layer="all")
        np.testing.assert_allclose((layers["norm"] ** 2).sum("layer"), mine["norm"] ** 2, rtol=1e-9)

    kept = Collection(tmp_path / "run" / "gradients")
    assert list(kept.steps) == [3, 4, 5, 6, 9, 10, 11]  # full after seven
    for row, step in enumerate(kept.steps):
        # layers are grouped: compare what does not depend on order; float16 shares are right to 2^-11 of each entry
        np.testing.assert_allclose(
            np.sort(kept[row]), np.sort(spy.gradients[step].numpy()), rtol=2**-10, atol=1e-6
        )
    assert kept[:][:, kept.part("fc4")].shape == (7, 16 * 8 + 16)


def test_collection_survives_a_kill_and_going_back(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((4, 10)).astype(np.float32) * np.array(
        [[1e-6], [1], [1e6], [0]]
    )
    writer = Collection(tmp_path / "c", {"a": 4, "b": 6}, 4)
    for step in (10, 20, 30):
        assert writer.append(step, vectors[step // 10 - 1])
    writer._vectors[3] = 7.0  # killed while the fourth was written: no step yet
    reader = Collection(tmp_path / "c")
    assert len(reader) == 3
    np.testing.assert_allclose(reader[:], vectors[:3], rtol=2**-10, atol=1e-3 * 1e-6)
    again = Collection(tmp_path / "c", {"a": 4, "b": 6}, 4)
    again.keep_until(20)
    again.append(25, vectors[3])
    assert list(reader.steps) == [10, 20, 25]  # the open reader sees what is written
    np.testing.assert_array_equal(reader[2], 0)
    with pytest.raises(InputError, match="other vectors"):
        Collection(tmp_path / "c", {"a": 10}, 4)
    with pytest.raises(InputError, match="no collection"):
        Collection(tmp_path / "d")


def test_complaints() -> None:
    with pytest.raises(InputError, match="window"):
        GradientStatistics(every_n_steps=5, window=6)
