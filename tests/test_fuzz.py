"""Wrong configurations, options and checkpoints, drawn from seeds: each is one sentence, exit code 2, and nothing else.

Over 300 lines: the kinds of faults share one seeded generator and one judge.
"""

import copy
import io
import os
import pickle
import random
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from conftest import TINY, Ired, Trained
from fuzzing import faults
from ired_interp.checkpoint import load
from ired_interp.errors import InputError

pytestmark = pytest.mark.process

INPUTS = 110  # of each kind
SEED = 0

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)
EVIL = "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\nclass Thing:\n    pass\n"

# Values that a setting cannot have, however its type is.
IMPOSSIBLE: dict[str, list[Any]] = {
    "seed_everything": [-1, 10**20],
    "save_every": [0, -5],
    "keep_best": [-2],
    "name": ["", "../x", "a/b", ".", "n" * 300, "a\0b", "x\ny"],
    "experiment": ["..", "", "e" * 300, "a/../b"],
    "trainer.max_steps": [0, -1],
    "trainer.log_every_n_steps": [0, -1],
    "trainer.check_val_every_n_epoch": [0, 1],
    "trainer.devices": [0, [9], 1000],
    "trainer.num_nodes": [0, 2, -1],
    "trainer.accelerator": ["abacus"],
    "trainer.strategy": ["abacus", "deepspeed"],
    "trainer.precision": [8, "wide"],
    "trainer.val_check_interval": [-1, 0, 1.5, "x"],
    "trainer.limit_train_batches": [0.0, 3],
    "trainer.limit_val_batches": [-1, 1.5],
    "trainer.enable_checkpointing": [False],
    "trainer.gradient_clip_val": [-1.0, float("nan"), float("inf")],
    "trainer.accumulate_grad_batches": [0, -2],
    "trainer.max_epochs": [0, 3],
    "trainer.min_steps": [10**6],
    "trainer.max_time": ["soon"],
    "trainer.fast_dev_run": [True],
    "trainer.barebones": [True],
    "trainer.overfit_batches": [2],
    "trainer.default_root_dir": ["x"],
    "trainer.profiler": ["x"],
    "data.batch_size": [0, -1, 10**12],
    "data.validation_problems": [0, 10**12],
    "data.test_problems": [-3, 10**12],
    "data.evaluate": [[], ["same", "same"], ["best"], None],
    "data.train": ["best", None],
    "data.task.init_args.n": [0, -3, 10**6, 2.5, None],
    "model.init_args.lr": [0.0, -1.0, float("nan"), float("inf"), None],
    "model.init_args.betas": [[1.0, 1.0], [0.9], [-1.0, 0.9], None],
    "model.init_args.lr_schedule": ["square", None],
    "model.init_args.warmup_steps": [-1, 1.5, None],
    "model.init_args.test_steps": [[-1], [10**9], ["x"]],
    "model.init_args.inference.steps": [-1, 10**9, None],
    "model.init_args.inference.preset": ["best"],
    "model.init_args.inference.later_factor": [float("nan"), -1.0, 0.0],
    "model.init_args.inference.bound": [-1.0, float("nan")],
    "model.init_args.objective.contrast_weight": [float("nan"), -1.0, None],
    "model.init_args.objective.negative_noise": [float("nan"), -1.0],
    "model.init_args.objective.negative_steps": [-1],
    "model.init_args.energy.init_args.width": [0, -1, 10**9, None],
    "model.init_args.energy.init_args.landscapes": [0, -1, 10**6],
    "weight_averaging.decay": [1.5, -0.1, float("nan"), None],
    "weight_averaging.every_n_steps": [0],
}
# Settings of callbacks that no model can be measured with.
MEASUREMENTS: list[tuple[str, dict[str, Any]]] = [
    *(("HessianSpectrum", {"landscapes": value}) for value in ([10], [], [-1], ["a"], [1, 1])),
    *(("HessianSpectrum", {"seed": value}) for value in (-1, 10**30)),
    *(("HessianSpectrum", {"memory_gib": value}) for value in (0, float("nan"), float("inf"))),
    *(("HessianSpectrum", {"problems": value}) for value in (0, 10**12)),
    *(("HessianSpectrum", {name: "best"}) for name in ("weights", "variant", "point", "dtype")),
    ("HessianSpectrum", {"every_n_steps": 0}),
    *(("HessianSpectrumTheta", {"eigenpairs": value}) for value in (0, -1, 10**9)),
    *(("HessianSpectrumTheta", {"tol": value}) for value in (0.0, -1.0, float("nan"))),
    *(("HessianSpectrumTheta", {"density_probes": value}) for value in (-1, 1, 10**9)),
    *(("HessianSpectrumTheta", {"density_steps": value}) for value in (0, 10**7)),
    *(("HessianSpectrumTheta", {"trace_matvecs": value}) for value in (-3, 3, 10**9)),
    *(("SubspaceDrift", {"p": value}) for value in (0, 100)),
    ("SubspaceDrift", {"source": "activations", "layer": "nowhere"}),
    *(("InferenceTrajectory", {"steps": value}) for value in (0, 10**9)),
    ("Curvature", {"candidates": 10**9}),
    *(("GradientStatistics", {"window": value}) for value in (2, 50_000)),
    ("GradientStatistics", {"collect": 10**12}),
]


def put(config: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for name in parents:
        config = config.setdefault(name, {})
    config[last] = value


def leaves(config: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Numbers and switches of a configuration, by where they stand."""
    if isinstance(config, dict):
        for name, value in config.items():
            yield from leaves(value, f"{path}.{name}" if path else name)
    elif isinstance(config, int | float):
        yield path, config


def mappings(config: dict[str, Any], path: str = "") -> Iterator[str]:
    for name, value in config.items():
        here = f"{path}.{name}" if path else name
        if isinstance(value, dict) and "class_path" not in value:
            yield here
        if isinstance(value, dict):
            yield from mappings(value, here)


def wrong_configuration(draw: random.Random, base: dict[str, Any]) -> str:
    """The text of a configuration file that says something wrong."""
    config = copy.deepcopy(base)
    kind = draw.choice(["range", "range", "callback", "type", "key", "class", "part", "text"])
    if kind == "range":
        path = draw.choice(list(IMPOSSIBLE))
        put(config, path, draw.choice(IMPOSSIBLE[path]))
    elif kind == "callback":
        name, settings = draw.choice(MEASUREMENTS)
        entry = {"class_path": f"ired_interp.callbacks.{name}", "init_args": settings}
        config["trainer"]["callbacks"] = [entry]
    elif kind == "type":
        path, _ = draw.choice(list(leaves(config)))
        put(
            config, path, draw.choice(["nonsense", {"a": 1}, [["x"]], "2026-01-01", "\u2603" * 400])
        )
    elif kind == "key":
        name = "".join(draw.choices("abcdefgh", k=draw.randint(3, 60)))
        put(config, f"{draw.choice(list(mappings(config)))}.{name}", draw.random())
    elif kind == "class":
        place = draw.choice(["model", "data.task", "model.init_args.energy"])
        named = draw.choice(
            ["os.system", "Nothing", "no.such.Module", "Inverse.", "", 3, "json.JSONDecoder"]
        )
        put(config, f"{place}.class_path", named)
    elif kind == "part":
        part = draw.choice(["model", "data", "trainer", "weight_averaging"])
        config[part] = draw.choice([3, "x", [], [1, 2], {"x": {"y": 1}}])
    else:
        whole = yaml.safe_dump(config)
        place = draw.randrange(len(whole))
        return draw.choice(
            [
                whole[:place]
                + draw.choice(["\0", "\t- :", "{[", "\x1b", ": : :"])
                + "\n&&"
                + whole[place:],
                BOMB + whole,
                "model: &m {model: *m}\n",
                f"trainer: &t {{callbacks: [*t]}}\n{whole}",
                "[" * 3000,
                "- 1\n- 2\n",
                "text",
                "!!python/object/apply:os.system ['touch ran']",
            ]
        )
    return yaml.safe_dump(config)


def wrong_options(draw: random.Random, run: Path, known: list[str]) -> list[str]:
    """Arguments of a command of which one is wrong."""
    kind = draw.choice(["value", "value", "short", "unknown", "bare", "probe", "place", "file"])
    if kind == "value":
        options = [path for path in IMPOSSIBLE if "\0" not in path]
        path = draw.choice(options)
        value = draw.choice([v for v in IMPOSSIBLE[path] if v is not None or "init_args" in path])
        text = value if isinstance(value, str) else yaml.safe_dump(value, default_flow_style=True)
        option = path.replace("init_args.", "")
        return ["fit", *TINY, f"--{option}={text.replace('...', '').strip(chr(10))}"]
    if kind == "short":
        names = [name[:-1] for name in known if name[:-1] not in known and len(name) > 6]
        return ["fit", *TINY, draw.choice(names), "1"]
    if kind == "unknown":
        command = draw.choice(
            ["fit", "probe", "test", "validate", "runs", "report", "export", "watch"]
        )
        first = {"fit": TINY, "runs": []}.get(command, ["--ckpt", str(run)])
        return [command, *first, f"--{''.join(draw.choices('abcdefgh', k=9))}", "1"]
    if kind == "bare":
        option = draw.choice(
            ["--ckpt", "--weights", "--which", "--output", "--modules", "--config"]
        )
        command = draw.choice(["probe", "test", "validate"])
        return [command, *(["--ckpt", str(run)] if option != "--ckpt" else []), option]
    if kind == "probe":
        wrong = draw.choice(
            [
                ["--problems", draw.choice(["0", "-1", "x", str(10**12)])],
                ["--variant", "best"],
                ["--weights", "x"],
                ["--which", "first"],
                ["--device", draw.choice(["abacus", "cuda:77", "meta"])],
                ["--probes", draw.choice(["colour", ""])],
                ["--modules", draw.choice(["no_such_module", "..", "a b"])],
                ["--output", str(run / "config.yaml")],
                ["--prob", "3"],
                ["--weight", "raw"],
            ]
        )
        return ["probe", "--ckpt", str(run), *wrong]
    if kind == "place":
        return draw.choice(
            [
                ["fit", *TINY, "--runs", draw.choice(["/proc/x", "file", "", "/dev/null"])],
                ["fit", "--resume", draw.choice(["nowhere", "file", "/dev/null", "pipe"])],
                ["export", str(run), "--output", "file"],
                ["export", str(run), "--format", "xls"],
                ["report", str(run), "--output", "."],
                ["runs", draw.choice(["nowhere", "file", "pipe"])],
                ["watch", "nowhere"],
                ["configs", "copy", "nothing"],
                ["completion", "fish"],
                ["init", "kubernetes"],
                ["nothing"],
            ]
        )
    file = draw.choice(["pipe", "nowhere", ".", "/dev/zero", "file", "\0", "x" * 300])
    return draw.choice(
        [
            ["fit", "--config", file],
            ["probe", "--ckpt", str(run), "--config", file],
            ["fit", "--config", "configs/ablation/one_step.yaml"],
            ["fit", "--config", "callbacks/hessian_spectrum.yaml"],
            ["probe", "--config", "configs/quickstart.yaml"],
        ]
    )


class Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path("ran").touch, ()


def wrong_checkpoint(draw: random.Random, blob: bytes, file: Path) -> str:
    """Write a file that is no checkpoint, a damaged one, or one that means harm; say which."""
    kind = draw.choice(["flip", "flip", "cut", "zeros", "content", "config", "config", "odd"])
    if kind == "flip":
        place = draw.randrange(8 * len(blob))
        changed = bytearray(blob)
        changed[place // 8] ^= 1 << place % 8
        file.write_bytes(changed)
    elif kind == "cut":
        file.write_bytes(blob[: draw.randrange(len(blob))])
    elif kind == "zeros":
        place = draw.randrange(len(blob) - 4000)
        file.write_bytes(
            blob[:place] + bytes(b ^ 255 for b in blob[place : place + 4000]) + blob[place + 4000 :]
        )
    elif kind == "content":
        content = torch.load(io.BytesIO(blob), weights_only=True)
        wrong_content(draw, content)
        torch.save(content, file)
    elif kind == "config":
        content = torch.load(io.BytesIO(blob), weights_only=True)
        config = yaml.safe_load(content["ired_config"])
        wrong_configuration_inside(draw, config)
        content["ired_config"] = yaml.safe_dump(config)
        torch.save(content, file)
    else:
        draw.choice(
            [
                lambda: os.mkfifo(file),
                lambda: file.symlink_to("/dev/zero"),
                lambda: file.symlink_to(file.name),
                lambda: file.mkdir(),
                lambda: file.touch(),
                lambda: file.write_bytes(draw.randbytes(5000)),
                lambda: file.write_bytes(pickle.dumps(Code())),
                lambda: torch.save({"state_dict": Code()}, file),
                lambda: torch.save(torch.ones(3), file),
                lambda: packed(blob, file),
            ]
        )()
    return kind


def packed(blob: bytes, file: Path) -> None:
    """An archive of a few kilobytes that says that it holds a hundred megabytes."""
    with (
        zipfile.ZipFile(io.BytesIO(blob)) as source,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as copy,
    ):
        for part in source.infolist():
            copy.writestr(part.filename, source.read(part))
        copy.writestr("archive/data/9999", bytes(100_000_000))


def wrong_content(draw: random.Random, content: dict[str, Any]) -> None:
    key = draw.choice(["ired_config", "global_step", "state_dict", "weight", "missing"])
    if key == "missing":
        del content[draw.choice(["ired_config", "global_step", "state_dict"])]
    elif key == "weight":
        weights = content["state_dict"]
        name = draw.choice(list(weights))
        weights[name] = draw.choice(
            [
                3,
                "x",
                None,
                torch.ones(()),
                weights[name].to_sparse(),
                weights[name].bool(),
                weights[name][:0],
            ]
        )
    else:
        wrong = [None, [1], {}, {"a": 1}, torch.ones(2)]
        more = {
            "ired_config": ["a: [", "[1]", BOMB, "a: &a [*a]", "!!python/name:os.system"],
            "global_step": [-1, "x"],
        }
        content[key] = draw.choice(wrong + more.get(key, []))


def wrong_configuration_inside(draw: random.Random, config: dict[str, Any]) -> None:
    """Name code, or a file, where the configuration of a checkpoint describes a model or a task."""
    name = draw.choice(
        ["evil.Thing", "this.Zen", "os.system", "torch.nn.Linear", "evil.py", "/dev/zero"]
    )
    arguments = config["model"]["init_args"]
    draw.choice(
        [
            lambda: put(config, "data.task.class_path", name),
            lambda: put(config, "data.task", name),
            lambda: put(config, "data", name),
            lambda: put(config, "model.class_path", name),
            lambda: put(config, "model", name),
            lambda: put(arguments, "energy.class_path", name),
            lambda: put(arguments, "energy", name),
            lambda: put(arguments, "objective", name),
            lambda: put(arguments, "objective.class_path", name),
            lambda: put(config, "model.init_args", name),
            lambda: put(config, "model.dict_kwargs", {"a": {"class_path": name}}),
            lambda: put(arguments, "energy.init_args.width", draw.choice([None, -1, 10**9, "x"])),
            lambda: put(arguments, "energy.init_args.landscapes", 10**9),
            lambda: config.pop("data"),
        ]
    )()


@pytest.fixture
def place(ired: Ired, trained: Trained, tmp_path: Path) -> Path:
    """The current folder, with a pipe, a file, and a module that must never be imported."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    (tmp_path / "evil.py").write_text(EVIL)
    return tmp_path


def check(
    place: Path, kind: str, make: Callable[[random.Random], tuple[object, Callable[[], Any]]]
) -> None:
    """Put all inputs of a kind to the program; none may be answered in another way."""
    wrong = []
    for seed in range(INPUTS):
        given, act = make(random.Random(f"{kind} {SEED} {seed}"))
        if found := faults(place, act):
            wrong.append(f"{kind} {seed}, {str(given)[-400:]}\n    " + "\n    ".join(found))
    assert not (place / "ran").exists(), "code was run"
    assert not wrong, f"{len(wrong)} of {INPUTS}:\n" + "\n".join(wrong)


def test_wrong_configurations_are_one_sentence(place: Path, ired: Ired, trained: Trained) -> None:
    base = yaml.safe_load((trained() / "config.yaml").read_text())
    base |= {"name": None, "runs": "runs"}

    def make(draw: random.Random) -> tuple[object, Callable[[], Any]]:
        text = wrong_configuration(draw, base)
        (place / "wrong.yaml").write_text(text)
        return text, lambda: ired("fit", "--config", "wrong.yaml")

    (place / "wrong.yaml").touch()
    check(place, "configuration", make)


def test_wrong_options_are_one_sentence(place: Path, ired: Ired, trained: Trained) -> None:
    run = trained()
    _, text, _ = ired("fit", "--print_config", *TINY)
    known = [f"--trainer.{name}" for name in yaml.safe_load(text)["trainer"]]

    def make(draw: random.Random) -> tuple[object, Callable[[], Any]]:
        arguments = wrong_options(draw, run, known)
        return arguments, lambda: ired(*arguments)

    before = set(run.rglob("*"))
    check(place, "options", make)
    assert set(run.rglob("*")) == before


def test_wrong_checkpoints_are_one_sentence_and_run_no_code(
    place: Path, ired: Ired, trained: Trained
) -> None:
    blob = next((trained() / "checkpoints").glob("best*")).read_bytes()
    sent = place / "sent"
    sent.mkdir()

    def make(draw: random.Random) -> tuple[object, Callable[[], Any]]:
        file = sent / f"{len(list(sent.iterdir()))}.ckpt"
        kind = wrong_checkpoint(draw, blob, file)
        command = draw.choice(["load", "load", "probe", "test", "validate"])
        if kind == "flip":
            return (kind, file), lambda: loaded(file, blob)
        act = (
            (lambda: loaded(file)) if command == "load" else (lambda: ired(command, "--ckpt", file))
        )
        return (command, file), act

    check(place, "checkpoint", make)


def loaded(file: Path, blob: bytes | None = None) -> tuple[int, str, str]:
    """How `load` answers, as the program would say it.

    A bit may differ from `blob` in the archive's notes (dates, rights) if no weight does.
    """
    try:
        weights = load(file).state_dict()
    except InputError as error:
        return 2, "", f"ired: {error}\n"
    if blob is not None:
        whole = torch.load(io.BytesIO(blob), weights_only=True)["state_dict"]
        if all(torch.equal(weights[name], value) for name, value in whole.items()):
            return 2, "", "ired: the same weights\n"
    return 0, "loaded", ""
