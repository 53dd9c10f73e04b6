"""Modules of the user's own: found beside the configuration, found again by the run, never through a bare checkpoint."""

import shutil
import sys
from pathlib import Path

import pytest
import yaml

from conftest import TINY, Ired
from ired_interp.checkpoint import load
from ired_interp.errors import InputError
from ired_interp.user_modules import imported_from, look_in
from own_energy import CONFIG, ENERGY, SMALL


@pytest.fixture
def own(ired: Ired, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an energy and the configuration that names it, which is not the current one."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "own_bowl.py").write_text(ENERGY)
    (folder / "bowl.yaml").write_text(CONFIG)
    monkeypatch.delitem(sys.modules, "own_bowl", raising=False)
    return folder


@pytest.fixture
def run(ired: Ired, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run of that energy; then a new process, in which nothing of it is imported."""
    path = list(sys.path)
    code, _, err = ired("fit", "--config", "own/bowl.yaml", *SMALL, "--name", "bowl")
    assert code == 0, err
    monkeypatch.delitem(sys.modules, "own_bowl")
    sys.path[:] = path
    return tmp_path / "runs" / "default" / "bowl"


@pytest.mark.process
def test_the_run_remembers_the_folder_and_every_command_finds_the_module_again(
    ired: Ired, own: Path, run: Path, monkeypatch: pytest.MonkeyPatch
):
    assert (run / "modules.txt").read_text() == f"{own}\n"
    path = list(sys.path)
    few = ["--data.test_problems", 20]
    for command in (
        ["probe", "--ckpt", run, "--problems", 3],
        ["test", "--ckpt", run / "checkpoints" / "last.ckpt", *few],
        ["fit", "--resume", run, "--trainer.max_steps", 14],
        ["fit", "--config", run / "config.yaml", "--name", "again"],
    ):
        code, _, err = ired(*command)
        assert code == 0, (command, err)
        assert str(own) in sys.path[len(path) :], command
        monkeypatch.delitem(sys.modules, "own_bowl")
        sys.path[:] = path
    assert (run.with_name("again") / "modules.txt").read_text() == f"{own}\n"


def test_a_module_in_the_current_folder_is_found(
    ired: Ired, own: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(own)
    named = ["--config", "quickstart", "--model.energy", "own_bowl.Bowl"]
    code, _, err = ired("fit", *named, *SMALL, "--name", "here")
    assert code == 0, err
    assert (own / "runs" / "quickstart" / "here" / "modules.txt").read_text() == f"{own}\n"


def test_a_run_of_shipped_classes_alone_remembers_no_folder(tiny_run: Path):
    assert not (tiny_run / "modules.txt").exists()


@pytest.mark.process
def test_a_bare_checkpoint_names_only_classes_of_modules_that_the_user_names(
    ired: Ired, own: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    bare = tmp_path / "sent" / "bare.ckpt"
    bare.parent.mkdir()
    (run / "checkpoints" / "last.ckpt").rename(bare)
    monkeypatch.chdir(own)  # where the module could be found
    for command in ("probe", "test", "validate"):
        code, _, err = ired(command, "--ckpt", bare)
        assert code == 2, command
        assert "name the module yourself by --modules own_bowl" in err
    with pytest.raises(InputError, match="--modules own_bowl"):
        load(bare)
    assert "own_bowl" not in sys.modules
    code, _, err = ired("probe", "--ckpt", bare, "--config", "bowl.yaml", "--problems", 3)
    assert code == 0, err
    assert (bare.parent / "results").is_dir(), "results go beside the file"
    monkeypatch.delitem(sys.modules, "own_bowl")
    elsewhere = ["--output", tmp_path / "elsewhere"]
    few = ["--data.test_problems", 20, "--modules", "own_bowl"]
    code, _, err = ired("test", "--ckpt", bare, *few, *elsewhere)
    assert code == 0, err
    assert list((tmp_path / "elsewhere").rglob("*.nc"))
    monkeypatch.delitem(sys.modules, "own_bowl")
    assert type(load(bare, modules=["own_bowl"]).energy).__name__ == "Bowl"
    assert type(load(bare).energy).__name__ == "Bowl", "what is imported already needs no name"


@pytest.mark.process
def test_a_run_outside_of_the_users_project_says_nothing_of_where_modules_are(
    ired: Ired, own: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    for command in ("probe", "test", "validate"):
        code, _, err = ired(command, "--ckpt", run)
        assert code == 2, command
        assert "own_bowl" in err
    code, _, err = ired("fit", "--resume", run)
    assert code == 2
    assert "name the module yourself by --modules own_bowl" in err
    code, _, err = ired("report", run)
    assert code == 0, err
    assert "the run lies outside of the current folder" in err
    assert "own_bowl" not in sys.modules
    monkeypatch.setenv("IRED_PROJECT", f"/elsewhere:{tmp_path}")
    code, _, err = ired("probe", "--ckpt", run, "--problems", 3)
    assert code == 0, err


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        (("model", {"class_path": "stranger.Model"}), "stranger"),
        (("trainer", "callbacks", [{"class_path": "stranger.Callback"}]), "stranger"),
        (("trainer", "callbacks", ["stranger.Callback"]), "stranger.Callback"),
        (("trainer", "callbacks", [{"class_path": "LambdaCallback"}]), "LambdaCallback"),
        (("trainer", "logger", "stranger.Logger"), "stranger.Logger"),
        (("trainer", "profiler", "/tmp/stranger"), "/tmp/stranger"),
        (("trainer", "strategy", {"class_path": "stranger.Strategy"}), "stranger"),
        (
            (
                "trainer",
                "callbacks",
                [
                    {
                        "class_path": "ired_interp.callbacks.HessianSpectrum",
                        "init_args": {"probe": {"class_path": "stranger.Probe"}},
                    }
                ],
            ),
            "stranger",
        ),
    ],
    ids=str,
)
def test_a_strangers_run_is_not_resumed_with_code_that_its_file_names(
    ired: Ired, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting, named
):
    """The module would be found, but nobody vouches for it."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "stranger.py").write_text("raise SystemExit('the stranger ran')\n")
    run = tmp_path / "handed"
    shutil.copytree(tiny_run, run)
    config = yaml.safe_load((run / "config.yaml").read_text())
    *parents, last, value = setting
    part = config
    for parent in parents:
        part = part[parent]
    part[last] = value
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.chdir(project)
    code, _, err = ired("fit", "--resume", run)
    assert code == 2, err
    assert named in err
    assert "the stranger ran" not in err
    assert "Traceback" not in err


@pytest.mark.process
def test_a_strangers_run_of_shipped_classes_goes_on_and_one_of_others_with_the_users_word(
    ired: Ired, tiny_run: Path, own: Path, run: Path, tmp_path: Path, monkeypatch
):
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    config = yaml.safe_load((tiny_run / "config.yaml").read_text())
    probe = {"class_path": "ired_interp.probes.GradientStatisticsY", "init_args": {}}
    measuring = {"class_path": "ired_interp.callbacks.ProbeCallback", "init_args": {"probe": probe}}
    config["trainer"]["callbacks"] = [*(config["trainer"].get("callbacks") or []), measuring]
    (tiny_run / "config.yaml").write_text(yaml.safe_dump(config))
    few = ["--trainer.max_steps", 14]
    code, _, err = ired("fit", "--resume", tiny_run, *few)
    assert code == 0, err
    (own / "own_bowl.py").rename("own_bowl.py")
    code, _, err = ired("fit", "--resume", run, *few, "--modules", "own_bowl")
    assert code == 0, err


def test_a_run_that_was_handed_over_brings_no_code_along(ired: Ired, own: Path, run: Path):
    (own / "own_bowl.py").rename(run / "own_bowl.py")
    (run / "modules.txt").write_text(f"{run}\n.\n/does/not/exist\n")
    for command in (["probe", "--ckpt", run], ["test", "--ckpt", run], ["fit", "--resume", run]):
        code, _, err = ired(*command)
        assert code == 2, command
        assert "own_bowl" in err
    assert "own_bowl" not in sys.modules


def test_what_is_installed_comes_before_the_users_modules(own: Path):
    (own / "yaml.py").write_text("raise AssertionError\n")
    look_in([own, own])
    assert sys.path[-1] == str(own)
    assert sys.path.count(str(own)) == 1
    assert imported_from([own]) == []


def test_a_package_counts_for_the_folder_it_lies_in(own: Path, monkeypatch: pytest.MonkeyPatch):
    package = own / "own_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "part.py").touch()
    look_in([own])
    __import__("own_package.part")
    assert imported_from([own, package]) == [own]
    for name in ("own_package", "own_package.part"):
        monkeypatch.delitem(sys.modules, name)


def test_a_module_that_fails_as_it_is_imported_says_why(ired: Ired, tmp_path: Path) -> None:
    (tmp_path / "full.py").write_text("raise OSError(28, 'No space left on device')\n")
    code, _, err = ired("fit", *TINY, "--model.energy", "full.Mine", "--name", "never")
    assert code == 2
    assert "cannot be imported: OSError" in err
    assert "No space left on device" in err
