"""What starts from a run that another job has yet to make is rehearsed on that run, made small."""

import pytest

from ired_interp.rehearsal.rehearse import rehearse
from rehearsals import SMALL, passed

RUN = "/far/away/runs/a/b"
pytestmark = pytest.mark.process


def checks(*tasks: list[str], fit: list[str]) -> list[dict]:
    place = ["--runs", "/far/away/runs", "--experiment", "a", "--name", "b"]
    request = {"tasks": tasks, "ranks": 1, "thorough": False}
    return list(rehearse({**request, "runs_to_come": {RUN: ["fit", *fit, *place]}}))


def test_a_probe_and_a_test_and_what_goes_on_with_it():
    probe = ["probe", "--ckpt", RUN, "--probes", "gradient_statistics", "--problems", "4"]
    tasks = [probe, ["test", f"--ckpt={RUN}"], ["fit", "--resume", RUN]]
    found = passed(checks(*tasks, fit=SMALL))
    assert found.count("checkpoint") == 3
    assert {"probes", "evaluation", "training"} <= set(found)


def test_a_training_that_cannot_be_is_why_its_probe_cannot():
    lines = checks(["probe", "--ckpt", RUN], fit=[*SMALL, "--model.energy.width", "none"])
    assert [line["check"] for line in lines] == ["checkpoint"]
    assert "width" in lines[0]["found"]
