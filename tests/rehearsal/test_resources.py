"""Memory that grows from step to step is found; time on a GPU is counted once."""

from pathlib import Path

import numpy as np
import pytest

from ired_interp.rehearsal.gpu import union_length
from ired_interp.rehearsal.memory import growth
from rehearsals import SMALL, checks, failure, passed, probes_file

KEEPING = """
class Keeper(Callback):
    def __init__(self) -> None:
        self.kept = []
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        {keep}
"""


@pytest.mark.process
def test_a_callback_that_keeps_every_graph_leaks(user_module, tmp_path: Path):
    user_module(
        "forgetting", KEEPING.format(keep="self.kept = [pl_module.energy(batch.x, batch.y, 0)]")
    )
    added = probes_file(tmp_path, "forgetting.Keeper")
    assert passed(checks(["fit", *SMALL, *added], thorough=True))[-2:] == ["memory", "gpu"]
    user_module(
        "keeping", KEEPING.format(keep="self.kept.append(pl_module.energy(batch.x, batch.y, 0))")
    )
    check, message = failure("fit", *SMALL, *probes_file(tmp_path, "keeping.Keeper"), thorough=True)
    assert check == "memory"
    assert "resident memory grew by" in message
    assert "detach() or drop" in message


@pytest.mark.process
def test_repetitions_that_keep_a_batch_grow_and_others_do_not():
    kept = []
    size = 2**18  # float64: 2 MiB
    assert growth(lambda: np.ones(size)) < 2**20
    grown = growth(lambda: kept.append(np.ones(size)))
    assert grown == pytest.approx(30 * size * 8, rel=0.1)  # pages, and what else the process does


def test_busy_time_counts_overlapping_kernels_once():
    assert union_length([(0, 2), (1, 3), (5, 6), (5.5, 5.75)]) == 4
