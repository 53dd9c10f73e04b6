"""Causes that the program names when a job has failed, from logs as such failures leave them."""

import re

import pytest

from ired_interp.cluster.slurm import JobState
from ired_interp.cluster.symptoms import IN_LOG, diagnose

LOGS = {
    "the GPU's memory is full": "ired: OutOfMemoryError: CUDA out of memory. Tried 2.00 GiB",
    "the memory of the request is full": "slurmstepd: error: Detected 1 oom_kill event.",
    "a disk is full or a quota is reached": "OSError: [Errno 122] Disk quota exceeded",
    "the environment's PyTorch does not fit": "The NVIDIA driver on your system is too old.",
    "the job sees no GPU": "MisconfigurationException: No supported gpu backend found!",
    "the commit is not on the remote": "fatal: remote error: upload-pack: not our ref 0123",
    "could not be cloned for lack of access": "git@example.org: Permission denied (publickey).",
    "an environment module": "Lmod has detected the following error: unknown module(s)",
    "could not be made from the lock file": "ERROR: No matching distribution found for torch==9.9",
    "a Python module is missing": "ModuleNotFoundError: No module named 'mine'",
    "training diverged": "ired: the loss is nan at step 20: gradients exploded; lower model.lr",
    "the port at which ranks meet is taken": "The server socket has failed to listen: EADDRINUSE",
    "a process was killed": "srun: error: node7: task 1: Killed",
    "the ranks lost each other": "RuntimeError: [gloo] Connection closed by peer [127.0.0.1]:4711",
    "srun could not start the processes": "srun: error: Unable to create step for job 7",
}


@pytest.mark.parametrize("cause", LOGS)
def test_what_the_log_says(cause: str):
    found = diagnose(
        JobState("FAILED", "NonZeroExitCode", "1:0"), f"run /far/runs/a\n{LOGS[cause]}\n"
    )
    assert cause in found.sentence
    assert found.remedy


def test_every_symptom_has_a_log():
    assert len(LOGS) == len(IN_LOG)
    for symptom, log in zip(IN_LOG, LOGS.values(), strict=True):
        assert re.search(symptom.pattern, log)


def test_what_slurm_says():
    assert "time limit" in diagnose(JobState("TIMEOUT"), "step 3/9\n").sentence
    assert "memory" in diagnose(JobState("OUT_OF_MEMORY"), "step 3/9\n").sentence
    assert "could not write the log" in diagnose(JobState("FAILED", "", "0:53"), "").sentence


def test_a_sentence_of_our_own_is_passed_on():
    log = (
        "run /far/runs/a\nired: run /far/runs/a exists, and results are never overwritten; choose "
        "another --name.\n"
    )
    assert diagnose(JobState("FAILED"), log).sentence.startswith("run /far/runs/a exists")


def test_the_unknown_is_called_unknown():
    assert (
        diagnose(JobState("FAILED"), "something else\n").sentence
        == "no known symptom is in the log"
    )
