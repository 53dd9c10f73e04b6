"""Snapshots to measure: perfect energies with known truths, and a small network."""

import pytest
import torch

from ired_interp.energy import Energy, MLPEnergy
from ired_interp.module import IREDModule
from ired_interp.probes import Snapshot
from ired_interp.random import stream
from ired_interp.tasks import ExactEnergy
from ired_interp.tasks.base import Task
from ired_interp.tasks.inverse import Inverse
from ired_interp.tasks.linear_gaussian import LinearGaussian


def snapshot_of(energy: Energy, task: Task, problems: int, step: int = 0) -> Snapshot:
    return Snapshot(IREDModule(energy), task.sample(problems, stream("cpu", 7)), task, step)


@pytest.fixture
def gaussian() -> Snapshot:
    task = LinearGaussian(6)
    return snapshot_of(ExactEnergy(task), task, 4000)


@pytest.fixture
def exact_inverse() -> Snapshot:
    task = Inverse(4)
    return snapshot_of(ExactEnergy(task), task, 24)


@pytest.fixture
def network() -> Snapshot:
    """An untrained network, its numbers a function of the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        energy = MLPEnergy(16, 16, width=12, landscapes=10)
    return snapshot_of(energy, Inverse(4), 12)
