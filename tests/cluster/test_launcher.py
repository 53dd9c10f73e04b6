"""Containers, conda and uv, with stand-ins that keep how they were called and then do as they are told."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from conftest import ROOT
from ired_interp.cluster.chain import Chain
from ired_interp.cluster.host import Host
from ired_interp.cluster.preflight.destination import environment_check
from ired_interp.cluster.profile import Profile
from ired_interp.cluster.repository import Repository
from ired_interp.cluster.site import Site
from ired_interp.cluster.tasks import JobTask

pytestmark = pytest.mark.process

PREPARE = ROOT / "slurm" / "prepare.sh"
# What comes behind the image or the environment's name is run.
RUNS_THE_REST = 'until [[ $1 == LAST ]]; do shift; done; shift; exec "$@"'


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put a program on the PATH, which keeps its arguments beside itself."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def make(name: str, text: str) -> Path:
        calls = folder / f"{name}.calls"
        (folder / name).write_text(f'#!/bin/bash\necho "$@" >>{calls}\n{text}\n')
        (folder / name).chmod(0o755)
        return calls

    return make


def site(tmp_path: Path, **settings: object) -> Site:
    profile = Profile(scratch=f"{tmp_path}/scratch", remote="/nowhere", **settings)  # type: ignore[arg-type]
    return Site(Host(), profile, Repository(tmp_path, ""), str(tmp_path))


CASES = {
    "container": ("apptainer", "image.sif", "exec --bind {0} --bind {0}/scratch --nv {1}"),
    "conda": ("conda", "my env/ired", "run --no-capture-output --prefix {1}"),
}


@pytest.mark.parametrize("setting", CASES)
def test_processes_are_started_in_it(
    tmp_path: Path, program, monkeypatch: pytest.MonkeyPatch, setting: str
):
    monkeypatch.setattr(Repository, "commit", "0" * 40)
    name, place, called = CASES[setting]
    inside = tmp_path / place
    inside.parent.mkdir(exist_ok=True)
    inside.touch()
    one = site(tmp_path, gpus=1, **{setting: str(inside)})
    task = JobTask(0, "", ("fit", "--name", "two words"), "/runs/a/b")
    script = one.job("a/b", [task], f"{tmp_path}/jobs/x", Chain()).script(one.repository)
    assert '"$prepare" environment' not in script, "none is made for it"
    (line,) = [line for line in script.splitlines() if '"$prepare" run' in line]

    calls = program(name, RUNS_THE_REST.replace("LAST", shlex.quote(str(inside))))
    ran = program("ired", "echo ired 1.0")
    program("python", "echo /in/the/image/ired_interp/__init__.py")
    check = environment_check(one)
    assert check.ok, check.found
    assert check.found == f"{inside}, by {name}, has ired 1.0"
    command = line.strip().removesuffix("&").replace("${arguments[@]}", "$1")
    variables = {"prepare": PREPARE, "project": tmp_path, "environment": "", "folder": tmp_path}
    done = subprocess.run(
        ["bash", "-euc", f"index=0; {command}", "job", "two words"],
        env={**os.environ, **{key: str(value) for key, value in variables.items()}},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert ran.read_text() == "--version\ntwo words\n"
    wanted = called.format(tmp_path, inside)
    first, second = calls.read_text().splitlines()
    assert first == f"{wanted} ired --version"
    assert second.startswith(f"{wanted} bash {PREPARE} run {'0' * 40} {tmp_path}")
    assert (tmp_path / "code-0").read_text().endswith("ired_interp of /in/the/image/ired_interp\n")


def test_what_is_missing_is_said(tmp_path: Path, program, monkeypatch: pytest.MonkeyPatch):
    few = tmp_path / "few"
    few.mkdir()
    for name in ("bash", "test"):
        (few / name).symlink_to(f"/usr/bin/{name}")
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(few))
        for setting, (name, *_) in CASES.items():
            check = environment_check(site(tmp_path, **{setting: "/a/b"}))
            assert not check.ok
            assert (
                f"this machine has no {name}, which {setting} of the profile needs" in check.found
            )
            assert f"or leave {setting} out" in check.remedy
    program("apptainer", "echo 'FATAL: ired: not found' >&2; exit 127")
    program("conda", "echo 'EnvironmentLocationNotFound: Not a conda environment' >&2; exit 1")
    check = environment_check(site(tmp_path, container="/no/image.sif"))
    assert check.found == "image /no/image.sif does not exist on this machine"
    check = environment_check(site(tmp_path, container="docker://somebody/image:1"))
    assert check.found.endswith("FATAL: ired: not found")
    check = environment_check(site(tmp_path, conda="ired"))
    assert check.found.endswith("Not a conda environment")
    assert "install ired-interp in it, or correct conda" in check.remedy


@pytest.mark.parametrize("locked", [True, False], ids=["uv.lock", "no lock"])
def test_uv_makes_environments(tmp_path: Path, program, locked: bool):
    project = tmp_path / "project"
    project.mkdir()
    (project / "requirements.txt").write_text("ired-interp\n")
    if locked:
        (project / "uv.lock").touch()
    environment = tmp_path / "environments" / "digest"
    made = f"mkdir -p {environment}/bin; printf '#!/bin/sh' >{environment}/bin/ired; "
    calls = program(
        "uv", f'echo "$UV_PROJECT_ENVIRONMENT" >&2; {made} chmod +x {environment}/bin/*'
    )
    arguments = ["environment", project, environment, "3.11", "uv"]
    done = subprocess.run(["bash", PREPARE, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (environment / "ready").exists()
    if locked:
        assert calls.read_text() == "sync --frozen --no-dev --no-editable --python 3.11\n"
        assert str(environment) in done.stderr.splitlines()
    else:
        assert calls.read_text().splitlines() == [
            f"venv --python 3.11 {environment}",
            f"pip install --python {environment}/bin/python -r requirements.txt",
        ]
    pip, uv = (site(tmp_path, installer=name).environment for name in ("pip", "uv"))
    assert pip != uv, "what one has made is not taken for the other's"


def test_without_uv_it_is_said_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "requirements.txt").touch()
    few = tmp_path / "few"
    few.mkdir()
    (few / "bash").symlink_to("/usr/bin/bash")
    (few / "test").symlink_to("/usr/bin/test")
    monkeypatch.setenv("PATH", str(few))
    check = environment_check(site(tmp_path, installer="uv"))
    assert not check.ok
    assert "uv: command not found" in check.found
    assert check.remedy == "correct installer or modules in the profile"
