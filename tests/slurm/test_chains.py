"""Jobs that wait for others, on a real cluster; the jobs themselves train nothing."""

import json
import re
from collections.abc import Iterator

import pytest
from project import Project
from slurm_cluster import Cluster, wait_until
from stand_in import stand_in

from ired_interp.cluster.preflight import Check, Preflight
from ired_interp.cluster.preflight.destination import run_checks
from ired_interp.cluster.slurm import ACTIVE

pytestmark = pytest.mark.timeout(1800)  # jobs start slowly where others work, too

# A training ends when it is told to, well or not; whatever else is done succeeds at once.
IRED = """#!/bin/bash
[[ $1 == fit ]] || exit 0
until [[ -e ENDS ]]; do sleep 0.1; done
exit "$(cat ENDS)"
"""


def unchecked(preflight: Preflight) -> Iterator[Check]:
    """The checks of a preflight that are not about what is rehearsed."""
    for task in preflight.tasks:
        preflight.facts[task.index] = {"name": task.option("--name")}
    yield from run_checks(preflight.site, preflight.job().tasks, preflight.after.folders)


@pytest.fixture
def small(
    repository: Project, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Project]:
    """A project whose jobs do nothing, and are not checked before."""
    ends = repository.root.parent / "ends"
    environment = stand_in(ends.parent, IRED, ends=ends)
    repository.profile(environment=str(environment))
    monkeypatch.setattr(Preflight, "checks", unchecked)
    yield repository
    ends.write_text("0")


def submit(project: Project, *arguments: object) -> str:
    """Submit, and return the job's number."""
    code, _, err = project.ired("submit", "--detach", *arguments)
    assert code == 0, err
    found = re.search(r"queued job (\d+)", err)
    assert found, err
    return found[1]


def reason(cluster: Cluster, job: str) -> str:
    return cluster.run("squeue", "-h", "-r", "-t", "all", "-j", job, "-o", "%T %r").strip()


def end(project: Project, code: int) -> None:
    (project.root.parent / "ends").write_text(str(code))


def test_a_job_waits_for_a_training_through_its_requeue_and_then_runs(
    small: Project, cluster: Cluster
):
    first = submit(small, "--", "fit", "--name", "first")
    other = cluster.run("sbatch", "--parsable", "--output=/dev/null", "--wrap=sleep 1").strip()
    probe = ["--", "probe", "--ckpt", "runs/default/first"]
    second = submit(small, "--after", "first", other, *probe)
    dependency = cluster.run("squeue", "-h", "-j", second, "-o", "%E").strip()
    assert dependency.startswith(f"afterok:{first}(unfulfilled)")
    code, out, _ = small.ired("status", second)
    assert code == 0
    assert f"{second}: waits for job {first}, {other}\n" in out
    # What goes on with the run may follow the jobs that work on it, and nothing else may.
    resume = ["--", "fit", "--resume", "runs/default/first"]
    code, _, err = small.ired("submit", *resume)
    assert code == 2
    assert f"job {first} works on" in err
    third = submit(small, "--after", first, second, *resume)
    wait_until(lambda: cluster.state(first) == "RUNNING", f"job {first} runs")
    cluster.run("scontrol", "requeue", first)
    wait_until(lambda: cluster.state(first) == "RUNNING", f"job {first} runs again")
    assert {reason(cluster, job) for job in (second, third)} == {"PENDING Dependency"}
    end(small, 0)
    for job in (first, second, third):
        wait_until(lambda job=job: cluster.state(job) == "COMPLETED", f"job {job} is done")
    for name in (first, "first"):
        code, _, err = small.ired("submit", "--after", name, *probe)
        assert code == 2
        assert re.search(rf"has ended well, so that .* leave out --after {name}", err)
    code, _, err = small.ired("submit", "--after", other, *probe)
    assert code == 2
    assert f"job {other} has ended (completed)" in err
    code, _, err = small.ired("submit", "--after", "9999999", *probe)
    assert code == 2
    assert "9999999 is no job or run that was submitted from here" in err


def test_what_waits_for_a_job_that_fails_ends_and_says_so(small: Project, cluster: Cluster):
    array = ["--array", "seed_everything=1,2", "--array_limit", 1, "--mail", "me@example.org"]
    first = submit(small, *array, "--", "fit", "--name", "first")
    shown = cluster.run("scontrol", "show", "job", first)
    assert {"ArrayTaskThrottle=1", "MailUser=me@example.org", "MailType=END,FAIL"} <= set(
        shown.split()
    )
    run = "runs/default/first-seed_everything=2"
    second = submit(small, "--after", run, "--", "fit", "--name", "second")
    dependency = cluster.run("squeue", "-h", "-j", second, "-o", "%E").strip()
    assert dependency.startswith(f"afterok:{first}_1("), "one task of the array"
    end(small, 1)
    wait_until(lambda: cluster.state(second) not in ACTIVE, f"job {second} has ended")
    assert reason(cluster, second) == "CANCELLED DependencyNeverSatisfied"
    code, out, _ = small.ired("status", second)
    assert code == 0
    assert "a job that this one waited for did not end well, so that it never started" in out
    code, _, err = small.ired("watch", "runs/default/second")
    assert code == 1
    assert "did not end well, so that it never started" in err
    code, _, err = small.ired("submit", "--after", first, "--", "fit", "--name", "third")
    assert code == 2
    assert re.search(rf"job {first}_0 has ended \(failed\), so that what waits for it", err)

    # All that failed goes on with one command: from its checkpoint where there is one.
    wait_until(lambda: cluster.state(first).split() == ["FAILED"] * 2, f"both of {first} failed")
    begun = small.root / "runs" / "default" / "first-seed_everything=2"
    begun.mkdir(parents=True)
    (begun / "config.yaml").touch()
    again = submit(small, "--failed", first)
    record = json.loads((small.jobs()[-1] / "submission.json").read_text())
    arguments = [task["arguments"] for task in record["tasks"]]
    assert arguments[0][:3] == ["fit", "--name", "first"]
    assert arguments[1][:3] == ["fit", "--resume", str(begun)]
    assert [task["run"] for task in record["tasks"]] == [
        str(begun.with_name(f"first-seed_everything={seed}")) for seed in (1, 2)
    ]
    end(small, 0)
    wait_until(lambda: cluster.state(again).split() == ["COMPLETED"] * 2, f"{again} is done")
    code, _, err = small.ired("submit", "--failed", again)
    assert code == 2
    assert f"no task of {again} has failed (2 completed)" in err
