"""Known ways in which jobs fail: what the log or SLURM says, the likely cause, and what to do."""

from __future__ import annotations

import re
from typing import NamedTuple

from ired_interp.cluster.slurm import NEVER, JobState


class Symptom(NamedTuple):
    """A pattern in a log's end, the cause it points to, and the remedy."""

    pattern: str
    cause: str
    remedy: str


# What Lmod and Environment Modules say; the latter may go on all the same.
NO_MODULE = re.compile(
    r"module\(s\) are unknown|Lmod has detected|ModuleCmd_Load|Unable to locate a modulefile"
)

# The first that matches is taken: the more specific stand before the more general.
IN_LOG = (
    Symptom(
        r"CUDA out of memory|torch\.OutOfMemoryError|CUBLAS_STATUS_ALLOC_FAILED",
        "the GPU's memory is full",
        "lower data.batch_size or the probe's memory_gib and problems, or ask for a larger GPU",
    ),
    Symptom(
        r"oom[-_ ]kill|Out Of Memory|OUT_OF_MEMORY|MemoryError|"
        r"Cannot allocate memory|can't allocate memory",
        "the memory of the request is full",
        "raise memory in the profile, or lower the probe's memory_gib",
    ),
    Symptom(
        r"No space left on device|Disk quota exceeded",
        "a disk is full or a quota is reached",
        "free space in the profile's folder or scratch",
    ),
    Symptom(
        r"NVIDIA driver on your system is too old|CUDA driver version is insufficient|"
        r"no kernel image is available",
        "the environment's PyTorch does not fit the node's GPU driver",
        "load another CUDA module, or pin a PyTorch build for that driver in the lock file",
    ),
    Symptom(
        r"No supported gpu backend found|no CUDA-capable device|CUDA error: invalid device ordinal",
        "the job sees no GPU",
        "set gpus in the profile, or trainer.accelerator to cpu",
    ),
    Symptom(
        r"not our ref|couldn't find remote ref|reference is not a tree",
        "the commit is not on the remote that the job clones from",
        "push it, then submit again",
    ),
    Symptom(
        r"Permission denied \(publickey|Could not read from remote repository|"
        r"Authentication failed for",
        "the repository could not be cloned for lack of access",
        "give the cluster a key for it, or set remote in the profile",
    ),
    Symptom(
        rf"{NO_MODULE.pattern}|module: command not found",
        "an environment module of the profile does not exist there",
        "correct modules in the profile; `module avail` lists them",
    ),
    Symptom(
        r"ResolutionImpossible|No matching distribution found|"
        r"Could not find a version that satisfies",
        "the environment could not be made from the lock file",
        "check the lock file against the profile's python, and that the node reaches the package "
        "index",
    ),
    Symptom(
        r"ModuleNotFoundError: .*|ImportError: .*",
        "a Python module is missing in the job's environment",
        "add it to pyproject.toml and the lock file, or to the profile's environment",
    ),
    Symptom(
        r"gradients exploded|the loss is nan|weights have diverged",
        "training diverged",
        "lower model.lr or trainer.gradient_clip_val, and check that the problems are normalised",
    ),
    Symptom(
        r"Address already in use|EADDRINUSE",
        "the port at which ranks meet is taken on that node",
        "submit again: another job number means another port",
    ),
    Symptom(
        r"(error: .*: tasks? [\d,-]+: (Killed|Segmentation fault|Bus error|Aborted))",
        "a process was killed",
        "if it was not on purpose, it mostly ran out of memory: raise memory in the profile",
    ),
    Symptom(
        r"NCCL error|NCCL timeout|Watchdog caught collective|"
        r"Connection closed by peer|Connection reset by peer",
        "the ranks lost each other, mostly because one of them ended",
        "look further up in the log for the first error",
    ),
    Symptom(
        r"srun: fatal|Unable to create step|More processors requested than permitted",
        "srun could not start the processes that were asked for",
        "check nodes, tasks and cpus of the profile against the partition",
    ),
)

BY_STATE = {
    "TIMEOUT": (
        "the time limit was reached before the job could save",
        "raise time or signal in the profile",
    ),
    "OUT_OF_MEMORY": ("the memory of the request is full", "raise memory in the profile"),
    "NODE_FAIL": ("the node failed", "SLURM queues the job again; `ired status` shows it"),
    "BOOT_FAIL": ("the node did not start", "submit again"),
    "DEADLINE": ("the job's deadline passed while it waited", "remove the deadline"),
    "CANCELLED": ("the job was cancelled", "submit it again when it is wanted"),
    "PREEMPTED": ("the job was taken off its node for another", "submit again with --resume"),
}

PENDING_REASONS = {
    "PartitionTimeLimit": "the time is above the partition's limit: lower time in the profile",
    "PartitionNodeLimit": "the partition has fewer nodes: lower nodes in the profile",
    "BadConstraints": "no node has what is asked for: check options and gpus in the profile",
    "AssocGrpGRES": "your account's share of GPUs is in use: wait, or use another account",
    "AssocMaxJobsLimit": "your account's number of jobs is reached: wait for others to end",
    "QOSMaxJobsPerUserLimit": "your number of jobs is reached: wait for others to end",
    "ReqNodeNotAvail": "a needed node is down or reserved: wait, or check options in the profile",
    NEVER: "what it waits for has failed, it will never start: cancel it",
    "Dependency": "it waits for another job to end well",
    "JobHeldAdmin": "an administrator holds it: ask them",
    "JobHeldUser": "you hold it: scontrol release it",
    "launch failed requeued held": (
        "no node could start it: look at the log, then scontrol release it"
    ),
}


class Cause(NamedTuple):
    """Why a job failed, and what to do."""

    sentence: str
    remedy: str


def diagnose(state: JobState, log: str) -> Cause:
    """Return the likely cause of a failed job, from SLURM's word for it and the end of its log."""
    if not log.strip() and state.exit_code == "0:53":
        return Cause(
            "SLURM could not write the log",
            "check that the profile's folder exists and is writable on the nodes",
        )
    if state.reason == NEVER:
        return Cause(
            f"a job that this one waited for did not end well, so that it never started ({NEVER})",
            "repair that one (`ired status` shows it), then submit both again",
        )
    ours = [line for line in log.splitlines() if line.startswith("ired: ")]
    for symptom in IN_LOG:
        if match := re.search(symptom.pattern, log):
            return Cause(
                f"{symptom.cause} (the log says: {match.group(0).strip()})", symptom.remedy
            )
    if state.word in BY_STATE:
        return Cause(*BY_STATE[state.word])
    if ours:
        return Cause(
            ours[-1].partition("ired: ")[2], "the sentence says what to do; submit again then"
        )
    if not log.strip():
        return Cause(
            "the log is empty", "the node may have failed while starting the job; submit again"
        )
    return Cause("no known symptom is in the log", "its end is shown by `ired logs`")
