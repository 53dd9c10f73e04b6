"""Shipped files: found by name wherever the program runs, listed, copied, and never written over."""

import re
from importlib.metadata import requires
from pathlib import Path, PurePosixPath

import pytest
import yaml

from conftest import ROOT, Ired
from ired_interp import shipped
from ired_interp.errors import InputError
from ired_interp.shipped import configurations, find_configuration


@pytest.fixture
def elsewhere(ired: Ired, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, which has nothing in it."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def printed(ired: Ired, *arguments: object) -> dict[str, object]:
    """The configuration that `ired fit` resolves."""
    code, out, err = ired("fit", *arguments, "--print_config")
    assert code == 0, err
    return yaml.safe_load(out)


@pytest.mark.parametrize("path", configurations(), ids=str)
def test_every_configuration_is_found_by_its_path_and_by_each_end_of_it(
    elsewhere: Path, path: PurePosixPath
):
    for start in range(len(path.parts)):
        name = PurePosixPath(*path.parts[start:])
        ends_so = [one for one in configurations() if one.parts[-len(name.parts) :] == name.parts]
        if any(len(one.parts) < len(path.parts) for one in ends_so):
            continue  # the name of one nearer the top
        for given in (name, name.with_suffix("")):
            assert find_configuration(str(given)) == ROOT / path


def test_all_configurations_are_those_of_the_repository():
    files = [f for d in ("configs", "callbacks", "loggers") for f in (ROOT / d).rglob("*.yaml")]
    assert {ROOT / path for path in configurations()} == set(files)


def test_a_file_at_the_path_wins_over_a_shipped_one(elsewhere: Path):
    own = Path("quickstart")
    own.write_text("seed_everything: 7\n")
    assert find_configuration("quickstart") == own
    copy = Path("configs/quickstart.yaml")
    copy.parent.mkdir()
    copy.write_text("seed_everything: 8\n")
    own.unlink()
    assert find_configuration("quickstart") == find_configuration(copy) == copy


@pytest.mark.parametrize("name", ["mine/quickstart.yaml", "/quickstart", "start", "../inverse", ""])
def test_a_path_that_does_not_exist_is_no_shipped_name(elsewhere: Path, name: str):
    with pytest.raises(InputError, match="no file here and none of the configurations"):
        find_configuration(name)


def test_a_misspelt_name_is_answered_by_those_near_it(elsewhere: Path):
    with pytest.raises(InputError, match=r"near it are configs/quickstart\.yaml\.$"):
        find_configuration("quikstart")
    with pytest.raises(InputError, match="`ired configs` lists those"):
        find_configuration("zzz.yaml")


def test_a_name_of_two_configurations_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for path in ("share/configs/a/one.yaml", "share/configs/b/one.yaml"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).touch()
    monkeypatch.setattr(shipped, "__file__", str(tmp_path / "shipped.py"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        InputError, match=r"one could be configs/a/one\.yaml or configs/b/one\.yaml"
    ):
        find_configuration("one")
    assert find_configuration("b/one") == tmp_path / "share/configs/b/one.yaml"


@pytest.mark.process
def test_every_command_with_a_configuration_takes_a_name(ired: Ired, elsewhere: Path):
    by_name = printed(ired, "--config", "quickstart", "--config=subspace_drift")
    by_path = [
        f"--config={ROOT}/{p}" for p in ("configs/quickstart.yaml", "callbacks/subspace_drift.yaml")
    ]
    assert by_name == printed(ired, *by_path)
    for command, few in (("test", "--data.test_problems"), ("probe", "--problems")):
        code, _, err = ired(command, "--config", "linear_gaussian", few, 3)
        assert code == 0, err
        assert f"configuration linear_gaussian: {ROOT}/configs/linear_gaussian.yaml" in err
    for command in ("fit", "test", "validate", "probe"):
        code, _, err = ired(command, "--config", "linear_gausian")
        assert (code, err.count("\n")) == (2, 1)
        assert "configs/linear_gaussian.yaml" in err


def test_the_list_has_every_configuration_with_its_first_comment(ired: Ired):
    code, out, _ = ired("configs")
    assert code == 0
    for line, path in zip(out.splitlines(), configurations(), strict=True):
        name, _, comment = line.partition(" ")
        assert name == str(path)
        assert (ROOT / path).read_text().startswith(f"# {comment.strip()}\n")


def test_a_copy_is_brought_out_once_and_is_what_its_name_means_then(ired: Ired, elsewhere: Path):
    code, out, err = ired("configs", "copy", "quickstart")
    assert code == 0, err
    copy = elsewhere / "configs" / "quickstart.yaml"
    assert copy.read_bytes() == (ROOT / "configs" / "quickstart.yaml").read_bytes()
    assert "--config configs/quickstart.yaml" in out
    copy.write_text(copy.read_text().replace("width: 128", "width: 24"))
    code, _, err = ired("configs", "copy", "quickstart")
    assert code == 2
    assert "exists, and is not overwritten" in err
    resolved = printed(ired, "--config", "quickstart")
    assert resolved["model"]["init_args"]["energy"]["init_args"]["width"] == 24


def test_a_copy_goes_to_the_file_or_folder_named(ired: Ired, elsewhere: Path):
    assert ired("configs", "copy", "wandb", "new/mine.yaml")[0] == 0
    assert ired("configs", "copy", "wandb", "new")[0] == 0
    assert sorted(p.name for p in (elsewhere / "new").iterdir()) == ["mine.yaml", "wandb.yaml"]


def test_init_keeps_what_is_there_and_brings_the_rest(ired: Ired, elsewhere: Path):
    own = elsewhere / "slurm" / "job.sbatch"
    own.parent.mkdir()
    own.write_text("mine")
    code, out, err = ired("init", "slurm")
    assert code == 0, err
    assert own.read_text() == "mine"
    assert f"kept  {own}" in out
    for name in ("prepare.sh", *(f"profiles/{n}.yaml" for n in ("default", "gpu", "laptop"))):
        file = elsewhere / "slurm" / name
        assert file.read_bytes() == (ROOT / "slurm" / name).read_bytes()
        assert f"wrote {file}" in out
    assert "ired check -- fit --config quickstart" in out


def test_what_a_text_says_to_install_has_a_name_that_an_index_knows():
    """This project is on no index, so its extras are named by what they hold."""
    listed = {re.split(r"[^\w-]", one)[0] for one in requires("ired-interp") or []}
    known = listed - {"ired-interp"}
    texts = [
        *ROOT.glob("*.md"),
        *(p for f in ("docs", "src", "loggers") for p in (ROOT / f).rglob("*.*")),
    ]
    named = {
        (text.name, name)
        for text in texts
        if text.suffix in (".md", ".py", ".yaml", ".ipynb")
        for name in re.findall(r"pip install (?:\"\s*\")?([a-z][\w\[\]-]*)", text.read_text())
    }
    assert len(named) >= 4
    assert not {one for one in named if one[1] not in known}
