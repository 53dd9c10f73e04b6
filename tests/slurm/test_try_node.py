"""What a job needs is looked at on a node before it is queued; the nodes are those of a real SLURM."""

import re
import signal
import threading

import pytest
from project import Project
from slurm_cluster import NODES, Cluster, wait_until

from conftest import TINY

pytestmark = [
    pytest.mark.timeout(1800),  # jobs start slowly where others work, too
    pytest.mark.usefixtures("rehearsed"),
]

FIT = ["fit", *TINY, "--name", "first"]


def submit(project: Project, *options: object) -> tuple[int, str]:
    code, _, err = project.ired("submit", "--try-node", "--detach", *options, "--", *FIT)
    return code, err


def test_the_job_is_queued_once_all_its_nodes_have_what_it_needs(
    project: Project, cluster: Cluster
):
    code, err = submit(project, "--nodes", 2)
    assert code == 0, err
    tried, job = re.findall(r"^queued job (\d+)", err, re.MULTILINE)
    commit = project.git("rev-parse", "HEAD").strip()
    code_of_commit = f"{project.root.parent}/scratch/sources/{commit}/src/ired_interp"
    assert f"ok   source: {NODES[0]} sees the clone of commit {commit[:10]}" in err
    assert "ok   requeue: the job may go back into the queue" in err
    for node in NODES:
        assert f"ok   folder: {node} can write to {project.root}/runs" in err
        assert f"ok   scratch: {node} can write to {project.root.parent}/scratch" in err
        assert f"ok   environment: {node} imports {code_of_commit}, with PyTorch" in err
    assert "FAIL" not in err
    (folder,) = project.jobs()
    assert f'"job": "{job}"' in (folder / "submission.json").read_text(), "of the trial none stays"
    assert cluster.state(tried) != "RUNNING"


def test_a_gpu_that_pytorch_does_not_see_is_found_before_the_job(
    project: Project, cluster: Cluster
):
    code, err = submit(project, "--gpus", 1)
    assert code == 2
    assert re.search(
        r"FAIL gpu: PyTorch \S+ sees 0 of the 1 GPUs that 127.0.0.\d gives the job", err
    )
    assert "→ load the CUDA module, or use an environment whose PyTorch fits" in err
    assert err.endswith("log.txt\nnothing was queued\n")
    wait_until(lambda: not cluster.run("squeue", "-h").strip(), "no job is left")


def test_a_module_that_only_the_node_can_look_for(project: Project, cluster: Cluster):
    project.profile(modules=["nope/1.2"])
    code, _, err = project.ired("check", "--on-node", "--", *FIT)
    assert code == 2
    assert "FAIL node: it ended (failed) before all was looked at" in err
    assert "an environment module of the profile does not exist there" in err
    assert "correct modules in the profile" in err
    assert not cluster.run("squeue", "-h").strip()


def test_ctrl_c_leaves_no_job_behind(project: Project, cluster: Cluster):
    """The nodes are taken, so that the job waits."""
    for node in NODES:
        cluster.run("scontrol", "update", f"nodename={node}", "state=drain", "reason=test")

    def interrupt() -> None:
        wait_until(lambda: "try:" in cluster.run("squeue", "-h", "-o", "%j"), "the job waits")
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in background jobs
    thread = threading.Thread(target=interrupt)
    thread.start()
    code, err = submit(project)
    thread.join()
    assert (code, "stopped" in err) == (130, True)
    assert not cluster.run("squeue", "-h").strip()
