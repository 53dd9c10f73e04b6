"""The failures that once cost eleven submissions, planted one by one: each is found before a job is queued, and said."""

import re
from pathlib import Path

import pytest
from project import Project
from slurm_cluster import Cluster

from conftest import TINY

pytestmark = pytest.mark.timeout(1800)  # jobs start slowly where others work, too

ENERGY = """
import torch
from ired_interp.energy import MLPEnergy as Base


class Mine(Base):
    pass
"""
TASK = """
import numpy as np
from ired_interp.tasks import Inverse, Problems


class Arrays(Inverse):
    def sample(self, count, generator, variant="same"):
        return Problems(np.random.rand(count, self.condition_dim), np.random.rand(count, self.solution_dim))
"""
PROBE = """
import torch
import xarray as xr
from pyhessian import hessian
from ired_interp.callbacks.probe import ProbeCallback
from ired_interp.probes import Probe


class Eigenvalue(Probe):
    name = "eigenvalue"

    def __call__(self, snapshot):
        energy, (x, y) = snapshot.module.energy, snapshot.batch
{body}
        return xr.Dataset({{"eigenvalue": value}})


class Eigenvalues(ProbeCallback):
    def __init__(self):
        super().__init__(Eigenvalue())
"""
FIXED_MODEL = """
        class Joined(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.energy = energy

            def forward(self, inputs):
                return self.energy(x, inputs, 0)

        computed = hessian(Joined(), lambda out, target: out.mean(), data=(y, y), cuda=False)
"""
BODIES = {
    "6, constructor": ("        value = hessian(energy).eigenvalues()", "TypeError"),
    "7, model(inputs)": (
        "        value = hessian(energy, lambda out, target: out.mean(), data=(x, y), cuda=False).eigenvalues()",
        "TypeError",
    ),
    "10, keyword": (
        FIXED_MODEL + "        value = computed.eigenvalues(num_eigenthings=1)",
        "num_eigenthings",
    ),
    "11, nested value": (
        FIXED_MODEL + "        value = float(computed.eigenvalues()[0])",
        "TypeError",
    ),
}


@pytest.fixture
def refused(project: Project, cluster: Cluster):
    """Submit, see the submission refused with nothing queued, and return the lines of failed checks."""

    def submit(*arguments: object) -> str:
        before = cluster.jobs()
        code, _, err = project.ired("submit", "--", *arguments)
        assert code == 2, err
        assert cluster.jobs() == before
        assert not project.jobs()
        failures = re.findall(r"^(?:FAIL|ired:) .*(?:\n     → .*)?", err, re.MULTILINE)
        assert failures, err
        return "\n".join(failures)

    return submit


def test_1_a_relative_log_path(project: Project, refused):
    project.profile(options=["--output=logs/%j.out"])
    assert "'--output=logs/%j.out'" in refused("fit", *TINY)


def test_2_a_project_that_was_never_committed(project: Project, refused):
    (project.root / "exp001").mkdir()
    (project.root / "exp001" / "run.yaml").write_text("seed_everything: 3\n")
    (project.root / "exp001" / "energy.py").write_text(ENERGY)
    found = refused("fit", *TINY, "--config", "exp001/run.yaml")
    assert "exp001/run.yaml (untracked)" in found
    assert "exp001/energy.py (untracked)" in found
    assert "git add, git commit, git push" in found


def test_2_a_change_that_was_not_committed(project: Project, refused):
    with (project.root / "configs" / "quickstart.yaml").open("a") as file:
        file.write("# changed\n")
    assert "configs/quickstart.yaml (changed)" in refused("fit", *TINY)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "ired_interp.energy import MLPEnergy",
            "ired_interp.models import MLPEnergy",
            "ired_interp.models",
        ),
        ("import MLPEnergy as", "import MlpEnergy as", "MlpEnergy"),
    ],
    ids=["3, wrong module", "4, wrong name"],
)
def test_a_class_that_is_imported_wrongly(
    project: Project, refused, old: str, new: str, words: str
):
    project.add("mine.py", ENERGY.replace(old, new))
    found = refused("fit", *TINY, "--model.energy", "mine.Mine")
    assert "configuration" in found
    assert words in found


def test_5_arrays_where_tensors_are_expected(project: Project, refused):
    project.add("mine.py", TASK)
    found = refused("fit", *TINY, "--data.task", "mine.Arrays")
    assert "problems" in found
    assert "ndarray" in found


@pytest.mark.parametrize("failure", BODIES)
def test_pyhessian_called_wrongly(project: Project, refused, failure: str):
    body, words = BODIES[failure]
    project.add("mine.py", PROBE.format(body=body))
    found = refused("fit", *TINY, "--trainer.callbacks+", "mine.Eigenvalues")
    assert "training" in found
    assert words in found
    assert "mine.py:" in found, "the line of the project's own code is named"


def test_8_a_model_and_data_of_different_sizes(project: Project, refused):
    code, _, err = project.ired("fit", *TINY, "--name", "first")
    assert code == 0, err
    project.add("configs/small.yaml", "data:\n  task: {class_path: Inverse, init_args: {n: 2}}\n")
    found = refused("probe", "--ckpt", "runs/quickstart/first", "--config", "configs/small.yaml")
    assert "16" in found
    assert "4" in found
    assert "checkpoint" in found


def test_9_a_commit_that_is_not_on_the_remote(project: Project, refused):
    project.git("commit", "--quiet", "--allow-empty", "--message", "not pushed")
    found = refused("fit", *TINY)
    assert "on the remote" in found
    assert "git push" in found
    assert project.git("rev-parse", "HEAD")[:10] in found


def test_a_missing_checkpoint(refused):
    found = refused("probe", "--ckpt", "runs/quickstart/none")
    assert "runs/quickstart/none does not exist" in found


def test_all_that_is_wrong_is_said_at_once(project: Project, refused):
    (project.root / "runs" / "quickstart" / "taken").mkdir(parents=True)
    project.profile(partition="short", time="2:00:00", signal=10, tasks=2)
    found = refused("fit", *TINY, "--name", "taken", "--trainer.devices", 4)
    for words in (
        "trainer.devices is 4",
        "raise signal",
        "taken exists",
        "above the partition's, 30 min",
    ):
        assert words in found


def test_a_request_that_slurm_would_refuse(project: Project, refused):
    project.profile(partition="nowhere")
    assert "SLURM: it refuses the request: Invalid partition" in refused("fit", *TINY)


def test_outside_of_a_repository(project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    code, _, err = project.ired("submit", "--", "fit", *TINY)
    assert code == 2
    assert "is in no git repository" in err
