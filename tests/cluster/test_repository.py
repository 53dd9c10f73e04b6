"""What a job is cloned from: the project in its repository, and what of it is not committed."""

import os
import subprocess
from pathlib import Path

import pytest

from ired_interp.cluster.host import Host
from ired_interp.cluster.job import PREPARE, project_profile, read_part, requirements
from ired_interp.cluster.preflight import Preflight
from ired_interp.cluster.preflight.source import source_checks
from ired_interp.cluster.profile import Profile
from ired_interp.cluster.repository import Repository, find_repository
from ired_interp.cluster.site import Site
from ired_interp.cluster.tasks import JobTask
from ired_interp.errors import InputError
from ired_interp.shipped import shipped


def git(folder: Path, *words: str) -> None:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def monorepo(tmp_path: Path) -> Path:
    """A repository of two projects, and slurm/ at its top."""
    for path, text in {
        "slurm/profiles/default.yaml": "cpus: 3\n",
        "projects/mine/slurm/profiles/default.yaml": "cpus: 5\n",
        "projects/mine/requirements.txt": "ired-interp\n",
        "projects/mine/configs/a.yaml": "",
        "projects/mine/notes.txt": "",
        "projects/other/pyproject.toml": "",
        "projects/other/code.py": "",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    return tmp_path


def test_profiles_templates_and_requirements_are_those_of_the_project(monorepo: Path):
    mine = find_repository(monorepo / "projects" / "mine" / "configs")
    assert (mine.project, mine.project_prefix) == (monorepo / "projects" / "mine", "projects/mine/")
    assert mine.prefix == "projects/mine/configs/"
    assert project_profile(mine, "default", {}).cpus == 5
    assert requirements(mine.project) == "requirements.txt"
    assert read_part(mine, PREPARE) == shipped(PREPARE).read_text()


def test_what_a_project_lacks_is_taken_from_above_it(monorepo: Path):
    other = find_repository(monorepo / "projects" / "other")
    assert other.project_prefix == "projects/other/"
    assert project_profile(other, "default", {}).cpus == 3
    (monorepo / "slurm" / "prepare.sh").write_text("own")
    assert read_part(other, PREPARE) == "own"
    top = find_repository(monorepo)
    assert (top.project, top.project_prefix) == (monorepo, "")


def test_a_folder_above_the_repository_is_not_asked(monorepo: Path):
    inner = monorepo / "inner"
    inner.mkdir()
    git(inner, "init", "--quiet")
    assert find_repository(inner).holder("slurm") is None


def test_only_what_the_job_may_read_must_be_committed(monorepo: Path):
    mine = Repository(monorepo, "projects/mine/")
    latin = os.fsdecode(b"projects/mine/caf\xe9.dat")
    for path in (
        "projects/other/code.py",  # another project's
        "projects/mine/later.txt",  # notes
        "projects/mine/notes.txt",
        latin,
        "projects/mine/runs/a/b/config.yaml",  # results, where .gitignore does not name them
        "projects/mine/jobs/c/prepare.sh",
    ):
        (monorepo / path).parent.mkdir(parents=True, exist_ok=True)
        (monorepo / path).write_text("changed")
    assert mine.uncommitted([]) == []
    assert mine.uncommitted(["--notes", "notes.txt"]) == ["projects/mine/notes.txt (changed)"]
    assert mine.uncommitted([f"--data={latin.rpartition('/')[2]}"]) == [
        "projects/mine/caf\ufffd.dat (untracked)"
    ]
    for path in ("mine.py", "requirements.txt", "configs/a.yaml"):
        (monorepo / "projects" / "mine" / path).write_text("changed")
    assert sorted(mine.uncommitted([])) == [
        "projects/mine/configs/a.yaml (changed)",
        "projects/mine/mine.py (untracked)",
        "projects/mine/requirements.txt (changed)",
    ]


def test_a_repository_of_another_user_is_said_to_be_that(monorepo: Path, monkeypatch):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(InputError, match="belongs to another user") as caught:
        find_repository(monorepo / "projects")
    assert str(caught.value).endswith(f"git config --global --add safe.directory {monorepo}")


@pytest.mark.process
def test_a_token_in_the_remotes_address_is_neither_said_nor_written(monorepo: Path):
    remote = "https://me:ghp_SECRET@127.0.0.1:1/x.git"
    profile = Profile(remote=remote, environment="/env", scratch=str(monorepo / "scratch"))
    repository = find_repository(monorepo / "projects" / "mine")
    site, tasks = Site(Host(), profile, repository, str(monorepo)), [JobTask(0, "", ("fit",))]
    checks = list(source_checks(site, tasks))
    assert [(check.name, check.ok) for check in checks] == [
        ("committed", True),
        ("on the remote", False),
    ]
    assert "cannot clone https://127.0.0.1:1/x.git: fatal: unable to access" in checks[1].found
    assert "SECRET" not in checks[1].found
    script = Preflight(site, tasks).job().script(repository)
    assert "source https://127.0.0.1:1/x.git" in script
    assert "SECRET" not in script
