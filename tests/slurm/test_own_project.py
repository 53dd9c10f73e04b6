"""A project of somebody else's, which has a configuration and a module, and ired-interp installed."""

import re
import subprocess
import sys

import pytest
from project import Project
from slurm_cluster import Cluster, wait_until

from ired_interp.cluster.slurm import ACTIVE
from own_energy import CONFIG, ENERGY, SMALL

pytestmark = pytest.mark.timeout(1800)  # jobs start slowly where others work, too


def test_it_submits_after_init_and_its_run_is_measured_here(
    repository: Project, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
):
    (repository.root / ".gitignore").write_text("/runs/\n/jobs/\n")
    repository.add("experiments/own_bowl.py", ENERGY)
    repository.add("experiments/bowl.yaml", CONFIG)
    code, out, err = repository.ired("init", "slurm")
    assert code == 0, err
    assert str(repository.root / "slurm" / "profiles" / "default.yaml") in out
    repository.profile()
    monkeypatch.delitem(sys.modules, "own_bowl", raising=False)
    fit = ["fit", "--config", "experiments/bowl.yaml", "--config", "hessian_spectrum", *SMALL]
    code, _, err = repository.ired("submit", "--detach", "--", *fit, "--name", "first")
    assert code == 0, err
    assert "probe: hessian_spectrum_y" in err, err
    found = re.search(r"queued job (\d+)", err)
    assert found, err
    job = found[1]
    wait_until(lambda: cluster.state(job) not in ACTIVE, f"job {job} has ended")
    assert cluster.state(job) == "COMPLETED", (repository.jobs()[-1] / "log.txt").read_text()
    run = repository.root / "runs" / "default" / "first"
    commit = repository.git("rev-parse", "HEAD").strip()
    folder = repository.root.parent / "scratch" / "sources" / commit / "experiments"
    assert (run / "modules.txt").read_text() == f"{folder}\n"
    elsewhere = repository.root.parent
    program = [f"{sys.prefix}/bin/ired", "probe", "--ckpt", str(run), "--problems", "3"]
    done = subprocess.run(program, cwd=elsewhere, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_without_requirements_it_is_told_what_to_write(repository: Project, cluster: Cluster):
    repository.add(".gitignore", "/runs/\n/jobs/\n")
    repository.profile(environment=None)
    fit = ["fit", "--config", "quickstart", *SMALL]
    code, _, err = repository.ired("submit", "--", *fit)
    assert code == 2
    assert "has neither requirements.txt nor pyproject.toml" in err
    assert "write requirements.txt with the line that installs ired-interp" in err
    repository.add("requirements.txt", "ired-interp\n")
    code, script, err = repository.ired("submit", "--dry-run", "--", *fit)
    assert code == 0, err
    assert "will be made of requirements.txt" in err
    assert "prepare" in script
