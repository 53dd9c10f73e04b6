"""The notebook of docs/ runs from its first cell to its last in an empty folder, and shows what it says."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT

NOTEBOOK = ROOT / "docs" / "first_steps.ipynb"
CELLS = [c for c in json.loads(NOTEBOOK.read_text())["cells"] if c["cell_type"] == "code"]


@pytest.mark.process
def test_the_cells_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    space: dict[str, Any] = {}
    for cell in CELLS:
        exec("".join(cell["source"]), space)
    assert space["opened"].probes == ["hessian_spectrum_y"]
    assert space["solution"].y.shape == space["y"].shape
    assert bool((space["found"]["lambda_median"] > 0).all())


def test_every_cell_was_executed_in_order_and_none_failed():
    assert [cell["execution_count"] for cell in CELLS] == list(range(1, len(CELLS) + 1))
    kinds = {output["output_type"] for cell in CELLS for output in cell["outputs"]}
    assert kinds == {"stream", "execute_result"}
