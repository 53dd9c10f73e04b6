"""Rehearsals of jobs, and the small parts that tests plant failures into."""

import json
from pathlib import Path
from typing import Any

from ired_interp.rehearsal.rehearse import rehearse

SMALL = ["--config", "configs/quickstart.yaml", "--model.energy.width", "16", "--data.task.n", "2"]


BOWL = """
class Bowl(Energy):
    def __init__(self, condition_dim: int, solution_dim: int, landscapes: int = 10) -> None:
        super().__init__(condition_dim, solution_dim, landscapes)
        self.linear = nn.Linear(condition_dim, solution_dim)
        self.kept = []

    def evaluate(self, context, y):
        x, k = context
        away = y - self.linear(x)
        {evaluate}

    {more}
"""


GOOD = "return away.square().sum(1)"


def energy(evaluate: str = GOOD, more: str = "") -> str:
    return BOWL.format(evaluate=evaluate, more=more)


def checks(*tasks: list[str], ranks: int = 1, thorough: bool = False) -> list[dict[str, Any]]:
    return list(rehearse({"tasks": list(tasks), "ranks": ranks, "thorough": thorough}))


def failure(*task: str, **request: Any) -> tuple[str, str]:
    """The one check of a task that fails, and its message; no check comes after it."""
    lines = checks(list(task), **request)
    assert [line["ok"] for line in lines if "check" in line].count(False) == 1, lines
    assert lines[-1]["ok"] is False
    return lines[-1]["check"], f"{lines[-1]['found']} | {lines[-1]['remedy']}"


def passed(lines: list[dict[str, Any]]) -> list[str]:
    assert all(line.get("ok", True) for line in lines), [
        line for line in lines if not line.get("ok", True)
    ]
    return [line["check"] for line in lines if "check" in line]


def probes_file(tmp_path: Path, class_path: str, **arguments: Any) -> list[str]:
    file = tmp_path / "probes.yaml"
    entry = {"class_path": class_path, "init_args": arguments}
    file.write_text(json.dumps({"trainer": {"callbacks+": [entry]}}))
    return ["--config", str(file)]
