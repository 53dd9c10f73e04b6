"""A cluster for all tests of a worker, and a project that can be submitted from: a checkout with a remote."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from project import Project, empty_project, git_settings, no_dry_run
from slurm_cluster import Cluster, missing_programs, running

from conftest import ROOT

_FOLDERS = ("src", "configs", "callbacks", "slurm")
_FILES = ("pyproject.toml", "constraints.txt", "README.md", "LICENSE")


@pytest.fixture(scope="session")
def _cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if missing := missing_programs():
        told = f"not installed: {', '.join(missing)} (Debian: slurmctld slurmd slurm-client munge openssh-server rsync)"
        if os.environ.get("CI"):
            pytest.fail(told)
        pytest.skip(told)
    with running(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.fixture
def cluster(_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """The cluster, which the program finds by itself; its queue is empty before and after."""
    monkeypatch.setenv("SLURM_CONF", _cluster.environment["SLURM_CONF"])
    yield _cluster
    _cluster.empty()


@pytest.fixture
def repository(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Project:
    """An empty repository with a remote, which is the current folder."""
    for name, value in {**git_settings(), "OMP_NUM_THREADS": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "path", [*sys.path])  # commands add the folders of the user's modules
    made = empty_project(tmp_path, capsys)
    monkeypatch.chdir(made.root)
    return made


@pytest.fixture
def project(repository: Project) -> Project:
    """A project with the source under test, all of it committed and on its remote."""
    root = repository.root
    for folder in _FOLDERS:
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in _FILES:
        shutil.copy(ROOT / file, root)
    (root / ".gitignore").write_text("/runs/\n/jobs/\n__pycache__/\n")
    repository.profile()
    return repository


@pytest.fixture
def rehearsed() -> Iterator[None]:
    """Jobs are not rehearsed before they are queued."""
    with no_dry_run():
        yield
