"""Profiles: the shipped ones are valid, values are read as by SLURM, mistakes are explained."""

from pathlib import Path

import pytest

from conftest import ROOT
from ired_interp.cluster.preflight.request import request_checks
from ired_interp.cluster.profile import load_profile, seconds
from ired_interp.errors import InputError

SHIPPED = sorted(path.stem for path in (ROOT / "slurm" / "profiles").glob("*.yaml"))


def test_the_shipped_profiles():
    assert SHIPPED == ["default", "gpu", "laptop"]
    assert load_profile(ROOT, "default", {}).seconds == 4 * 3600
    gpu = load_profile(ROOT, "gpu", {"time": "30", "gpus": "2", "tasks": "2"})
    assert (gpu.seconds, gpu.gpus, gpu.ranks, gpu.modules) == (1800, 2, 2, ("python/3.11", "cuda"))
    assert load_profile(ROOT, "laptop", {}).host == "me@login.example.org"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90", 5400),
        ("01:30", 90),
        ("04:00:00", 14400),
        ("1-0", 86400),
        ("1-02:30", 95400),
        ("2-00:00:01", 172801),
    ],
)
def test_time_limits_are_read_as_slurm_reads_them(text: str, expected: int):
    assert seconds(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tine: 1", "'tine', which is no setting; there are host"),
        ("cpus: many", "cpus='many'; expected a whole number"),
        ("nodes: 0", "nodes=0; a job needs at least 1"),
        ("time: soon", "'soon' is no time limit"),
        ("time: 0", "above 0"),
        ("host: login", "give the absolute path"),
        ("partition: [a, b]", "expected one value"),
        ("options: {a: b}", "expected a list of texts"),
        ("options: ['--output=x']", "not --output"),
        ("options: [constraint=a100]", "as in --constraint=a100"),
        ("{qos: long, options: ['--qos=short']}", "qos=long and the option --qos; keep one"),
        ("{mail: a@b.c, options: ['--mail-type=ALL']}", "mail=a@b.c and the option --mail-type"),
        ("mail: me", "mail='me'; expected an address"),
        ("{gpus: 2, gres: 'gpu:a100:2'}", "GPUs twice, by gpus=2 and gres=gpu:a100:2"),
        ("installer: poetry", "choose one of pip, uv"),
        ("{conda: a, container: b}", "conda=a and container=b; a job runs in one of them"),
        ("{conda: a, environment: b}", "conda=a and environment=b"),
        ("- time", "expected a mapping"),
        ("time: [", "no valid YAML"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, words: str):
    (tmp_path / "slurm" / "profiles").mkdir(parents=True)
    (tmp_path / "slurm" / "profiles" / "mine.yaml").write_text(text)
    with pytest.raises(InputError, match=words.replace("(", "\\(")) as caught:
        load_profile(tmp_path, "mine", {})
    assert "\n" not in str(caught.value)


def test_a_profile_that_does_not_exist(tmp_path: Path):
    with pytest.raises(InputError, match="there are default, gpu, laptop"):
        load_profile(ROOT, "none", {})
    with pytest.raises(InputError, match="there is none; write one; `ired init slurm`"):
        load_profile(tmp_path, "gpu", {})


def test_without_a_file_of_its_own_a_project_has_the_shipped_default(tmp_path: Path):
    assert load_profile(tmp_path, "default", {}) == load_profile(ROOT, "default", {})
    (tmp_path / "slurm" / "profiles").mkdir(parents=True)
    (tmp_path / "slurm" / "profiles" / "default.yaml").write_text("cpus: 3")
    assert load_profile(tmp_path, "default", {}).cpus == 3


@pytest.mark.parametrize(
    ("gres", "count"), [("gpu:2", 2), ("gpu:a100:3", 3), ("gpu", 1), ("shm:1,gpu:v100:4", 4)]
)
def test_gpus_that_gres_asks_for_are_counted(gres: str, count: int):
    profile = load_profile(ROOT, "default", {"gres": gres, "tasks": str(count)})
    assert profile.devices == count
    assert [check.ok for check in request_checks(profile, [], {})] == [True]
    wrong = load_profile(ROOT, "default", {"gres": gres, "tasks": str(count + 1)})
    (check,) = request_checks(wrong, [], {})
    assert f"asks for {count} GPUs and {count + 1} tasks" in check.found
