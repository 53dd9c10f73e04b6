"""What docs/extending.md shows is a whole package: written into an empty folder, its commands run, and what it measures and draws is there by name."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import ired_interp as ii
from conftest import ROOT
from ired_interp.checkpoint import read_checkpoint
from ired_interp.errors import InputError
from ired_interp.random import stream

pytestmark = pytest.mark.process

BLOCKS = re.findall(
    r"^```(\w+)\n(.*?)^```$", (ROOT / "docs" / "extending.md").read_text(), re.M | re.S
)
SMALL = "--trainer.max_steps 4 --data.validation_problems 40 --data.test_problems 40"
PROGRAM = "import sys; from ired_interp.cli import main; sys.exit(main(sys.argv[1:]))"


def ired(folder: Path, arguments: str, **variables: str) -> str:
    """Run the program in a process of its own."""
    command = [sys.executable, "-c", PROGRAM, *shlex.split(arguments)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "IRED_"))}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}  # as for the installed program
    environment |= variables
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=environment, timeout=600
    )
    assert done.returncode == 0, f"{arguments}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def outsider(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the package, after every command of the page."""
    folder = tmp_path_factory.mktemp("outsider")
    for language, text in BLOCKS:
        if language != "bash":
            file = folder / text.splitlines()[0].removeprefix("# ")
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
    for line in next(text for language, text in BLOCKS if language == "bash").splitlines():
        small = SMALL if line.startswith("ired fit") else ""
        ired(folder, f"{line.removeprefix('ired ')} {small}")
    return folder


def test_the_probe_measured_in_training_when_the_callback_said_and_afterwards_by_name(
    outsider: Path,
):
    run = ii.open(outsider / "runs" / "sorting" / "first")
    assert run.skipped == []
    assert {"energy_gap", "hessian_spectrum_y"} <= set(run.probes)
    near = run.find("energy_gap", **{"probe.distance": 0.25})
    far = run.find("energy_gap", **{"probe.distance": 0.5})
    assert near.steps == [1, 2, 4]
    assert far.steps == [4]


def test_what_it_measured_is_what_the_energy_says(outsider: Path, monkeypatch: pytest.MonkeyPatch):
    run = outsider / "runs" / "sorting" / "first"
    found = ii.open(run).find("energy_gap", **{"probe.distance": 0.25}).at(4)
    monkeypatch.setattr(sys, "path", [*sys.path, str(outsider)])
    with pytest.raises(
        InputError, match=r"--modules sorting\.energy"
    ):  # from here, it is a stranger's
        read_checkpoint(run).build()
    checkpoint = read_checkpoint(run, modules=["sorting.energy", "sorting.task"])
    module, data = checkpoint.build()
    assert data is not None
    checkpoint.load_into(module, "average")
    x, y, *_ = data.evaluation_batch("probe", "same", 0, 32, torch.device("cpu"))
    assert torch.equal(y, x.sort(1).values)
    drawn = torch.randn(y.shape, generator=stream(y.device, 0))
    away = y + 0.25 * drawn / drawn.norm(dim=1, keepdim=True)
    gap = [(module.energy(x, away, k) - module.energy(x, y, k)).mean().item() for k in range(10)]
    np.testing.assert_allclose(found["gap"], gap, rtol=1e-4)


def test_the_figure_is_drawn_for_its_probe_on_the_page_and_for_a_paper(outsider: Path):
    names = {path.name for path in (outsider / "figures").iterdir()}
    assert {"energy_gap.pdf", "energy_gap.svg", "energy_gap.png"} <= names
    page = (outsider / "runs" / "sorting" / "first" / "report.html").read_text()
    assert "Energy gap" in page
    assert 'aria-label="gap"' in page


def test_the_report_finds_the_figures_of_a_project_and_says_so_where_they_are_left_out(
    outsider: Path, tmp_path: Path
):
    run = outsider / "runs" / "sorting" / "first"
    out = ired(tmp_path, f"report {run} --output strange.html")
    assert "as the run lies outside of the current folder" in out
    project = {"IRED_PROJECT": str(outsider)}
    out = ired(tmp_path, f"report {run} --output here.html --figures drawn", **project)
    assert "left out" not in out
    assert (tmp_path / "drawn" / "energy_gap.pdf").is_file()
    package = outsider / "sorting"
    package.rename(outsider / "gone")
    try:
        out = ired(tmp_path, f"report {run} --output there.html --figures bare", **project)
    finally:
        (outsider / "gone").rename(package)
    assert "left out: figures that sorting.callback may bring" in out
    assert (tmp_path / "bare" / "energy_gap.csv").is_file()
    assert not (tmp_path / "bare" / "energy_gap.pdf").exists()


def test_a_report_of_shipped_classes_alone_loads_no_torch(tiny_run: Path, tmp_path: Path):
    program = PROGRAM.replace("sys.exit(main(sys.argv[1:]))", "main(['report', sys.argv[1]])")
    program += "; sys.exit('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program, str(tiny_run)], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert (tiny_run / "report.html").is_file()
