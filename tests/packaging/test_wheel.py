"""The built wheel, installed without a checkout: everything works in an empty folder."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

from conftest import ROOT

pytestmark = pytest.mark.process

_TINY = [
    *("--model.energy.width", "16", "--data.batch_size", "16", "--data.validation_problems", "40"),
    *("--trainer.max_steps", "5", "--trainer.val_check_interval", "5"),
]
_SLURM = ("sbatch", "scancel", "scontrol", "sinfo", "squeue", "sacct", "srun")
_GIT = {"user.name": "Test", "user.email": "test@example.org", "init.defaultBranch": "main"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that `python -m build` makes of the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel, which takes what it depends on from the tests' own."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    # Folders named by a .pth file are searched, but .pth files in them, of an editable install, are not read.
    dependencies = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "dependencies.pth").write_text("\n".join(dependencies))
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install"]
    done = subprocess.run(
        [*pip, "--quiet", "--no-deps", "--no-index", str(wheel)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder


class Installed:
    """The installed program, started in a folder and with an environment of its own."""

    def __init__(self, environment: Path, folder: Path) -> None:
        self.environment, self.folder = environment, folder
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("PYTHON", "SLURM"))}
        self.variables = {**kept, "HOME": str(folder.parent), "OMP_NUM_THREADS": "1"}
        for index, (key, value) in enumerate(_GIT.items()):
            self.variables |= {f"GIT_CONFIG_KEY_{index}": key, f"GIT_CONFIG_VALUE_{index}": value}
        self.variables["GIT_CONFIG_COUNT"] = str(len(_GIT))

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.folder, env=self.variables, capture_output=True, text=True
        )

    def ired(self, *arguments: str) -> str:
        """What a command that works prints."""
        done = self.run(str(self.environment / "bin" / "ired"), *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def here(installed: Path, tmp_path: Path) -> Installed:
    """The installed program in an empty folder."""
    folder = tmp_path / "empty"
    folder.mkdir()
    return Installed(installed, folder)


def test_the_wheel_carries_every_file_that_people_read_and_edit(wheel: Path):
    files = [
        file
        for folder in ("configs", "callbacks", "loggers", "slurm")
        for file in (ROOT / folder).rglob("*")
        if file.is_file()
    ]
    assert len(files) > 20
    with zipfile.ZipFile(wheel) as archive:
        for file in files:
            inside = f"ired_interp/share/{file.relative_to(ROOT)}"
            assert archive.read(inside) == file.read_bytes()


def test_a_run_by_name_is_trained_probed_and_reported_in_an_empty_folder(here: Installed):
    module = here.run(
        str(here.environment / "bin" / "python"), "-c", "import ired_interp as i; print(i.__file__)"
    )
    assert module.stdout.startswith(str(here.environment)), module.stderr
    run = "runs/quickstart/tiny"
    here.ired(
        "fit", "--config", "quickstart", "--config", "hessian_spectrum", "--name", "tiny", *_TINY
    )
    assert "Hessian" in here.ired("probe", "--ckpt", run, "--problems", "3")
    here.ired("report", run)
    assert list((here.folder / run).rglob("*.html"))
    listed = here.ired("configs").splitlines()
    assert len(listed) == len([*ROOT.glob("c*s/**/*.yaml"), *ROOT.glob("loggers/*.yaml")])
    assert all(len(line.split()) > 3 for line in listed)


def test_a_project_is_made_ready_for_a_cluster_and_told_that_there_is_none(here: Installed):
    assert "edit slurm/profiles/default.yaml" in here.ired("init", "slurm")
    assert yaml.safe_load((here.folder / "slurm" / "profiles" / "default.yaml").read_text())
    (here.folder / "requirements.txt").write_text("ired-interp\n")
    for command in (
        ["git", "init", "--quiet"],
        ["git", "init", "--quiet", "--bare", "../remote.git"],
        ["git", "remote", "add", "origin", str(here.folder.parent / "remote.git")],
        ["git", "add", "--all"],
        ["git", "commit", "--quiet", "--message", "first"],
        ["git", "push", "--quiet", "origin", "HEAD"],
    ):
        assert here.run(*command).returncode == 0
    here.variables["PATH"] = _path_without_slurm(here.folder.parent / "bin")
    ired = str(here.environment / "bin" / "ired")
    done = here.run(ired, "submit", "--", "fit", "--config", "quickstart", *_TINY)
    assert done.returncode == 2
    assert any("of requirements.txt" in line for line in done.stderr.splitlines())
    failed = [line for line in done.stderr.splitlines() if line.startswith("FAIL")]
    assert len(failed) == 1, done.stderr
    assert "this machine has no sbatch; run this on a login node" in failed[0]


def _path_without_slurm(folder: Path) -> str:
    """A folder with links to all programs but those of SLURM."""
    folder.mkdir()
    for place in os.environ["PATH"].split(os.pathsep):
        for program in Path(place).glob("*"):
            link = folder / program.name
            if program.name not in _SLURM and not link.is_symlink():
                link.symlink_to(program)
    return str(folder)
