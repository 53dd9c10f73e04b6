"""The dry run of a job: a right one passes every check, and each planted failure is found before anything is queued."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import ROOT, TINY, Ired
from ired_interp.energy import Energy, MLPEnergy
from ired_interp.loggers import WandB
from ired_interp.module import IREDModule
from ired_interp.rehearsal.contract import check_energy, check_gradient
from ired_interp.rehearsal.fault import Fault, explain
from ired_interp.rehearsal.gpu import covered
from ired_interp.rehearsal.memory import repeated
from ired_interp.rehearsal.rehearse import rehearse
from ired_interp.tasks.base import Problems

SMALL = ["--config", "configs/quickstart.yaml", "--model.energy.width", "16", "--data.task.n", "2"]

HEAD = """
import numpy as np
import torch
from torch import nn
from lightning.pytorch import Callback
from ired_interp.callbacks import ProbeCallback
from ired_interp.energy import Energy
from ired_interp.errors import RunError
from ired_interp.probes import Probe
from ired_interp.tasks import Inverse
from ired_interp.tasks.base import Problems
"""
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


@pytest.fixture
def own(ired: Ired, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write a module of the user's own into the empty folder of `ired`, and return its path."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "loggers").symlink_to(ROOT / "loggers")

    def write(name: str, text: str) -> Path:
        file = tmp_path / f"{name}.py"
        file.write_text(HEAD + text)
        monkeypatch.delitem(sys.modules, name, raising=False)
        return file

    return write


def energy(evaluate: str = GOOD, more: str = "") -> str:
    return BOWL.format(evaluate=evaluate, more=more)


def checks(*tasks: list[str], ranks: int = 1, thorough: bool = False) -> list[dict[str, Any]]:
    return list(rehearse({"tasks": list(tasks), "ranks": ranks, "thorough": thorough}))


def failure(*task: str, **request: Any) -> tuple[str, str]:
    """The one check of a task that fails, and what it says; the last of its lines, since later checks depend on it."""
    lines = checks(list(task), **request)
    assert [line["ok"] for line in lines if "check" in line].count(False) == 1, lines
    assert lines[-1]["ok"] is False
    return lines[-1]["check"], f"{lines[-1]['found']} | {lines[-1]['remedy']}"


def passed(lines: list[dict[str, Any]]) -> list[str]:
    assert all(line.get("ok", True) for line in lines), [
        line for line in lines if not line.get("ok", True)
    ]
    return [line["check"] for line in lines if "check" in line]


def test_a_right_job_passes_every_check_and_writes_nothing(own, tmp_path: Path):
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


def test_facts_are_those_of_the_job_and_not_of_its_rehearsal(own):
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


def test_baselines_have_no_energy_to_check(own):
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


def test_loggers_write_into_the_temporary_folder(own, tmp_path: Path):
    before = set(tmp_path.rglob("*"))
    passed(checks(["fit", *SMALL, "--config", "loggers/tensorboard.yaml"]))
    assert set(tmp_path.rglob("*")) == before
    elsewhere = tmp_path / "elsewhere"
    log = f'[{{"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {{"save_dir": "{elsewhere}"}}}}]'
    passed(checks(["fit", *SMALL, "--trainer.logger", log]))
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("class_path", "words"),
    [
        ("nowhere.Bowl", "No module named 'nowhere'"),
        ("ired_interp.tasks.MLPEnergy", "module 'ired_interp.tasks' has no attribute 'MLPEnergy'"),
        (
            "ired_interp.energy.MLPEnergie",
            "module 'ired_interp.energy' has no attribute 'MLPEnergie'",
        ),
        ("importing.Bowl", "cannot import name 'NoEnergy' from 'ired_interp.energy'"),
        ("importing.Bowl", "importing.py:12: from ired_interp.energy import NoEnergy"),
    ],
)
def test_imports_that_fail_are_named(own, class_path: str, words: str):
    file = own("importing", "from ired_interp.energy import NoEnergy\nclass Bowl(NoEnergy): pass\n")
    assert file.read_text().splitlines()[11] == "from ired_interp.energy import NoEnergy"
    check, said = failure("fit", *SMALL[:2], "--model.energy", class_path)
    assert check == "configuration"
    assert words in said


def test_an_error_in_a_constructor_is_shown_at_its_line(own):
    file = own("constructing", energy().replace("self.kept = []", "self.kept = len(3)"))
    check, said = failure("fit", *SMALL[:2], "--model.energy", "constructing.Bowl")
    line = file.read_text().splitlines().index("        self.kept = len(3)") + 1
    assert check == "configuration"
    assert said.startswith("TypeError: object of type 'int' has no len()")
    assert f"{file}:{line}: self.kept = len(3)" in said


@pytest.mark.parametrize(
    ("place", "check"),
    [("import", "configuration"), ("constructor", "configuration"), ("evaluate", "energy")],
)
def test_an_exit_is_a_failed_check_at_its_line(own, place: str, check: str):
    leave = "raise SystemExit(3)"
    text = {
        "import": f"{leave}\n" + energy(),
        "constructor": energy().replace("self.kept = []", leave),
        "evaluate": energy(leave),
    }[place]
    file = own(f"leaving_{place}", text)
    found, said = failure("fit", *SMALL[:2], "--model.energy", f"leaving_{place}.Bowl")
    line = [text.strip() for text in file.read_text().splitlines()].index(leave) + 1
    assert found == check
    assert f"SystemExit: 3 ({file}:{line}: {leave})" in said


def test_a_task_that_draws_numpy_arrays(own):
    own(
        "drawing",
        "class Arrays(Inverse):\n    def sample(self, *a):\n        return Problems(*(t.numpy() for t in super().sample(*a)))\n",
    )
    check, said = failure("fit", *SMALL[:2], "--data.task", "drawing.Arrays")
    assert check == "problems"
    assert "inverse draws x as numpy.ndarray | return torch tensors from its sample()" in said


def test_a_task_that_draws_another_type_or_values_that_are_no_numbers(own):
    text = "class Bad(Inverse):\n    def sample(self, *a):\n        x, y = super().sample(*a)\n        return Problems({})\n"
    own("double", text.format("x.double(), y"))
    assert (
        "inverse draws x as torch.float64, but the model's weights are torch.float32"
        in failure("fit", *SMALL[:2], "--data.task", "double.Bad")[1]
    )
    own("infinite", text.format("x, y / 0"))
    check, said = failure("fit", *SMALL[:2], "--data.task", "infinite.Bad")
    assert check == "problems"
    assert "drew y with NaN or infinite values" in said


WRONG = {
    "numpy": (
        "return away.square().sum(1).detach().numpy()",
        "",
        "energy",
        "returned an energy as numpy.ndarray",
    ),
    "column": (
        "return away.square().sum(1, keepdim=True)",
        "",
        "energy",
        "energy of shape (4, 1) for 4 rows",
    ),
    "scalar": ("return away.square().sum()", "", "energy", "energy of shape () for 4 rows"),
    "nan": ("return away.square().sum(1) / 0", "", "energy", "not finite in landscape 0"),
    "mixed": ("return away.square().sum(1) * y.sum()", "", "energy", "among others"),
    "gradient": (
        GOOD,
        "def evaluate_with_gradient(self, context, y):\n        return self.evaluate(context, y), y - self.linear(context[0])",
        "gradient",
        "from what autograd says of its energy",
    ),
    "transposed": (
        GOOD,
        "def evaluate_with_gradient(self, context, y):\n        return self.evaluate(context, y), 2 * (y - self.linear(context[0])).T",
        "gradient",
        "returned a gradient of shape (16, 4) for y of (4, 16)",
    ),
    "detached": (
        "return (away.detach() * away).sum(1)",
        "",
        "gradient",
        "from a central difference of its energy",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_an_energy_that_breaks_its_contract(own, kind: str):
    evaluate, more, expected, words = WRONG[kind]
    own(f"energy_{kind}", energy(evaluate, more))
    check, said = failure("fit", *SMALL[:2], "--model.energy", f"energy_{kind}.Bowl")
    assert check == expected
    assert f"Bowl {words}" in said or words in said


def test_an_energy_that_keeps_its_contract(own):
    own("fine", energy())
    passed(checks(["fit", *SMALL[:2], "--model.energy", "fine.Bowl"]))


class Quartic(Energy):
    """Σ(y + x)⁴, whose gradient is right up to a factor."""

    def __init__(self, factor: float) -> None:
        super().__init__(5, 5)
        self.factor = factor

    def evaluate(self, context, y):
        return (y + context[0]).pow(4).sum(1)

    def evaluate_with_gradient(self, context, y):
        return self.evaluate(context, y), self.factor * 4 * (y + context[0]).pow(3)


def test_the_gradient_is_held_against_its_stated_tolerance():
    problems = Problems(*torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0)))
    for factor in (1, 1.0005):
        module = IREDModule(Quartic(factor))
        check_energy(module, problems)
        check_gradient(module, problems)
    with pytest.raises(Fault, match="autograd"):
        check_gradient(IREDModule(Quartic(1.005)), problems)


def test_a_batch_that_ranks_cannot_share(own):
    check, said = failure("fit", *SMALL, "--data.batch_size", "250", ranks=4)
    assert check == "configuration"
    assert (
        "data.batch_size is 250, which 4 processes cannot share evenly | make it a multiple of 4"
        in said
    )


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
def test_configurations_that_cannot_run(own, options: list[str], words: str):
    check, said = failure("fit", *SMALL[:2], *options)
    assert check == "configuration"
    assert words in said


def probes_file(tmp_path: Path, class_path: str, **arguments: Any) -> list[str]:
    file = tmp_path / "probes.yaml"
    entry = {"class_path": class_path, "init_args": arguments}
    file.write_text(json.dumps({"trainer": {"callbacks+": [entry]}}))
    return ["--config", str(file)]


def test_an_unknown_keyword_of_a_probe(own, tmp_path: Path):
    added = probes_file(tmp_path, "ired_interp.callbacks.HessianSpectrum", colour=3)
    assert failure("fit", *SMALL, *added)[1].startswith(
        "the configuration is not valid: Option 'colour' is not accepted"
    )
    check, said = failure("probe", "--ckpt", "runs", *added)
    assert check == "arguments"
    assert "'colour' is not accepted" in said


def test_a_setting_that_a_probe_refuses_is_found_whatever_is_made_smaller(own, tmp_path: Path):
    added = probes_file(tmp_path, "ired_interp.callbacks.HessianSpectrum", landscapes=[0, 3, 12])
    check, said = failure("fit", *SMALL, *added)
    assert check == "training"
    assert "this model has 0 to 9" in said
    added = probes_file(tmp_path, "ired_interp.callbacks.SubspaceDrift", p=4)
    assert "p=4 dimensions fill their space of 4" in failure("fit", *SMALL, *added)[1]


OWN_PROBE = """
class Odd(Probe):
    name = "odd"
    def __init__(self, least: int = 4) -> None:
        self.least = least
    def __call__(self, snapshot):
        import xarray as xr
        from ired_interp.errors import InputError
        if len(snapshot.batch.y) < self.least:
            raise InputError(f"odd needs {self.least} problems")
        BODY
        return xr.Dataset({"odd": 1.0})

class OddCallback(ProbeCallback):
    def __init__(self, every_n_steps: int = 1000, problems: int = 32, least: int = 4) -> None:
        super().__init__(Odd(least), every_n_steps, "raw", problems)
"""


def test_a_probe_that_needs_more_problems_gets_those_it_is_configured_with(own, tmp_path: Path):
    own("needing", OWN_PROBE.replace("BODY", "pass"))
    passed(
        checks(["fit", *SMALL, *probes_file(tmp_path, "needing.OddCallback", least=9, problems=9)])
    )
    check, said = failure(
        "fit", *SMALL, *probes_file(tmp_path, "needing.OddCallback", least=9, problems=8)
    )
    assert check == "training"
    assert "odd at step 3 failed: odd needs 9 problems" in said


def test_a_probe_that_fails(own, tmp_path: Path):
    own("failing", OWN_PROBE.replace("BODY", 'raise RunError("odd cannot be measured.")'))
    check, said = failure("fit", *SMALL, *probes_file(tmp_path, "failing.OddCallback"))
    assert check == "training"
    assert "odd at step 3 failed: odd cannot be measured." in said
    text = OWN_PROBE.replace("BODY", "snapshot.batch.x.eigenvalues()")
    file = own("raising", text.replace('name = "odd"', 'name = "raising"'))
    said = failure("fit", *SMALL, *probes_file(tmp_path, "raising.OddCallback"))[1]
    assert said.startswith("AttributeError: 'Tensor' object has no attribute 'eigenvalues'")
    assert f"{file}:" in said


def test_a_task_that_fails_does_not_end_the_others(own):
    bad = ["fit", *SMALL, "--model.lr", "-1"]
    lines = checks(bad, ["report", "runs"], ["fit", *SMALL])
    outcome = {
        task: [line["ok"] for line in lines if line["task"] == task and "ok" in line]
        for task in range(3)
    }
    assert outcome[0] == outcome[1] == [False]
    assert [line["found"] for line in lines if line["task"] == 1] == [
        "'report' is no command of a job"
    ]
    assert len(outcome[2]) == 5
    assert all(outcome[2])


def test_trained_runs_pass_and_are_left_as_they_are(
    own, ired: Ired, tiny_run: Path, tmp_path: Path
):
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    ckpt = ["--ckpt", str(tiny_run)]
    more = ["--resume", str(tiny_run), "--trainer.max_steps", "20"]
    lines = checks(["probe", *ckpt], ["test", *ckpt], ["validate", *ckpt], ["fit", *more])
    assert passed([line for line in lines if line["task"] == 0]) == [
        *("arguments", "checkpoint", "problems", "energy", "gradient", "probes"),
    ]
    assert passed([line for line in lines if line["task"] == 1]) == [
        "arguments",
        "checkpoint",
        "problems",
        "evaluation",
    ]
    assert passed([line for line in lines if line["task"] == 2]) == [
        "arguments",
        "checkpoint",
        "problems",
        "evaluation",
    ]
    assert "checkpoint" in passed([line for line in lines if line["task"] == 3])
    facts = next(line["facts"] for line in lines if "facts" in line)
    assert (facts["step"], facts["run"]) == (12, str(tiny_run))
    assert {
        path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()
    } == before


def test_a_run_whose_subspaces_are_followed_goes_on(own, ired: Ired, tmp_path: Path):
    code, _, err = ired(
        "fit", *TINY, "--config", "callbacks/subspace_drift.yaml", "--name", "drift"
    )
    assert code == 0, err
    run = tmp_path / "runs" / "quickstart" / "drift"
    before = sorted(run.rglob("*"))
    passed(checks(["fit", "--resume", str(run), "--trainer.max_steps", "20"]))
    assert sorted(run.rglob("*")) == before
    check, said = failure("fit", "--resume", str(run))
    assert check == "checkpoint"
    assert "has done 12 of 12 steps" in said


@pytest.mark.parametrize("command", ["probe", "test", "validate"])
def test_checkpoints_that_cannot_be_used(
    own, ired: Ired, tiny_run: Path, tmp_path: Path, command: str
):
    good = (tiny_run / "checkpoints" / "last.ckpt").read_bytes()
    (tmp_path / "truncated.ckpt").write_bytes(good[: len(good) // 2])
    (tmp_path / "code.ckpt").write_bytes(
        pickle.dumps({"state_dict": os.getcwd, "global_step": 1, "ired_config": ""})
    )
    for name, words in (
        ("missing.ckpt", "cannot be read (No such file or directory)"),
        ("truncated.ckpt", "is truncated or damaged"),
        ("code.ckpt", "holds code beside them"),
    ):
        check, said = failure(command, "--ckpt", name)
        assert check == "checkpoint"
        assert words in said


def test_a_model_for_other_sizes_than_the_data(own, ired: Ired, tiny_run: Path, tmp_path: Path):
    check, said = failure("test", "--ckpt", str(tiny_run), "--data.task.n", "2")
    assert check == "checkpoint"
    assert (
        "does not fit the model: energy.fc1.weight has shape (16, 32) in the checkpoint and (16, 8) in the model"
        in said
    )
    data = tmp_path / "data.yaml"
    data.write_text("data: {task: {class_path: Inverse, init_args: {n: 2}}}\n")
    check, said = failure("probe", "--ckpt", str(tiny_run), "--config", str(data))
    assert check == "checkpoint"
    assert (
        "takes problems of 16 and answers of 16 entries, but the task of --config has 4 and 4"
        in said
    )


def test_resuming_a_run_without_a_checkpoint(own, ired: Ired, tiny_run: Path):
    (tiny_run / "checkpoints" / "last.ckpt").unlink()
    check, said = failure("fit", "--resume", str(tiny_run), "--trainer.max_steps", "20")
    assert check == "checkpoint"
    assert "holds no checkpoint" in said


def test_resuming_a_run_that_never_began_starts_it(own, ired: Ired, tiny_run: Path, tmp_path: Path):
    run = tmp_path / "begun"
    run.mkdir()
    (run / "config.yaml").write_text((tiny_run / "config.yaml").read_text())
    lines = checks(["fit", "--resume", str(run)])
    assert "training" in passed(lines)
    assert "never began: from step 0" in next(
        line["found"] for line in lines if line.get("check") == "checkpoint"
    )
    assert [path.name for path in run.iterdir()] == ["config.yaml"]


KEEPING = """
class Keeper(Callback):
    def __init__(self) -> None:
        self.kept = []
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        {keep}
"""


def test_a_callback_that_keeps_every_graph_leaks(own, tmp_path: Path):
    own("forgetting", KEEPING.format(keep="self.kept = [pl_module.energy(batch.x, batch.y, 0)]"))
    added = probes_file(tmp_path, "forgetting.Keeper")
    assert passed(checks(["fit", *SMALL, *added], thorough=True))[-2:] == ["memory", "gpu"]
    own("keeping", KEEPING.format(keep="self.kept.append(pl_module.energy(batch.x, batch.y, 0))"))
    check, said = failure("fit", *SMALL, *probes_file(tmp_path, "keeping.Keeper"), thorough=True)
    assert check == "memory"
    assert "resident memory grew by" in said
    assert "detach() or drop" in said


def test_repetitions_that_keep_a_batch_grow_and_others_do_not():
    kept = []
    size = 2**18  # float64: 2 MiB
    assert repeated(lambda: np.ones(size)) < 2**20
    grown = repeated(lambda: kept.append(np.ones(size)))
    assert grown == pytest.approx(30 * size * 8, rel=0.1)  # pages, and what else the process does


def test_wandb_is_offline_whatever_is_configured(
    own, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    modes = []
    begin = WandB._begin
    monkeypatch.setattr(
        WandB,
        "_begin",
        lambda self, mode: (modes.append((mode, self.save_dir)), begin(self, mode))[1],
    )
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # where nobody listens
    file = tmp_path / "online.yaml"
    file.write_text(
        (ROOT / "loggers" / "wandb.yaml").read_text().replace("mode: auto", "mode: online")
    )
    before = set(tmp_path.rglob("*"))
    for config in ("loggers/wandb.yaml", str(file)):
        passed(checks(["fit", *SMALL, "--config", config]))
    assert [mode for mode, _ in modes] == ["offline", "offline"]
    assert all("ired-rehearsal-" in place for _, place in modes)
    assert set(tmp_path.rglob("*")) == before


def test_busy_time_counts_overlapping_kernels_once():
    assert covered([(0, 2), (1, 3), (5, 6), (5.5, 5.75)]) == 4


def test_an_error_names_the_users_line_behind_a_librarys():
    try:
        try:
            json.loads("{")
        except ValueError as error:
            raise KeyError("wrapped") from error
    except KeyError as error:
        found, remedy = explain(error)
    assert found.startswith("JSONDecodeError")
    assert f"{__file__}:" in found
    assert 'json.loads("{")' in found
    assert remedy


def test_the_subprocess_speaks_json_lines_alone(tmp_path: Path):
    configs = ROOT / "configs"
    fit = ["fit", "--config", str(configs / "quickstart.yaml"), "--model.energy.width", "16"]
    test = ["test", "--config", str(configs / "linear_gaussian.yaml")]  # prints a table
    request: dict[str, Any] = {"tasks": [fit, test]}
    request |= {"ranks": 2, "thorough": False}
    environment = {**os.environ, "SLURM_NTASKS": "2", "SLURM_JOB_NAME": "job", "RANK": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "ired_interp.rehearsal"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        check=False,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert passed(lines)[:5] == ["configuration", "problems", "energy", "gradient", "training"]
    assert passed(lines)[5:] == ["arguments", "checkpoint", "problems", "evaluation"]
    assert "perfect energy, same inference" in done.stderr
    assert "done: 3 steps" in done.stderr
    assert list(tmp_path.iterdir()) == []
