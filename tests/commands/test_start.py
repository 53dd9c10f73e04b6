"""Commands that only read files start at once: they load neither PyTorch nor Lightning."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT
from runs import make_run

pytestmark = pytest.mark.process
PROGRAM = """
import json, sys
from ired_interp.cli import main

code = main(sys.argv[1:])
loaded = [name for name in ("torch", "lightning", "wandb", "geomstats") if name in sys.modules]
print(json.dumps([code, loaded]))
"""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["report", "runs/a/b"], "report.html"),
        (["runs"], "runs/a/b"),
        (["export", "runs/a/b"], "tables written"),
        (["watch", "runs/a/b"], "step 1000 of 1000"),
        (["status"], "no jobs were submitted"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_no_model_is_loaded_to_read_files(tmp_path: Path, arguments: list[str], words: str):
    make_run(tmp_path / "runs" / "a" / "b")
    (tmp_path / "slurm").symlink_to(ROOT / "slurm")
    subprocess.run(["git", "init", "--quiet", "."], cwd=tmp_path, check=True)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    *output, last = done.stdout.splitlines()
    assert json.loads(last) == [0, []], done.stderr
    assert words in "\n".join(output)
