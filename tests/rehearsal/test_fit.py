"""The dry run of `ired fit`: a right one passes every check, and a wrong configuration is found."""

from pathlib import Path

import pytest

from ired_interp.energy import MLPEnergy
from rehearsals import SMALL, checks, failure, passed

pytestmark = pytest.mark.process


def test_a_right_job_passes_every_check_and_writes_nothing(user_module, tmp_path: Path):
    more = [
        word
        for name in ("hessian_spectrum", "gradient_statistics")
        for word in ("--config", f"callbacks/{name}.yaml")
    ]
    before = set(tmp_path.rglob("*"))
    lines = checks(["fit", *SMALL, *more, "--name", "first"], ranks=2)
    assert passed(lines) == ["configuration", "problems", "energy", "gradient", "training", "probe"]
    training = next(line["found"] for line in lines if line.get("check") == "training")
    assert "hessian_spectrum_y" in training
    assert "gradient_statistics_training" in training
    assert set(tmp_path.rglob("*")) == before


def test_facts_are_those_of_the_job_and_not_of_its_rehearsal(user_module):
    lines = checks(
        [
            "fit",
            *SMALL,
            "--trainer.devices",
            "4",
            "--trainer.num_nodes",
            "2",
            "--trainer.accelerator",
            "gpu",
        ],
        ranks=8,
    )
    passed(lines)
    (facts,) = [line["facts"] for line in lines if "facts" in line]
    weights = sum(p.numel() for p in MLPEnergy(4, 4, width=16).parameters())
    assert facts == {
        **{
            "experiment": "quickstart",
            "name": None,
            "runs": "runs",
            "save_every": 250,
            "batch_size": 256,
            "max_steps": 1700,
        },
        **{
            "devices": 4,
            "num_nodes": 2,
            "accelerator": "gpu",
            "trainable_parameters": weights,
            "dimensions": [4, 4],
        },
    }


def test_baselines_have_no_energy_to_check(user_module):
    lines = checks(
        [
            "fit",
            *SMALL[:2],
            "--config",
            "configs/baselines/feed_forward.yaml",
            "--model.width",
            "16",
        ]
    )
    assert passed(lines) == ["configuration", "problems", "training"]


def test_a_batch_that_ranks_cannot_share(user_module):
    check, message = failure("fit", *SMALL, "--data.batch_size", "250", ranks=4)
    assert check == "configuration"
    assert (
        "data.batch_size is 250, which 4 processes cannot share evenly | make it a multiple of 4"
        in message
    )


DISCRETE = {
    "connectivity": (*("--data.task.n", "5", "--data.task.harder_n", "7"),),
    "shortest_path": (
        *("--data.task.n", "9", "--data.task.harder_n", "10", "--model.energy.blocks", "2"),
        *("--data.task.shortest", "1", "--data.task.longest", "2"),
    ),
    "sudoku": (
        *("--data.task.puzzles", "40", "--model.energy.width", "8", "--model.energy.blocks", "1"),
    ),
}


@pytest.mark.parametrize("task", DISCRETE)
def test_the_discrete_tasks_pass_every_check(user_module, task: str):
    small = [*DISCRETE[task], "--data.batch_size", "8"]
    lines = checks(["fit", "--config", f"configs/{task}.yaml", *small])
    assert passed(lines) == ["configuration", "problems", "energy", "gradient", "training"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--trainer.strategy", "dpp"], "trainer.strategy is 'dpp'"),
        (["--trainer.accelerator", "gpus"], "trainer.accelerator is 'gpus'"),
        (["--model.energy", "ExactEnergy"], "no weights to train"),
        (["--print_config"], "only print help or a configuration"),
        (["--modl", "3"], "modl"),
    ],
)
def test_configurations_that_cannot_run(user_module, options: list[str], words: str):
    check, message = failure("fit", *SMALL[:2], *options)
    assert check == "configuration"
    assert words in message
