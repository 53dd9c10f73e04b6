"""Modules of the user's own."""

import sys
from pathlib import Path

import pytest

from conftest import ROOT, Ired

HEAD = """
import numpy as np
import torch
from torch import nn
from lightning.pytorch import Callback
from ired_interp.callbacks import ProbeCallback
from ired_interp.energy import Energy
from ired_interp.errors import RunError
from ired_interp.probes import Probe
from ired_interp.tasks import Inverse
from ired_interp.tasks.base import Problems
"""


@pytest.fixture
def user_module(ired: Ired, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write a module of the user's own into the empty folder of `ired`, and return its path."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "loggers").symlink_to(ROOT / "loggers")

    def write(name: str, text: str) -> Path:
        file = tmp_path / f"{name}.py"
        file.write_text(HEAD + text)
        monkeypatch.delitem(sys.modules, name, raising=False)
        return file

    return write
