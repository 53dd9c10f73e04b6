"""What sites and accidents do to a submission, against the real SLURM; the jobs themselves train nothing."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from project import Project
from slurm_cluster import NODES, Cluster, wait_until

from conftest import TINY
from ired_interp.cluster import slurm
from ired_interp.cluster.host import Host
from ired_interp.cluster.job import Job
from ired_interp.cluster.profile import Profile
from ired_interp.cluster.queueing import job_folder, queue
from ired_interp.cluster.repository import find_repository
from ired_interp.cluster.slurm import ACTIVE
from ired_interp.cluster.submission import Submission, submissions, task_states
from ired_interp.cluster.tasks import JobTask
from ired_interp.errors import InputError

pytestmark = pytest.mark.timeout(1800)  # jobs start slowly where others work, too


def submit(project: Project, run: str = "first", **settings: object) -> Submission:
    """Queue a job that sleeps instead of training, without checks before."""
    root, host = project.root, Host()
    environment = root.parent / "environment"
    (environment / "bin").mkdir(parents=True, exist_ok=True)
    (environment / "bin" / "ired").write_text("#!/bin/sh\nexec sleep 300\n")
    (environment / "bin" / "python").write_text("#!/bin/sh\necho nowhere\n")
    for name in ("ired", "python"):
        (environment / "bin" / name).chmod(0o755)
    repository = find_repository(root)
    job = Job(
        name=f"a/{run}",
        tasks=(JobTask(0, "", ("fit", "--resume", run), f"{root}/runs/a/{run}"),),
        profile=Profile(environment=str(environment), cpus=1, **settings),  # type: ignore[arg-type]
        folder=job_folder(host, str(root), run),
        remote=repository.remote(),
        commit=repository.commit,
        prefix=repository.prefix,
        project=repository.project_prefix,
        source=f"{root.parent}/scratch/sources/{repository.commit}",
        environment=str(environment),
    )
    return queue(host, job, repository)


@pytest.fixture
def wrapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put a program of one's own before one of SLURM's; in it $REAL is that."""
    path = os.environ["PATH"]

    def wrap(name: str, script: str) -> None:
        folder = tmp_path / "wrapped"
        folder.mkdir(exist_ok=True)
        real = subprocess.run(["which", name], capture_output=True, text=True).stdout.strip()
        (folder / name).write_text(f"#!/bin/bash\nREAL={real}\n{script}\n")
        (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{path}")

    return wrap


@pytest.fixture
def small(repository: Project, cluster: Cluster) -> Project:
    """A project of a configuration only, pushed."""
    repository.add("configs/a.yaml", "")
    return repository


def test_a_job_is_found_by_its_token_and_its_run_is_its_own(small: Project, cluster, wrapped):
    """sbatch says that it timed out although the job is queued (an overloaded controller)."""
    wrapped("sbatch", '$REAL "$@" >/dev/null; echo "sbatch: error: Socket timed out" >&2; exit 1')
    one = submit(small, options=("--comment=of my own", "--hold"))
    comment = cluster.run("squeue", "-h", "-j", one.job, "-o", "%k").strip()
    assert comment == f"of my own {one.token}"
    assert submissions(Host(), str(small.root)) == [one]
    with pytest.raises(InputError, match=f"job {one.job} works on .*runs/a/first already"):
        submit(small)
    code, out, _ = small.ired("cancel", "first")
    assert (code, out) == (0, f"cancelled {one.job}\n")
    second = submit(small)
    assert second.job != one.job
    wait_until(lambda: cluster.state(second.job) == "RUNNING", "the second job runs")

    # Another job by the number of ours: the record is made to name one that has another token.
    other = cluster.run("sbatch", "--parsable", "--hold", "--output=/dev/null", "--wrap=true")
    record = Path(second.folder, "submission.json")
    record.write_text(record.read_text().replace(f'"{second.job}"', f'"{other.strip()}"'))
    code, _, err = small.ired("cancel", other.strip())
    assert code == 2, err
    assert cluster.state(other.strip()) == "PENDING"
    assert cluster.state(second.job) == "RUNNING"


def test_drained_nodes_are_waited_for_and_too_large_a_request_is_refused(
    small: Project, cluster: Cluster
):
    script = "#!/bin/bash\n#SBATCH --nodes={nodes}\ntrue\n"
    assert slurm.test_request(Host(), script.format(nodes=2), Profile()) is None
    assert slurm.test_request(Host(), script.format(nodes=3), Profile()), "there are two nodes"
    for node in NODES:
        cluster.run("scontrol", "update", f"nodename={node}", "state=drain", "reason=test")
    assert slurm.test_request(Host(), script.format(nodes=2), Profile()) is None


def test_the_project_in_a_subfolder_runs_its_commit_where_steps_get_no_variables(
    project: Project, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
):
    """Of a repository of several projects; --export=NONE is what some sites ask for."""
    inner = project.root / "projects" / "mine"
    inner.mkdir(parents=True)
    for name in ("src", "configs", "callbacks", "slurm", "pyproject.toml"):
        project.git("mv", name, f"projects/mine/{name}")
    project.push()
    mine = Project(inner, project._capsys)
    (project.root / ".gitignore").write_text("__pycache__/\n")
    with (inner / "src" / "ired_interp" / "cli.py").open("a") as file:
        file.write("\nprint('THE CODE OF THE COMMIT', flush=True)\n")
    mine.add(
        "mine.py",
        "from ired_interp.energy import MLPEnergy\n\n\nclass Mine(MLPEnergy):\n    pass\n",
    )
    mine.profile(options=["--export=NONE"], scratch=str(project.root.parent / "scratch"))
    monkeypatch.chdir(inner)
    fit = ["fit", *TINY, "--model.energy", "mine.Mine", "--name", "first"]
    code, _, err = mine.ired("submit", "--detach", "--", *fit)
    assert code == 0, err
    found = re.search(r"queued job (\d+)", err)
    assert found, err
    job = found[1]
    wait_until(lambda: cluster.state(job) not in ACTIVE, f"job {job} has ended")
    (folder,) = mine.jobs()
    log = (folder / "log.txt").read_text()
    assert cluster.state(job) == "COMPLETED", log
    assert "THE CODE OF THE COMMIT" in log
    commit = mine.git("rev-parse", "HEAD").strip()
    clone = project.root.parent / "scratch" / "sources" / commit / "projects" / "mine"
    assert (folder / "code-0").read_text() == (
        f"commit {commit} in {clone}\nired_interp of {clone}/src/ired_interp\n"
    )
    assert (inner / "runs" / "quickstart" / "first" / "checkpoints" / "last.ckpt").exists()
    (one,) = submissions(Host(), str(inner))
    (state,) = task_states(Host(), [(one, one.tasks[0])]).values()
    assert state.word == "COMPLETED"
