"""A training that collapses is said, recorded and shown, and what comes after it takes the best."""

import json
from pathlib import Path

import pytest
import torch

import ired_interp as ii
from conftest import Ired
from ired_interp.errors import InputError
from ired_interp.results import Run
from ired_interp.results.choice import choice_of
from ired_interp.results.state import state

CONFIG = """
experiment: e
model:
  class_path: IREDModule
  init_args:
    energy: {class_path: MLPEnergy, init_args: {width: 32}}
    lr: 3.0e-3
    test_steps: []
data: {task: {class_path: Addition, init_args: {n: 2}}, batch_size: 64, validation_problems: 200, test_problems: 200}
weight_averaging: {decay: 0.5, every_n_steps: 1}
save_every: 35
trainer:
  max_steps: 90
  val_check_interval: 10
  accelerator: cpu
  logger: [{class_path: divergence.RunTable}]
  callbacks: [{class_path: divergence.HugeSteps, init_args: {step: 60, lr: LR}}]
"""
RUN = "runs/e/a"


@pytest.fixture
def fit(ired: Ired, tmp_path: Path):
    """Train well for 60 steps, then with a learning rate of `lr`, in the folder runs/e/<name>."""

    def run(*arguments: object, lr: float = 0.1, name: str = "a") -> tuple[int, str]:
        config = tmp_path / f"{name}.yaml"
        config.write_text(CONFIG.replace("LR", str(lr)))
        code, _, err = ired("fit", "--config", config, "--name", name, *arguments)
        return code, err

    return run


def lines(text: str, word: str) -> list[str]:
    return [line for line in text.splitlines() if word in line]


@pytest.mark.process
def test_a_collapse_is_said_recorded_and_shown_and_the_best_is_tested(fit, ired: Ired):
    code, err = fit()
    assert code == 0, err
    (same,) = lines(err, "(same)")
    assert same.startswith("collapse at step 70: validation error (same) ")
    assert "at step 60, and above that of “best constant" in same
    assert f"{RUN}/checkpoints/best-step=60.ckpt holds the best" in same
    assert "a lower model.lr (it is 0.003)" in same
    assert "lr_schedule that decays, model.objective.contrast_weight 0." in same

    record = json.loads(Path(RUN, "validation.json").read_text())
    assert [one["step"] for one in record["courses"]["same"]["setbacks"]] == [70]
    assert "same: collapsed at 70" in Path("table.txt").read_text().splitlines()[-1]
    _, out, _ = ired("runs")
    assert "collapsed at 70" in " ".join(out.split())
    assert "best at 60" in out

    code, out, err = ired("test", "--ckpt", RUN)
    assert code == 0, err
    assert "checkpoint: best of validation, step 60 (val error 0.0" in err
    assert "worse than the best" not in out
    code, out, err = ired("test", "--ckpt", RUN, "--which", "last")
    assert code == 0, err
    assert "checkpoint: last, step 90" in err
    assert "This checkpoint is worse than the best of validation: error " in out
    assert "at step 60, which" in out

    code, _, err = ired("report", RUN)
    assert code == 0, err
    page = Path(RUN, "report.html").read_text()
    learned = page.index("Did it learn?")
    assert learned < page.index("Collapse at step 70: validation error (same)") < learned + 300
    tested = [s for s in ii.open(RUN).series if s.probe == "test_error"]
    assert sorted(step for s in tested for step in s.steps) == [60, 90]
    best = next(s.at(60) for s in tested if 60 in s.steps)["error"].sel(variant="same").item()
    assert f"Same: error {best:.3g}" in page, "the page shows the test of the best"


@pytest.mark.process
def test_commands_say_which_checkpoint_they_take(fit, ired: Ired):
    assert fit("--trainer.max_steps", 75)[0] == 0
    best = "checkpoint: best of validation, step 60 (val error "
    for command in (("validate", "--ckpt", RUN), ("probe", "--ckpt", RUN, "--problems", 2)):
        code, _, err = ired(*command)
        assert (code, len(lines(err, best))) == (0, 1), err
        code, _, err = ired(*command, "--which", "last")
        assert (code, lines(err, "checkpoint: ")) == (0, ["checkpoint: last, step 75"]), err
        file = f"{RUN}/checkpoints/last.ckpt"
        code, _, err = ired(*command[:2], file, "--which", "best")
        assert (code, f"but {file} is one file" in err) == (2, True)
    for command in ("export", "report"):
        code, _, err = ired(command, RUN)
        assert (code, len(lines(err, best))) == (0, 1), err
    code, _, err = ired("test", "--which", "last", "--config", "configs/exact.yaml")
    assert code == 2
    assert ii.load(RUN).energy.state_dict().keys()
    weights = [ii.load(RUN, which=which).energy.fc1.weight for which in ("best", "last", None)]
    assert torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], weights[1])
    with pytest.raises(InputError, match="one file"):
        ii.load(file, which="last")


@pytest.mark.process
def test_the_best_holds_the_averaged_weights_as_the_last_does(fit, ired: Ired):
    averaging = ("--weight_averaging.every_n_steps", 7)  # so that the average is not the last step
    assert fit("--trainer.max_steps", 60, *averaging)[0] == 0
    best, last = (
        torch.load(f"{RUN}/checkpoints/{name}.ckpt", weights_only=True)
        for name in ("best-step=60", "last")
    )
    assert best["global_step"] == last["global_step"] == 60
    for key in ("state_dict", "current_model_state"):
        assert all(torch.equal(value, last[key][name]) for name, value in best[key].items()), key
    name = "energy.fc1.weight"
    assert not torch.equal(best["state_dict"][name], best["current_model_state"][name])


@pytest.mark.process
def test_asked_to_a_collapse_ends_the_run_which_can_go_on(fit, ired: Ired):
    code, err = fit("--stop_on_collapse", "true")
    assert code == 1, err
    (said,) = lines(err, "ired: ")
    assert said.startswith("ired: collapse at step 70: validation error (same)")
    assert "stopped there, as stop_on_collapse asks" in said
    assert "done:" not in err
    assert torch.load(f"{RUN}/checkpoints/last.ckpt", weights_only=True)["global_step"] == 70
    assert state(Run(Path(RUN))).startswith("failed: collapse at step 70")
    code, _, err = ired("fit", "--resume", RUN)
    assert code == 0, err
    assert "resumed from last.ckpt" in err
    assert not lines(err, "collapse at"), "it is said once"


@pytest.mark.process
def test_a_run_that_goes_on_knows_what_came_before(fit, ired: Ired, tmp_path: Path):
    assert fit(name="whole")[0] == 0
    code, err = fit("--trainer.max_steps", 75, name="stopped")
    assert code == 0, err
    moved = tmp_path / "runs" / "elsewhere" / "b"
    moved.parent.mkdir()
    Path("runs/e/stopped").rename(moved)
    (moved / "validation.json").unlink()
    code, _, err = ired("fit", "--resume", moved, "--trainer.max_steps", 90)
    assert code == 0, err
    assert not lines(err, "collapse at"), "it was said before"
    assert (moved / "validation.json").read_text() == Path(
        "runs/e/whole/validation.json"
    ).read_text()
    kept = [path.name for path in (moved / "checkpoints").glob("best*")]
    assert kept == ["best-step=60.ckpt"], "a worse one does not join the best of before"


def test_a_training_that_never_passes_its_floor_says_so_at_its_end(fit, ired: Ired):
    code, err = fit("--trainer.max_steps", 10)
    assert code == 0, err
    same, harder = lines(err, "never came below that of")
    assert same.startswith("validation error (same) never came below that of “best constant")
    assert "train longer" in harder
    _, out, _ = ired("runs")
    assert "never below" in out
    code, _, err = ired("fit", "--resume", RUN, "--trainer.max_steps", 40)
    assert code == 0, err
    assert not lines(err, "never came below")
    assert " ok " in ired("runs")[1]


@pytest.mark.process
def test_without_a_best_the_last_is_taken(fit, ired: Ired):
    code, err = fit("--keep_best", 0, "--trainer.max_steps", 80)
    assert code == 0, err
    assert "no checkpoint holds the best (keep_best is 0)" in err
    choice = choice_of(Run(Path(RUN)))
    assert choice is not None
    assert choice.path.name == "last.ckpt"
    _, _, err = ired("validate", "--ckpt", RUN)
    assert "checkpoint: last, as no validation has kept a best, step 80" in err


@pytest.mark.process
@pytest.mark.parametrize("command", ["test", "validate"])
def test_weights_that_are_no_numbers_have_diverged(fit, ired: Ired, command: str):
    code, err = fit("--trainer.max_steps", 70, lr=1.0)
    assert code == 0, err
    assert "collapse at step 70: validation error (same) nan is no number, after" in err
    code, out, err = ired(command, "--ckpt", RUN, "--which", "last")
    assert (code, out) == (1, "")
    (said,) = lines(err, "ired: ")
    assert f"{RUN}/checkpoints/last.ckpt, step 70, diverged: energy." in said
    assert ired(command, "--ckpt", RUN)[0] == 0


@pytest.mark.process
def test_an_error_that_is_not_finite_has_diverged(fit, ired: Ired):
    assert fit("--trainer.max_steps", 10)[0] == 0
    file = Path(RUN, "checkpoints", "last.ckpt")
    content = torch.load(file, weights_only=True)
    content["state_dict"] = {k: v * 1e30 for k, v in content["state_dict"].items()}
    torch.save(content, file)
    code, _, err = ired("test", "--ckpt", file)
    assert code == 1
    assert "diverged: its test error (same) is" in lines(err, "ired: ")[0]
    assert not Path(RUN, "results").exists()
