"""The job script between SLURM's signals and the queue, run with stand-ins for SLURM's commands."""

import os
import subprocess
from pathlib import Path

import pytest

from ired_interp.cluster.job import Job
from ired_interp.cluster.profile import Profile
from ired_interp.cluster.repository import Repository
from ired_interp.cluster.tasks import JobTask
from ired_interp.errors import InputError

pytestmark = pytest.mark.process

START = "StartTime=2026-11-26T10:00:00"
BEFORE, NOW = "PreemptTime=2026-11-26T09:00:00", "PreemptTime=2026-11-26T10:30:00"


@pytest.fixture
def run_job(tmp_path: Path):
    """Run a job's script: (output, exit code that it left or None, whether srun was started)."""
    for folder in ("bin", "job", "source"):
        (tmp_path / folder).mkdir()
    task = JobTask(0, "", ("fit",), f"{tmp_path}/runs/a/b")
    job = Job(
        name="a/b",
        tasks=(task,),
        profile=Profile(
            environment="/env", options=("--comment=two words",), requeues=2, gres="gpu:a100:1"
        ),
        folder=f"{tmp_path}/job",
        remote="/nowhere",
        commit="0" * 40,
        prefix="",
        project="",
        source=f"{tmp_path}/source",
        environment="/env",
    )
    script = job.script(Repository(tmp_path, ""))
    (tmp_path / "job" / "ended-0").write_text("1\n")  # of an earlier run of the job
    (tmp_path / "job" / "log.txt").touch()

    def run(
        srun: str,
        facts: str = START,
        requeue: str = "true",
        prepare: str = "true",
        restarts: int = 0,
    ):
        (tmp_path / "job" / "prepare.sh").write_text(prepare)
        for name, text in {
            "srun": f"touch {tmp_path}/started; {srun}",
            "scontrol": f"[[ $1 == show ]] && echo 'JobId=7 {facts}' || {requeue}",
            "scancel": "true",
            "nvidia-smi": f"echo $@ >{tmp_path}/asked; echo 83, 4000; exec /bin/sleep 300",
            "sleep": "kill -9 $PPID",  # SLURM ends a script that it has taken back
        }.items():
            (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{text}\n")
            (tmp_path / "bin" / name).chmod(0o755)
        done = subprocess.run(
            ["bash", "-c", script],
            env={
                **os.environ,
                "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
                "SLURM_JOB_ID": "7",
                "SLURM_CPUS_PER_TASK": "1",
                "SLURM_RESTART_COUNT": str(restarts),
            },
            capture_output=True,
            text=True,
        )
        left = tmp_path / "job" / "ended-0"
        code = left.read_text().strip() if left.exists() else None
        return done.stdout + done.stderr, code, (tmp_path / "started").exists()

    assert "#SBATCH '--comment=two words'\n" in script
    return run


def test_it_leaves_the_exit_code_of_its_command(run_job):
    assert run_job("exit 0") == ("", "0", True)
    output, code, _ = run_job("exit 3")
    assert code == "3"
    assert "queue" not in output


def test_a_fault_of_its_own_after_an_earlier_preemption_does_not_go_round_for_ever(run_job):
    output, code, _ = run_job("exit 3", f"{START} {BEFORE}")
    assert code == "3"
    assert "queue" not in output


def test_a_preemption_brings_it_back_into_the_queue(run_job):
    output, code, _ = run_job("exit 143", f"{START} {NOW}")
    assert "job 7 goes back into the queue" in output
    assert code is None, "it has not ended"


def test_time_that_is_up_before_srun_brings_it_back_and_begins_nothing(run_job):
    output, code, started = run_job("exit 0", prepare="[[ $1 == source ]] && kill -USR1 $PPID")
    assert "job 7 goes back into the queue" in output
    assert (code, started) == (None, False)


def test_where_requeueing_is_forbidden_it_says_how_to_go_on(run_job):
    output, code, _ = run_job("exit 143", f"{START} {NOW}", requeue="exit 1")
    assert "ired: SLURM does not take the job back into the queue; go on with it: ired" in output
    assert code == "143"


def test_a_training_that_is_requeued_without_a_new_step_ends_with_a_sentence(run_job, tmp_path):
    """Step 7 of the first start is new; then `requeues` = 2 starts may bring nothing."""
    log = tmp_path / "job" / "log.txt"
    stuck = f"echo 'step 7/9 loss 1' >>{log}; exit 143"
    starts = [run_job(stuck, f"{START} {NOW}", restarts=count) for count in range(5)]
    assert [code for _, code, _ in starts] == [None, None, None, None, "1"]
    assert "came back from the queue 3 times and never got beyond step 7; raise" in starts[-1][0]
    assert f"ired submit -- fit --resume {tmp_path}/runs/a/b" in starts[-1][0]
    log.write_text("")
    moving = f"echo 'step {{}}/99 loss 1' >>{log}; exit 143"
    starts = [run_job(moving.format(n), f"{START} {NOW}", restarts=n) for n in range(8)]
    assert {code for _, code, _ in starts} == {None}


def test_it_keeps_how_long_it_took_and_how_busy_its_gpus_were(run_job, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    for start in range(2):
        run_job(f"until [[ -s {tmp_path}/job/gpu-0 ]]; do :; done; exit 0", restarts=start)
    used = (tmp_path / "job" / "used-0").read_text().split()
    assert len(used) == 2
    assert all(second.isdigit() for second in used)
    assert (tmp_path / "job" / "gpu-0").read_text() == "83, 4000\n" * 2
    assert (tmp_path / "asked").read_text().startswith("--id=2,3 --query-gpu=utilization.gpu,")


def array_of(indices: list[int], **settings: object) -> Job:
    tasks = tuple(JobTask(index, "", ("test",)) for index in indices)
    profile = Profile(environment="/env", **settings)  # type: ignore[arg-type]
    return Job("a", tasks, profile, "/j", "/nowhere", "0" * 40, "", "", "/s", "/env")


@pytest.mark.parametrize(
    ("indices", "limit", "text"),
    [([0, 1, 2], 0, "0-2"), ([0, 1, 2], 2, "0-2%2"), ([7, 0, 3, 4, 9], 1, "0,3-4,7,9%1")],
)
def test_an_array_has_the_indices_of_its_tasks(tmp_path, indices, limit, text):
    job = array_of(indices, array_limit=limit)
    assert f"#SBATCH --array={text}\n" in job.script(Repository(tmp_path, ""))


def test_a_template_that_leaves_out_what_is_asked_for_is_refused(tmp_path: Path):
    """As one that was copied before there was such a setting."""
    (tmp_path / "slurm").mkdir()
    template = tmp_path / "slurm" / "job.sbatch"
    template.write_text('#!/bin/bash\n#SBATCH --job-name="{{ job.name }}"\n')
    repository = Repository(tmp_path, "")
    assert array_of([0]).script(repository)
    for indices, settings, missing in (
        ([0, 1], {}, "--array=0-1"),
        ([0], {"qos": "long"}, "--qos=long"),
        ([0], {"gres": "gpu:1"}, "--gres=gpu:1"),
        ([0], {"mail": "a@b.c"}, "--mail-user=a@b.c"),
    ):
        with pytest.raises(InputError, match=f"{template} leaves out {missing}, which"):
            array_of(indices, **settings).script(repository)
