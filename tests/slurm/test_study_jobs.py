"""A study as arrays of jobs: each thing is made once, whatever is interrupted or fails."""

import re
from pathlib import Path

import pytest
import yaml
from project import Project
from slurm_cluster import Cluster, wait_until
from stand_in import TRAINS, stand_in

from ired_interp.cluster.preflight import Preflight
from ired_interp.cluster.slurm import ACTIVE
from ired_interp.studies import arrays

pytestmark = pytest.mark.timeout(1800)  # jobs start slowly where others work, too

STUDY = {
    "question": "Does anything learn in six steps?",
    "seeds": [0],
    "options": {
        "model.energy.width": 16,
        "data.batch_size": 16,
        "data.validation_problems": 40,
        "data.test_problems": 40,
        "trainer.max_steps": 6,
        "trainer.val_check_interval": 3,
    },
    "trainings": {"small": {"config": "quickstart", "grid": {"data.task.n": [2, 3]}}},
    "probes": ["gradient_statistics"],
}


def queued(err: str) -> dict[str, str]:
    """The jobs that were queued, by name."""
    return {name: job for job, name in re.findall(r"queued job (\d+) (\S+), ", err)}


def wait_for(cluster: Cluster, jobs: object) -> None:
    for job in list(jobs):  # type: ignore[call-overload]
        wait_until(lambda job=job: not ACTIVE & set(cluster.state(job).split()), f"{job} has ended")


def dependency(cluster: Cluster, job: str) -> set[str]:
    lines = cluster.run("squeue", "-h", "-r", "-j", job, "-o", "%E").split()
    return {line.partition("(")[0] for line in lines}


def test_interrupted_it_goes_on_and_what_failed_is_made_again(
    repository: Project, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
):
    made, mended = repository.root.parent / "made", repository.root.parent / "mended"
    environment = stand_in(made.parent, TRAINS, made=made, mended=mended)
    repository.add("tiny.yaml", yaml.safe_dump(STUDY))
    repository.profile(environment=str(environment), options=["--hold"])
    monkeypatch.setattr(Preflight, "checks", lambda self: iter(()))
    study = ["study", "tiny.yaml", "--profile", "default"]

    code, out, _ = repository.ired(*study, "--dry-run")
    assert code == 0
    assert out.count("[to queue] ired ") == 6
    assert not (repository.root / "jobs").exists()

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    queue = arrays.queue
    monkeypatch.setattr(arrays, "queue", lambda *a: stopped() if ":" in a[1].name else queue(*a))
    code, _, err = repository.ired(*study)
    assert code != 0, "stopped between the trainings and what follows them"
    (trainings,) = queued(err).values()
    monkeypatch.setattr(arrays, "queue", queue)
    code, out, err = repository.ired(*study)
    assert code == 0, err
    behind = queued(err)
    assert set(behind) == {"test:tiny", "gradient_statistics:tiny"}
    for job in behind.values():
        assert dependency(cluster, job) == {f"aftercorr:{trainings}_*"}
    assert "6 of 6 steps are left to jobs" in err

    for again in (study, ["study", "tiny.yaml"]):  # here, too, nothing is made beside the jobs
        code, _, err = repository.ired(*again)
        assert queued(err) == {}
        assert len(list(repository.root.glob("jobs/*/submission.json"))) == 3
    assert code == 1
    assert "fit is left to a job of profile default" in err
    code, out, _ = repository.ired(*study, "--dry-run")
    assert out.count(f"[job {trainings}_1: pending]") == 1

    cluster.run("scontrol", "release", trainings, *behind.values())
    wait_for(cluster, [trainings, *behind.values()])
    assert sorted(line.split()[0] for line in made.read_text().splitlines()) == [
        "fit",
        "fit",
        "probe",
        "test",
    ]
    mended.touch()
    repository.profile(environment=str(environment))
    code, _, err = repository.ired(*study)
    assert code == 0, err
    assert re.search(rf"small n=3, seed 0: fit \(job {trainings}_1: failed\); likely cause", err)
    assert re.search(r"n=3, seed 0: test \(job \d+_1: cancelled\); .*waited for did not end", err)
    again_queued = queued(err)
    assert set(again_queued) == {"tiny", "test:tiny", "gradient_statistics:tiny"}
    wait_for(cluster, again_queued.values())
    lines = made.read_text().splitlines()[4:]
    assert [line.split()[:2] for line in lines[:1]] == [["fit", "--resume"]]
    assert sorted(line.split()[0] for line in lines) == ["fit", "probe", "test"]
    code, _, err = repository.ired(*study)
    assert code == 0, err
    assert queued(err) == {}
    assert "all 6 steps are done" in err


def test_it_trains_and_tests_and_the_table_is_printed_here(project: Project, cluster: Cluster):
    one = {"trainings": {"small": {"config": "quickstart"}}, "probes": []}
    project.add("tiny.yaml", yaml.safe_dump({**STUDY, **one}))
    code, _, err = project.ired("study", "tiny.yaml", "--profile", "default")
    assert code == 0, err
    assert "ok   evaluation [small, seed 0]" in err, "on a run that is to come"
    jobs = queued(err)
    wait_for(cluster, jobs.values())
    code, out, err = project.ired("study", "tiny.yaml")
    assert code == 0, err
    assert "1 of 1 trainings" in out
    assert " … (" not in err, "nothing was left to make"
    assert list(Path("runs/tiny/small-seed0/results/test_error").iterdir())
