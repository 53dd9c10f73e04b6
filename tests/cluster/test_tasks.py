"""The commands of a job: combinations of an array, names of runs, places."""

import pytest

from ired_interp.cluster.tasks import make_tasks
from ired_interp.errors import InputError


def test_one_command():
    (task,) = make_tasks(
        ["probe", "--ckpt", "runs/a/b", "/elsewhere/c", "--output=out", "--problems", "4"],
        [],
        "/far",
    )
    assert task.arguments == (
        "probe",
        "--ckpt",
        "/far/runs/a/b",
        "/elsewhere/c",
        "--output=/far/out",
        "--problems",
        "4",
    )
    assert (task.index, task.label) == (0, "")


def test_every_combination_of_an_array():
    arrays = ["data.task.rank=1,2", "--trainer.callbacks=[],[a,b]", "config=configs/a.yaml"]
    tasks = make_tasks(["fit", "--config", "x.yaml"], arrays, "/far")
    assert [task.label for task in tasks] == [
        "rank=1-callbacks=-a",
        "rank=1-callbacks=a-b-a",
        "rank=2-callbacks=-a",
        "rank=2-callbacks=a-b-a",
    ]
    assert tasks[3].arguments[3:] == (
        "--data.task.rank",
        "2",
        "--trainer.callbacks",
        "[a,b]",
        "--config",
        "configs/a.yaml",
    )
    assert tasks[3].option("--config") == "configs/a.yaml"


@pytest.mark.parametrize(
    ("arguments", "arrays", "words"),
    [
        ([], [], "nothing stands after --"),
        (["report"], [], "'report' stands after --"),
        (["fit"], ["rank"], "'rank' is not valid"),
        (["fit"], ["rank=1,,2"], "is not valid"),
        (["fit"], ["seed=1,1"], "two tasks of the same name, seed=1"),
        (["fit", "--resume", "a"], ["seed=1,2"], "--resume names one"),
    ],
)
def test_mistakes(arguments, arrays, words):
    with pytest.raises(InputError, match=words):
        make_tasks(arguments, arrays, "/far")
