"""The same from a laptop: a login node on loopback, reached over ssh with a key made for the test."""

import getpass
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from project import Project, no_dry_run
from slurm_cluster import Cluster, wait_until
from stand_in import TRAINS, stand_in

from conftest import TINY
from ired_interp.cluster.preflight import Preflight
from ired_interp.cluster.slurm import ACTIVE

pytestmark = pytest.mark.timeout(1800)  # jobs start slowly where others work, too


@pytest.fixture
def login_node(tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An ssh command that reaches a login node of the cluster; SLURM cannot be used from here but through it."""
    folder = tmp_path / "ssh"
    folder.mkdir()
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True
        )
    shutil.copy(folder / "user.pub", folder / "authorized_keys")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized_keys\nPidFile none\n"
        f"StrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\nSetEnv SLURM_CONF={cluster.environment['SLURM_CONF']}\n"
    )
    address = f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}"
    (folder / "known_hosts").write_text(address)
    (folder / "config").write_text(
        f"Host login\n  HostName 127.0.0.1\n  Port {port}\n  User {getpass.getuser()}\n  IdentityFile {folder}/user\n"
        f"  IdentitiesOnly yes\n  UserKnownHostsFile {folder}/known_hosts\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)  # where sshd of Debian separates privileges
    server = subprocess.Popen(
        [shutil.which("sshd") or "/usr/sbin/sshd", "-D", "-e", "-f", str(folder / "sshd_config")]
    )
    monkeypatch.delenv("SLURM_CONF")
    ssh = f"ssh -F {folder}/config"
    wait_until(
        lambda: (
            subprocess.run([*ssh.split(), "login", "true"], capture_output=True).returncode == 0
        ),
        "sshd answers",
    )
    yield ssh
    server.send_signal(signal.SIGTERM)
    server.wait(10)


def test_submit_watch_probe_and_fetch_from_a_laptop(
    project: Project, login_node: str, tmp_path: Path
):
    far = tmp_path / "far away"
    far.mkdir()
    project.profile("laptop", host="login", ssh=login_node, folder=str(far))
    laptop = ["--profile", "laptop"]
    with no_dry_run():  # the probe below has one
        code, _, err = project.ired("submit", *laptop, "--", "fit", *TINY, "--name", "first")
    assert code == 0, err
    assert "ok   on the remote: login cloned" in err
    assert f"results will be in {far}/runs/quickstart/first" in err
    assert not (project.root / "runs").exists()
    wait_until(lambda: "completed" in project.ired("status", *laptop)[1], "the job is done")
    code, out, _ = project.ired("logs", *laptop, "quickstart/first")
    assert "done: 12 steps" in out

    code, _, err = project.ired(
        "submit", *laptop, "--", "probe", "--ckpt", "runs/quickstart/first", "--problems", 4
    )
    assert code == 0, err
    wait_until(
        lambda: project.ired("status", *laptop)[1].count("completed") == 2, "the probe is done"
    )
    code, out, err = project.ired("fetch", *laptop, "quickstart/first")
    assert code == 0, err
    here = project.root / "runs" / "quickstart" / "first"
    assert out.strip() == str(here.relative_to(project.root))
    there = far / "runs" / "quickstart" / "first"
    files = [
        {str(p.relative_to(run)): p.read_bytes() for p in run.rglob("*") if p.is_file()}
        for run in (there, here)
    ]
    assert files[0] == files[1]
    assert any(name.startswith("results/hessian_spectrum_y/") for name in files[1])

    (there / "results" / "later.nc").touch()
    assert project.ired("fetch", *laptop, "quickstart/first")[0] == 0
    assert (here / "results" / "later.nc").exists()
    (here / "config.yaml").write_text("another: run\n")
    code, _, err = project.ired("fetch", *laptop, "quickstart/first")
    assert code == 2
    assert "holds another run" in err


def test_a_study_from_a_laptop_comes_home(
    repository: Project,
    cluster: Cluster,
    login_node: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    far, made = tmp_path / "far", tmp_path / "made"
    environment = stand_in(tmp_path, TRAINS, made=made, mended=tmp_path)
    grid = {"config": "quickstart", "grid": {"data.task.n": [2, 3]}}
    repository.add("tiny.yaml", yaml.safe_dump({"question": "?", "trainings": {"small": grid}}))
    settings = {"folder": str(far), "environment": str(environment)}
    repository.profile("laptop", host="login", ssh=login_node, **settings)
    monkeypatch.setattr(Preflight, "checks", lambda self: iter(()))
    study = ["study", "tiny.yaml", "--profile", "laptop"]
    code, _, err = repository.ired(*study)
    assert code == 0, err
    assert "4 of 4 steps are left to jobs" in err
    assert "which waits for job" in err
    jobs = re.findall(r"queued job (\d+)", err)
    for job in jobs:
        wait_until(lambda job=job: not ACTIVE & set(cluster.state(job).split()), f"{job} has ended")
    code, _, err = repository.ired("study", "tiny.yaml")  # which asks the profile that has the jobs
    assert code == 0, err
    assert sorted(line.split()[0] for line in made.read_text().splitlines()) == [
        *("fit", "fit", "test", "test")
    ]
    for n in (2, 3):
        assert Path("runs", "tiny", f"small-n={n}-seed0", "config.yaml").exists()


def test_a_checkpoint_is_looked_for_on_the_cluster(
    project: Project, login_node: str, tmp_path: Path
):
    project.profile("laptop", host="login", ssh=login_node, folder=str(tmp_path / "far"))
    code, _, err = project.ired("fit", *TINY, "--name", "first")
    assert code == 0, err
    code, _, err = project.ired(
        "submit", "--profile", "laptop", "--", "probe", "--ckpt", "runs/quickstart/first"
    )
    assert code == 2
    assert f"{tmp_path}/far/runs/quickstart/first does not exist on login" in err


def test_a_login_node_that_does_not_answer(project: Project):
    project.profile(
        "laptop",
        host="login",
        ssh="ssh -F /dev/null -p 1 -o HostName=127.0.0.1",
        folder="/tmp/none",
    )
    code, _, err = project.ired("status", "--profile", "laptop")
    assert code == 1
    assert err.startswith("ired: ssh to login failed (")
    assert "check host and ssh of the profile" in err
