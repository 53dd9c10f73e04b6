"""No job is lost and none is doubled, whatever becomes of sbatch's answer; with a stand-in for SLURM."""

import itertools
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from ired_interp.cluster import queueing
from ired_interp.cluster.host import Host
from ired_interp.cluster.job import Job
from ired_interp.cluster.profile import Profile
from ired_interp.cluster.queueing import busy, job_folder, queue
from ired_interp.cluster.repository import Repository
from ired_interp.cluster.slurm import cancel, refusal
from ired_interp.cluster.submission import Submission, submissions
from ired_interp.cluster.tasks import JobTask
from ired_interp.errors import InputError, RunError

pytestmark = pytest.mark.process

QUEUED = """#!/bin/bash
n=$(cat "$SLURM_STANDIN/count" 2>/dev/null || echo 100); n=$((n + 1)); echo $n >"$SLURM_STANDIN/count"
for word; do [[ $word == --comment=* ]] && comment=${word#*=}; done
script=${@: -1}; name=$(sed -n 's/.*--job-name="\\(.*\\)"/\\1/p' "$script")
[[ -s $(dirname "$script")/submission.json ]] || echo "not recorded" >"$SLURM_STANDIN/fault"
printf '%s|PENDING|None|%s|%s\\n' $n "$name" "$comment" >>"$SLURM_STANDIN/queue"
"""
ANSWERS = {
    "a number": "echo $n",
    "a banner": 'echo "  Welcome to the Supercomputer"; echo "--> Verifying (login1)... OK"; echo $n',
    "a banner with numbers": "echo 2026; echo $n; echo 4711",
    "nothing": "exit 0",
    "a time-out": 'echo "sbatch: error: Batch job submission failed: Socket timed out" >&2; exit 1',
}


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let sbatch queue a job and then do this; squeue prints the queue, or fails where it is None."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "queue").touch()
    monkeypatch.setenv("SLURM_STANDIN", str(tmp_path))
    monkeypatch.delenv("SLURM_CONF", raising=False)
    monkeypatch.setattr(
        "ired_interp.cluster.host._clean_environment", lambda: dict(os.environ), raising=True
    )
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(queueing, "time", SimpleNamespace(sleep=lambda _: None, **_CLOCK))

    def program(name: str, text: str) -> None:
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)

    def behave(sbatch: str = "echo $n", squeue: str = 'cat "$SLURM_STANDIN/queue"') -> None:
        program("sbatch", QUEUED + sbatch)
        program("squeue", f"#!/bin/bash\n{squeue}\n")

    program("sacct", "#!/bin/bash\nexit 1\n")
    program("scontrol", "#!/bin/bash\nexit 1\n")
    behave()
    return behave


_CLOCK = {"strftime": queueing.time.strftime, "time": queueing.time.time}
_NAMES = itertools.count()


def submit(folder: Path, run: str = "", options: tuple[str, ...] = ()) -> Submission:
    """Queue a training of a run (by default a new one)."""
    host, run = Host(), run or f"{folder}/runs/a/{next(_NAMES)}"
    task = JobTask(0, "", ("fit", "--resume", run), run)
    job = Job(
        name=f"a/{Path(run).name}",
        tasks=(task,),
        profile=Profile(options=options),
        folder=job_folder(host, str(folder), Path(run).name),
        remote="/nowhere",
        commit="0" * 40,
        prefix="",
        project="",
        source="/far/source",
        environment="/far/environment",
    )
    return queue(host, job, Repository(folder, ""))


def queued(folder: Path) -> list[str]:
    return [line.split("|")[0] for line in (folder / "queue").read_text().splitlines()]


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_queued_job_is_known_whatever_sbatch_answers(tmp_path: Path, slurm, answer: str):
    slurm(ANSWERS[answer])
    submission = submit(tmp_path)
    assert submission.job == "101"
    assert queued(tmp_path) == ["101"]
    assert submissions(Host(), str(tmp_path)) == [submission]
    assert not (tmp_path / "fault").exists(), "it was recorded before SLURM was asked"


def test_a_job_of_a_federation_is_asked_about_where_it_is(tmp_path: Path, slurm, monkeypatch):
    """Another cluster has a job of the same number."""
    slurm(
        'echo "$n;beta"',
        squeue='[[ $1 == --clusters=beta ]] && echo "CLUSTER: beta" && cat "$SLURM_STANDIN/queue" '
        '|| [[ $1 == --clusters=alpha,beta ]] && cat "$SLURM_STANDIN/queue" '
        '|| echo "101|COMPLETED|None|other|other"',
    )
    one = submit(tmp_path)
    assert (one.job, one.cluster) == ("101", "beta")
    assert submissions(Host(), str(tmp_path)) == [one]
    assert busy(Host(), [one], one.tasks[0].run or "")
    stopped = tmp_path / "bin" / "scancel"
    stopped.write_text('#!/bin/bash\necho "$*" >"$SLURM_STANDIN/stopped"\n')
    stopped.chmod(0o755)
    cancel(Host(), [one.job], one.cluster)
    assert (tmp_path / "stopped").read_text() == "--clusters=beta 101\n"
    slurm(ANSWERS["a time-out"], squeue=(tmp_path / "bin" / "squeue").read_text())
    lost = submit(tmp_path, options=("--clusters=alpha,beta",))
    assert (lost.job, lost.cluster) == ("102", "alpha,beta")


def test_sbatch_that_does_not_answer_in_time(tmp_path: Path, slurm, monkeypatch):
    slurm("exec sleep 5")
    run = Host.run
    monkeypatch.setattr(
        Host,
        "run",
        lambda host, *words, **more: run(
            host, *words, **{**more, "seconds": 1.0 if "sbatch" in words else 60.0}
        ),
    )
    assert submit(tmp_path).job == "101"


def test_ctrl_c_while_sbatch_answers(tmp_path: Path, slurm, monkeypatch, capsys):
    run = Host.run

    def stopped(host: Host, *words: str, **more):
        done = run(host, *words, **more)
        if "sbatch" in words:
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(Host, "run", stopped)
    with pytest.raises(KeyboardInterrupt):
        submit(tmp_path)
    assert "job 101 was queued; ired cancel 101 takes it back" in capsys.readouterr().err
    assert [one.job for one in submissions(Host(), str(tmp_path))] == ["101"]


def test_a_job_that_could_not_be_looked_up_is_found_later_and_not_doubled(tmp_path: Path, slurm):
    run = f"{tmp_path}/runs/a/b"
    slurm(ANSWERS["a time-out"], squeue="exit 1")
    with pytest.raises(RunError, match=r"not known whether SLURM queued a/b .*Socket timed out"):
        submit(tmp_path, run)
    (one,) = submissions(Host(), str(tmp_path))
    assert one.job == ""
    with pytest.raises(InputError, match=r"not known whether the job of .* works on"):
        submit(tmp_path, run)
    slurm()
    (found,) = submissions(Host(), str(tmp_path))
    assert found == one.numbered("101")
    record = json.loads(Path(found.folder, "submission.json").read_text())
    assert record["job"] == record["tasks"][0]["job"] == "101"
    with pytest.raises(InputError, match=r"job 101 works on .*/b already"):
        submit(tmp_path, run)
    assert queued(tmp_path) == ["101"]


def test_a_job_that_was_never_queued_is_called_lost_after_a_while(
    tmp_path: Path, slurm, monkeypatch
):
    run = f"{tmp_path}/runs/a/b"
    slurm(ANSWERS["a time-out"], squeue="true")
    with pytest.raises(RunError):
        submit(tmp_path, run)
    (one,) = submissions(Host(), str(tmp_path))
    assert busy(Host(), [one], run), "an overloaded SLURM may queue it yet"
    assert busy(Host(), [replace(one, time=one.time - 601)], run) is None


def test_what_slurm_refuses_leaves_no_record_and_keeps_no_run(tmp_path: Path, slurm):
    run = f"{tmp_path}/runs/a/b"
    slurm('echo "sbatch: error: Batch job submission failed: Invalid qos" >&2; exit 1')
    with pytest.raises(InputError, match=r"SLURM refused the job: .*Invalid qos"):
        submit(tmp_path, run)
    assert submissions(Host(), str(tmp_path)) == []
    (tmp_path / "queue").write_text("")
    slurm()
    assert submit(tmp_path, run).job == "102"


def test_of_two_that_resume_a_run_at_once_one_is_queued(tmp_path: Path, slurm, monkeypatch):
    """The second finds no job at work, then the first takes the run before the second does."""
    run, real = f"{tmp_path}/runs/a/b", Host.run
    first = []

    def interleaved(host: Host, *words: str, **more):
        if queueing._CLAIM in words and not first:
            first.append(None)
            first.append(submit(tmp_path, run))
        return real(host, *words, **more)

    monkeypatch.setattr(Host, "run", interleaved)
    with pytest.raises(InputError, match=r"another submission takes .*runs/a/b at this moment"):
        submit(tmp_path, run)
    assert queued(tmp_path) == ["101"]
    assert [one.job for one in submissions(Host(), str(tmp_path))] == ["101"]
    (tmp_path / "queue").write_text("")  # it has ended
    assert submit(tmp_path, run).job == "102"


def test_a_comment_of_the_users_own_is_kept_before_the_token(tmp_path: Path, slurm):
    one = submit(tmp_path, options=("--comment=project 7",))
    assert (tmp_path / "queue").read_text().strip().endswith(f"|project 7 {one.token}")


def test_the_sites_variables_choose_what_the_profile_leaves_open(
    tmp_path: Path, slurm, monkeypatch
):
    for name in ("ACCOUNT", "QOS", "TIMELIMIT", "JOB_NAME"):
        monkeypatch.setenv(f"SBATCH_{name}", "site")
    monkeypatch.setenv("SQUEUE_PARTITION", "short")
    slurm(
        'compgen -e | grep ^SBATCH_ | sort >"$SLURM_STANDIN/seen"; echo $n',
        squeue='[[ $SQUEUE_PARTITION ]] || cat "$SLURM_STANDIN/queue"',
    )
    one = submit(tmp_path, options=("--qos=mine",))
    assert (tmp_path / "seen").read_text().split() == ["SBATCH_ACCOUNT"]
    assert busy(Host(), [one], one.tasks[0].run or ""), "a view of the user's hides no job"


def test_what_a_site_explains_is_shown_whole():
    said = (
        "sbatch: error: You must choose a project: add --account=def-<PI>.\n"
        "sbatch: error: See https://docs.example.org/accounts\n"
        "sbatch: error: Batch job submission failed: Unspecified error\n"
    )
    assert refusal(said) == (
        "Batch job submission failed: Unspecified error (You must choose a project: add "
        "--account=def-<PI>. See https://docs.example.org/accounts)"
    )
    assert refusal("bash: line 1: sbatch: Permission denied\n").endswith("Permission denied")
    assert refusal("") == "no reason"
