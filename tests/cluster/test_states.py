"""Where a job's state comes from when SLURM's queue has forgotten it, with stand-ins for SLURM."""

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from conftest import ROOT, Ired
from ired_interp.cluster.follow import follow
from ired_interp.cluster.host import Host
from ired_interp.cluster.profile import Profile
from ired_interp.cluster.slurm import accounts_of, submit
from ired_interp.cluster.submission import submissions
from ired_interp.errors import RunError

TOKEN = "ired-0123456789abcdef"
RECORD = {"job": "7", "name": "a/b", "profile": "default", "commit": "0" * 40, "time": 1.0}
RUNNING = f"7|RUNNING|None|a/b|{TOKEN}"


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Make SLURM's commands print a text, or fail if it is None."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def answer(**texts: str | None) -> None:
        for name in ("squeue", "scontrol", "sacct"):
            text = texts.get(name)
            (folder / name).write_text(
                "#!/bin/sh\nexit 1\n" if text is None else f"#!/bin/sh\nprintf '{text}'\n"
            )
            (folder / name).chmod(0o755)

    return answer


@pytest.fixture
def job(tmp_path: Path, ired: Ired) -> Path:
    """The folder of a job that was submitted from here."""
    (tmp_path / "slurm").symlink_to(ROOT / "slurm")
    os.system("git init --quiet .")
    folder = tmp_path / "jobs" / "first"
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("step 3/9 loss 1\n")
    task = {
        "job": "7",
        "index": 0,
        "label": "",
        "arguments": ["fit"],
        "run": str(tmp_path / "runs/a/b"),
        "log": str(folder / "log.txt"),
    }
    (folder / "submission.json").write_text(
        json.dumps({**RECORD, "folder": str(folder), "tasks": [task], "token": TOKEN}, indent=1)
    )
    return folder


def test_from_the_queue(job: Path, ired: Ired, commands):
    commands(squeue=RUNNING)
    _, out, _ = ired("status")
    assert "running" in out
    assert "3/9" in out
    commands(squeue=f"7|PENDING|QOSMaxJobsPerUserLimit|a/b|note of mine {TOKEN}")
    _, out, _ = ired("status", "b")
    assert "your number of jobs is reached" in out


def test_from_accounting(job: Path, ired: Ired, commands):
    commands(squeue="", sacct="7|CANCELLED by 1000|0:15|Dependency|a/b|")
    _, out, _ = ired("status", "7")
    assert "the job was cancelled" in out
    commands(squeue="", sacct="7|COMPLETED|0:0|None|another|")
    _, out, _ = ired("status", "7")
    assert "unknown" in out


def test_from_accounting_of_what_never_started(job: Path, ired: Ired, commands):
    """Nobody has cancelled it, and it waited for another; array tasks stand in one row."""
    never = "did not end well, so that it never started (DependencyNeverSatisfied)"
    commands(squeue="", sacct="7|CANCELLED|0:0|Dependency|a/b|")
    assert never in ired("status", "7")[1]
    commands(squeue="", sacct="7|CANCELLED|0:0|Priority|a/b|")
    assert "the job was cancelled" in ired("status", "7")[1]
    rows = ["7_0|FAILED|1:0|None|a/b|", "7_[2-3,8-12:2%%2]|CANCELLED|0:0|Dependency|a/b|"]
    commands(sacct="\\n".join(rows))
    found = accounts_of(Host(), ["7"])
    assert list(found) == [f"7_{index}" for index in (0, 2, 3, 8, 10, 12)]
    assert {one.state.word for one in found.values()} == {"FAILED", "CANCELLED"}


@pytest.mark.parametrize("queue", ["", None], ids=["forgotten", "the controller does not answer"])
@pytest.mark.parametrize(("code", "word"), [("0", "completed"), ("1", "failed"), (None, "")])
def test_from_what_the_job_left(
    job: Path, ired: Ired, commands, code: str | None, word: str, queue: str | None
):
    """Without accounting."""
    commands(squeue=queue)
    if code is None:
        word = "unknown" if queue == "" else "not known"
    else:
        (job / "ended-0").write_text(f"{code}\n")
    _, out, _ = ired("status", "7")
    assert word in out


def test_a_job_that_does_not_exist(job: Path, ired: Ired, commands):
    commands(squeue="")
    code, _, err = ired("status", "8")
    assert code == 2
    assert "8 is no job or run that was submitted from here; the newest jobs are 7." in err
    code, _, err = ired("cancel", "7")
    assert code == 2
    assert "nothing to cancel" in err


def test_the_same_number_of_another_job_is_not_ours(job: Path, ired: Ired, commands):
    """SLURM counts from the start again after so many jobs, and when it is set up anew."""
    commands(squeue="7|RUNNING|None|a/b|ired-ffffffffffffffff")
    assert "unknown" in ired("status", "7")[1]
    code, _, err = ired("cancel", "7")
    assert code == 2
    assert "nothing to cancel" in err


def test_what_could_not_be_asked_is_not_taken_for_ended(
    job: Path, ired: Ired, commands, monkeypatch: pytest.MonkeyPatch
):
    commands()
    code, out, _ = ired("status", "7")
    assert code == 0
    assert "not known" in out
    assert "likely cause" not in out
    code, _, err = ired("cancel", "7")
    assert code == 1
    assert "whether 7 runs is not known" in err
    pauses = []

    def more(pause: float) -> None:
        pauses.append(pause)
        if len(pauses) == 12:
            (job / "log.txt").write_text("step 3/9 loss 1\ndone\n")
            commands(squeue=f"7|COMPLETED|None|a/b|{TOKEN}")

    monkeypatch.setattr("ired_interp.commands.cluster.time", SimpleNamespace(sleep=more))
    code, out, _ = ired("logs", "-f", "7")
    assert code == 0
    assert out == "step 3/9 loss 1\ndone\n"
    assert pauses[:3] == [2, 3, 4.5], "slower and slower while nothing comes"
    assert pauses[-1] == 60


@pytest.mark.parametrize("word", ["NODE_FAIL", "PREEMPTED"])
def test_a_job_on_its_way_back_into_the_queue_has_not_failed(
    job: Path, ired: Ired, commands, monkeypatch: pytest.MonkeyPatch, capsys, word: str
):
    (one,) = submissions(Host(), str(job.parents[1]))
    steps = [word, word, "PENDING", "RUNNING"]

    def later(_: float) -> None:
        commands(squeue=f"7|{steps.pop(0)}|None|a/b|{TOKEN}")

    monkeypatch.setattr("ired_interp.cluster.follow.time", SimpleNamespace(sleep=later))
    (job / "log.txt").write_text("")
    commands(squeue=RUNNING)
    monkeypatch.setattr(
        Host, "tail", lambda *_: "" if steps else "commit 0 in /far\nstep 1/9 loss 1\n"
    )
    assert follow(Host(), one)
    assert f"{word.lower()}" in capsys.readouterr().err
    steps = [word] * 100
    assert not follow(Host(), one), "where it stays so, it has"
    assert 90 < len(steps) < 100


def test_a_damaged_record_is_named_and_hides_no_other(job: Path, ired: Ired, commands):
    commands(squeue=RUNNING)
    for name, text in (("empty", ""), ("half", '{"job": "8", "na'), ("other", "[1]")):
        (job.parent / name).mkdir()
        (job.parent / name / "submission.json").write_text(text)
    code, out, err = ired("status")
    assert code == 0
    assert "running" in out
    for name in ("empty", "half", "other"):
        assert f"{name}/submission.json is damaged and left out" in err


def test_nothing_was_submitted(job: Path, ired: Ired, commands):
    (job / "submission.json").unlink()
    code, out, _ = ired("status")
    assert code == 0
    assert "no jobs were submitted from" in out


def test_a_machine_without_slurm(
    job: Path, ired: Ired, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """What the job left can be read anywhere; what needs SLURM says what to do."""
    few = tmp_path / "few"
    few.mkdir()
    for name in ("bash", "cat", "git", "tr", "tail"):
        (few / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(few))
    (job / "ended-0").write_text("0\n")
    assert "completed" in ired("status")[1]
    with pytest.raises(
        RunError, match="sbatch does not exist on this machine; run this on a login node"
    ):
        submit(Host(), "job.sbatch", TOKEN, Profile())


def test_a_log_is_followed_byte_for_byte(
    job: Path, ired: Ired, commands, monkeypatch: pytest.MonkeyPatch
):
    """Carriage returns, bytes that are no text, and a character that is half written."""
    log = "step 1\r\nλ_max ".encode() + b"\xff \xce"
    (job / "log.txt").write_bytes(log)
    commands(squeue=RUNNING)

    def more(_: float) -> None:
        with (job / "log.txt").open("ab") as file:
            file.write(b"\xbb\r\ndone\n")
        commands(squeue=f"7|COMPLETED|None|a/b|{TOKEN}")

    monkeypatch.setattr("ired_interp.commands.cluster.time", SimpleNamespace(sleep=more))
    code, out, err = ired("logs", "-f", "7")
    assert code == 0, err
    assert out == "step 1\r\nλ_max \ufffd λ\r\ndone\n"


def test_a_run_that_is_still_being_made_is_not_listed(job: Path, ired: Ired, tmp_path: Path):
    made = tmp_path / "runs" / "a" / ".b.123"
    made.mkdir(parents=True)
    (made / "config.yaml").write_text("experiment: a")
    _, out, _ = ired("runs")
    assert "no runs in runs" in out
