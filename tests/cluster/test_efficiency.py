"""What a job used of what it asked for, from what the job and SLURM's accounts have kept."""

import os
from pathlib import Path

import pytest

from ired_interp.cluster.efficiency import efficiency, seconds_used
from ired_interp.cluster.host import Host
from ired_interp.cluster.submission import Submission, SubmittedTask

pytestmark = pytest.mark.process

SCRIPT = "#!/bin/bash\n#SBATCH --time=02:00:00\n#SBATCH --gpus-per-node=1\n#SBATCH --mem=4G\n"


@pytest.fixture
def submission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Submission:
    """An array of three of which two have ended, without accounting."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    accounts(tmp_path, None)
    (tmp_path / "job.sbatch").write_text(SCRIPT)
    (tmp_path / "used-0").write_text("1800\n1800\n")  # it was requeued once
    (tmp_path / "gpu-0").write_text("90, 4000\n70, 4000\n")
    (tmp_path / "used-1").write_text("900\n")
    (tmp_path / "gpu-1").write_text("100, 10\n")
    tasks = tuple(SubmittedTask(f"7_{i}", i, "", ("fit",), None, "") for i in range(3))
    return Submission("7", "a", "default", str(tmp_path), "0" * 40, 1.0, tasks)


def accounts(folder: Path, sizes: str | None) -> None:
    text = "exit 1" if sizes is None else f"printf '{sizes}'"
    (folder / "bin" / "sacct").write_text(f"#!/bin/bash\n{text}\n")
    (folder / "bin" / "sacct").chmod(0o755)


def test_hours_gpus_and_memory(submission: Submission, tmp_path: Path):
    ended = submission.tasks[:2]
    line = efficiency(Host(), submission, ended)
    hours = "7, 2 ended tasks: used 1.25 of 4.00 h asked, 31 %; GPU busy 90 %; "
    assert line == f"{hours}memory not known (SLURM has no account of it)"
    accounts(tmp_path, "\\n0\\n")  # it ended before SLURM looked
    assert efficiency(Host(), submission, ended) == line
    accounts(tmp_path, "\\n1024K\\n3145728K\\n0\\n")
    line = efficiency(Host(), submission, ended)
    assert line == f"{hours}largest process 3.00 GiB of 4G, 75 %"
    assert seconds_used(Host(), submission, ended[0]) == 3600


def test_what_is_not_known_is_said_to_be(submission: Submission, tmp_path: Path):
    line = efficiency(Host(), submission, submission.tasks)
    assert "used 1.25 of 4.00 h asked, 31 % (of 1 tasks not known); GPU busy 90 %" in line
    (tmp_path / "job.sbatch").write_text(SCRIPT.replace("gpus-per-node=1", "gres=lustre:1"))
    assert "GPU" not in efficiency(Host(), submission, submission.tasks)
    (tmp_path / "job.sbatch").write_text(SCRIPT.replace("gpus-per-node=1", "gres=gpu:a100:1"))
    last = efficiency(Host(), submission, submission.tasks[2:])
    assert last.startswith(
        "7: hours not known (the job left no record of them); GPU busy not known (nvidia-smi said"
    )
