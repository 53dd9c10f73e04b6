"""Checkpoints: ours and published ones load; everything else is refused in one sentence."""

import pickle
from pathlib import Path

import pytest
import torch
import yaml

import ired_interp as ii
from conftest import Ired, reference_weights
from ired_interp.diffusion import Schedule
from ired_interp.energy import ConnectivityEnergy, MLPEnergy, ShortestPathEnergy, SudokuEnergy
from ired_interp.errors import InputError


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A file as the published trainer writes it: raw and averaged weights under its prefixes, beside buffers."""
    raw, average = MLPEnergy(9, 4), MLPEnergy(9, 4)
    reference_weights(raw)
    reference_weights(average)
    for p in average.parameters():
        p.data *= 0.5
    buffers = {"betas": Schedule().beta, "alphas_cumprod": Schedule().signal ** 2}

    def prefixed(energy: MLPEnergy, prefix: str) -> dict:
        return {f"{prefix}model.ebm.{name}": value for name, value in energy.state_dict().items()}

    ema = {"initted": torch.tensor(True), "step": torch.tensor(7)}
    ema |= (
        prefixed(raw, "online_model.")
        | prefixed(average, "ema_model.")
        | {"ema_model.betas": buffers["betas"]}
    )
    path = tmp_path / "model-3.pt"
    torch.save(
        {
            "step": 3000,
            "model": prefixed(raw, "") | buffers,
            "opt": {"state": {}},
            "ema": ema,
            "scaler": None,
        },
        path,
    )
    return path


def test_published_file(published: Path):
    raw, average = ii.load(published, weights="raw"), ii.load(published)
    reference = MLPEnergy(9, 4)
    reference_weights(reference)
    assert (raw.condition_dim, raw.solution_dim, raw.landscapes, raw.energy.width) == (
        9,
        4,
        10,
        512,
    )
    x, y = torch.randn(3, 9), torch.randn(3, 4)
    torch.testing.assert_close(raw.energy(x, y, 2), reference(x, y, 2))
    torch.testing.assert_close(average.energy.fc2.weight, 0.5 * reference.fc2.weight)


def test_our_file(tiny_run: Path):
    average = ii.load(tiny_run, which="last")
    raw = ii.load(tiny_run / "checkpoints" / "last.ckpt", weights="raw")
    content = torch.load(tiny_run / "checkpoints" / "last.ckpt", weights_only=True)
    assert torch.equal(average.energy.fc1.weight, content["state_dict"]["energy.fc1.weight"])
    assert torch.equal(raw.energy.fc1.weight, content["current_model_state"]["energy.fc1.weight"])
    assert not torch.equal(raw.energy.fc1.weight, average.energy.fc1.weight)
    assert not average.training


class Code:
    def __reduce__(self):
        return (Path("ran").touch, ())


def damage(kind: str, good: Path, path: Path) -> None:
    blob = good.read_bytes()
    if kind == "truncated":
        path.write_bytes(blob[: len(blob) // 2])
    elif kind == "bits":
        path.write_bytes(blob[:200] + bytes(200) + blob[400:])
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("not a checkpoint")
    elif kind == "code":
        torch.save({"state_dict": Code()}, path)
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(Code()))
    elif kind == "foreign":
        torch.save({"weights": torch.ones(3)}, path)
    elif kind == "tensor":
        torch.save(torch.ones(3), path)
    elif kind == "other_published":
        torch.save({"step": 1, "model": {"betas": torch.ones(10)}, "ema": {}}, path)


KINDS = [
    "missing",
    "truncated",
    "empty",
    "text",
    "code",
    "pickle",
    "foreign",
    "tensor",
    "other_published",
]


@pytest.mark.parametrize("kind", KINDS)
def test_bad_files_end_with_one_sentence_and_code_2(
    ired: Ired, published: Path, tmp_path: Path, kind: str
):
    path = tmp_path / "bad.ckpt"
    damage(kind, published, path)
    with pytest.raises(InputError):
        ii.load(path)
    for arguments in (
        ("probe", "--ckpt", path),
        ("test", "--ckpt", path, "--config", "configs/inverse.yaml"),
    ):
        code, out, err = ired(*arguments)
        assert (code, out) == (2, "")
        assert err.startswith("ired: ")
        assert err.count("\n") == 1
        assert str(path) in err
    assert not (tmp_path / "ran").exists(), "code in the file was run"
    assert not (tmp_path / "runs").exists()


def test_run_without_checkpoint(ired: Ired, tmp_path: Path):
    run = tmp_path / "runs" / "a" / "b"
    run.mkdir(parents=True)
    code, _, err = ired("probe", "--ckpt", run)
    assert code == 2
    assert "not a run folder" in err
    (run / "config.yaml").write_text("experiment: a")
    code, _, err = ired("probe", "--ckpt", run)
    assert code == 2
    assert "holds no checkpoint" in err


DEAD = "nlm.layers.1.logic.1.layer.0.mlp.0.weight"


@pytest.mark.parametrize(
    ("make", "dead"),
    [
        (ConnectivityEnergy, {DEAD: torch.zeros(32, 96)}),
        (lambda: ShortestPathEnergy("published"), {}),
        (lambda: SudokuEnergy(width=4), {"attn1.norm.g": torch.zeros(1, 4, 1, 1)}),
    ],
)
def test_published_files_of_the_discrete_tasks_load_and_are_solved_by_their_own_rules(
    tmp_path: Path, make, dead
):
    energy = make()
    reference_weights(energy)
    state = {f"model.ebm.{n}": v for n, v in (energy.state_dict() | dead).items()}
    averaged = {f"ema_model.{n}": v for n, v in state.items()}
    content = {"step": 5, "model": state | {"betas": Schedule().beta}, "ema": averaged}
    torch.save(content, tmp_path / "model-5.pt")
    module = ii.load(tmp_path / "model-5.pt")
    assert module.task.name == energy.name == type(module.energy).name
    x = -torch.ones(2, energy.condition_dim)
    y = torch.randn(2, energy.solution_dim)
    torch.testing.assert_close(module.energy(x, y, 2), energy(x, y, 2))
    found = module.solve(x[:, : energy.condition_dim], steps=1, preset="published", start=y)
    bound = module.task.published.final_bound or module.task.published.bound
    assert float(found.trajectory.abs().max()) == pytest.approx(bound, rel=1e-5)


def test_published_file_needs_to_be_told_its_task(ired: Ired, published: Path):
    code, _, err = ired("probe", "--ckpt", published)
    assert code == 2
    assert "names no data" in err
    code, _, err = ired("probe", "--ckpt", published, "--config", "configs/inverse.yaml")
    assert code == 2
    assert "problems of 9 and answers of 4 entries, but the task of --config has 400 and 400" in err


def test_published_file_is_tested_and_probed_with_a_task(ired: Ired, tmp_path: Path):
    energy = MLPEnergy(9, 9)
    state = {f"model.ebm.{name}": value for name, value in energy.state_dict().items()}
    averaged = {f"ema_model.{name}": value for name, value in state.items()}
    path = tmp_path / "model-1.pt"
    torch.save(
        {
            "step": 1000,
            "model": state | {"betas": Schedule().beta},
            "opt": {},
            "ema": averaged,
            "scaler": None,
        },
        path,
    )
    config = tmp_path / "task.yaml"
    config.write_text(
        "model: {class_path: IREDModule, init_args: {energy: {class_path: MLPEnergy}, test_steps: []}}\n"
        "data: {task: {class_path: Inverse, init_args: {n: 3}}, test_problems: 20}\n"
    )
    code, out, err = ired("test", "--ckpt", path, "--config", config)
    assert code == 0, err
    assert "model, 5 inner steps" in out
    code, out, err = ired("probe", "--ckpt", path, "--config", config, "--problems", 2)
    assert code == 0, err
    assert "step-00001000_average" in err


def test_checkpoint_of_another_shape_is_refused(ired: Ired, tiny_run: Path):
    code, _, err = ired("test", "--ckpt", tiny_run, "--data.task.n", 3)
    assert code == 2
    assert "does not fit the model: energy.fc1.weight" in err
    code, _, err = ired("probe", "--ckpt", tiny_run, "--config", "configs/addition.yaml")
    assert code == 2
    assert "was trained on inverse, but --config says addition" in err


def test_a_file_brings_no_trainer_callbacks_loggers_or_paths(
    ired: Ired, tiny_run: Path, tmp_path: Path
):
    """The configuration in a file is that of whoever wrote it."""
    called = {"class_path": "lightning.pytorch.callbacks.LambdaCallback"}
    called["init_args"] = {"setup": "harm.setup"}
    (tmp_path / "harm.py").write_text(
        "from pathlib import Path\nPath('ran').touch()\nsetup = print\n"
    )
    sent = tmp_path / "sent" / "model.ckpt"
    sent.parent.mkdir()
    content = torch.load(tiny_run / "checkpoints" / "last.ckpt", weights_only=True)
    config = yaml.safe_load(content["ired_config"])
    config |= {"runs": str(tmp_path / "elsewhere"), "name": "stolen"}
    config["trainer"] |= {"callbacks": [called], "logger": {"class_path": "harm.Logger"}}
    config["trainer"] |= {"profiler": {"class_path": "harm.Profiler"}, "max_steps": 0}
    torch.save(content | {"ired_config": yaml.safe_dump(config)}, sent)
    few = {"probe": ["--problems", 3], "test": ["--data.test_problems", 20], "validate": []}
    for command, more in few.items():
        code, _, err = ired(command, "--ckpt", sent, *more)
        assert code == 0, err
    ii.load(sent)
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "elsewhere").exists()
    assert len(list((sent.parent / "results").rglob("*.nc"))) == 3


@pytest.mark.parametrize("given", ["numpy", "float64", "list", "one part"])
def test_a_batch_that_does_not_fit_is_one_sentence(small_module, given: str):
    module = small_module[0]
    x = torch.zeros(2, 9)
    batches = {
        "numpy": (x.numpy(), x.numpy()),
        "float64": (x.double(), x.double()),
        "list": (x.tolist(), x.tolist()),
        "one part": (x,),
    }
    with pytest.raises(InputError, match=r"expected|convert x by its method"):
        ii.probe(module, batches[given])
    batches["one part"] = (x[0],)
    with pytest.raises(InputError, match=r"expected|takes|convert x by its method"):
        module.solve(batches[given][0])


@pytest.mark.parametrize("device", ["cuda:77", "abacus", "meta"])
def test_a_device_that_cannot_be_used_is_one_sentence(tiny_run: Path, device: str):
    with pytest.raises(InputError, match=f"device {device} "):
        ii.load(tiny_run, device=device)
