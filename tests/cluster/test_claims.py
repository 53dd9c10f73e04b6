"""A run that a submitted job trains is not trained by hand beside it, with a stand-in for squeue."""

import os
from pathlib import Path

import pytest

from conftest import Ired
from ired_interp.cluster.claims import check_no_job_trains
from ired_interp.cluster.host import Host
from ired_interp.cluster.preflight.destination import run_checks
from ired_interp.cluster.profile import Profile
from ired_interp.cluster.queueing import claim_runs
from ired_interp.cluster.repository import Repository
from ired_interp.cluster.site import Site
from ired_interp.cluster.submission import Submission, SubmittedTask, write_record
from ired_interp.cluster.tasks import JobTask
from ired_interp.errors import InputError
from ired_interp.results import Run
from ired_interp.results.writer import only_writer

pytestmark = pytest.mark.process


@pytest.fixture
def claimed(tmp_path: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch):
    """The run of job 7, of which squeue says this."""
    folder = tmp_path / "jobs" / "first"
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    folder.mkdir(parents=True)
    task = SubmittedTask("7", 0, "", ("fit",), str(tiny_run), f"{folder}/log.txt")
    one = Submission("7", "a/b", "default", str(folder), "0" * 40, 1.0, (task,), "ired-1")
    write_record(Host(), one)
    claim_runs(Host(), one)

    def say(state: str) -> Path:
        answer = f"echo '7|{state}|None|a/b|ired-1'" if state else "exit 1"
        (tmp_path / "bin" / "squeue").write_text(f"#!/bin/bash\n{answer}\n")
        (tmp_path / "bin" / "squeue").chmod(0o755)
        return tiny_run

    return say


def test_a_run_that_a_job_waits_to_train_is_not_resumed_by_hand(claimed, ired: Ired, monkeypatch):
    run = claimed("PENDING")
    code, _, err = ired("fit", "--resume", run, "--trainer.max_steps", 20)
    assert code == 2
    assert f"ired: job 7 works on {run} already; wait for it, or: ired cancel 7." in err
    claimed("")
    with pytest.raises(InputError, match="it is not known whether job 7 works on"):
        check_no_job_trains(run)
    claimed("COMPLETED")
    check_no_job_trains(run)


def test_the_job_itself_goes_on_with_its_run(claimed, tmp_path: Path):
    """Another one that waits for it has claimed the run since."""
    run = claimed("COMPLETED")
    task = SubmittedTask("8", 0, "", ("fit", "--resume"), str(run), f"{tmp_path}/log.txt")
    folder = tmp_path / "jobs" / "second"
    folder.mkdir()
    two = Submission("8", "a/b", "default", str(folder), "0" * 40, 2.0, (task,), "ired-2")
    write_record(Host(), two)
    claim_runs(Host(), two)
    (tmp_path / "bin" / "squeue").write_text(
        "#!/bin/bash\necho '7|RUNNING|None|a/b|ired-1'; echo '8|PENDING|Dependency|a/b|ired-2'\n"
    )
    check_no_job_trains(run, {"SLURM_JOB_ID": "7"})
    check_no_job_trains(run, {"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7"})
    check_no_job_trains(run, {"SLURM_JOB_ID": "8"})
    with pytest.raises(InputError, match="job 8 works on"):
        check_no_job_trains(run, {"SLURM_JOB_ID": "9"})


def test_a_run_that_is_trained_by_hand_is_not_submitted(claimed, tmp_path: Path):
    run = claimed("COMPLETED")
    site = Site(Host(), Profile(), Repository(tmp_path, ""), str(tmp_path))
    tasks = [JobTask(0, "", ("fit", "--resume", str(run)), str(run))]
    with only_writer(Run(run)):
        (check,) = run_checks(site, tasks)
        (waits,) = run_checks(site, tasks, [str(tmp_path / "jobs" / "first")])
    assert (check.ok, "started by hand" in check.found) == (False, True)
    assert waits.ok, "it begins after the job that holds the run"
    (check,) = run_checks(site, tasks)
    assert check.ok


def test_a_job_goes_on_with_its_run_while_others_wait_for_it(claimed, tmp_path: Path):
    """Job 8 waits for 7, and 9 for 8, to train the same run; 7 comes back from the queue."""
    run = claimed("PENDING")
    before = str(tmp_path / "jobs" / "first")
    for number, waits_for in (("8", "7"), ("9", "8_3")):
        folder = tmp_path / "jobs" / number
        folder.mkdir()
        task = SubmittedTask(number, 0, "", ("fit",), str(run), f"{folder}/log.txt")
        one = Submission(
            number,
            "a/b",
            "default",
            str(folder),
            "0" * 40,
            1.0,
            (task,),
            "ired-1",
            "",
            (waits_for,),
        )
        write_record(Host(), one)
        claim_runs(Host(), one, [before])
        before = str(folder)
    queue = "".join(f"echo '{n}|PENDING|None|a/b|ired-1'\n" for n in "789")
    (tmp_path / "bin" / "squeue").write_text(f"#!/bin/bash\n{queue}")
    for number in "789":
        check_no_job_trains(run, {"SLURM_JOB_ID": number})
    with pytest.raises(InputError, match="job 9 works on"):
        check_no_job_trains(run, {})
