"""The program from outside: immediate help, true tables, and bad input answered by one sentence."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from conftest import ROOT, TINY, Ired
from ired_interp.cli import COMMANDS, main
from ired_interp.commands.completion import SHELLS

CONFIGS = sorted(p.relative_to(ROOT) for p in (ROOT / "configs").rglob("*.yaml"))
FRAGMENTS = sorted(p.relative_to(ROOT) for p in (ROOT / "callbacks").glob("*.yaml"))
HEAVY = ("torch", "lightning", "jsonargparse", "numpy", "xarray", "rich")
PAGES = [name for name, command in COMMANDS.items() if command.heavy]
OPTION = re.compile(r"--[a-z_]+(?:\.[a-z_]+)*")


@pytest.mark.process
@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], *(["completion", shell] for shell in SHELLS)]
)
def test_help_and_completion_import_nothing_heavy(arguments):
    script = f"import sys; from ired_interp.cli import main; main({arguments!r}); print([m for m in {HEAVY!r} if m in sys.modules])"
    output = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    assert output.splitlines()[-1] == "[]"


@pytest.mark.process
def test_the_help_of_no_command_loads_a_library_that_takes_long():
    script = (
        "import sys; from ired_interp.cli import COMMANDS, main\n"
        "assert not any(main([name, '--help']) for name in COMMANDS)\n"
        "heavy = ('torch', 'lightning', 'numpy', 'pandas', 'xarray', 'matplotlib', 'h5py', 'wandb')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    output = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    assert output.splitlines()[-1] == "[]"


@pytest.mark.process
def test_a_command_that_loads_pytorch_says_so_before_it_does():
    script = (
        "import sys; from ired_interp import cli\n"
        "def stop(name): print(name, 'torch' in sys.modules); raise SystemExit\n"
        "cli.import_module = stop; cli.main(['fit', '--config', 'x.yaml'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "ired_interp.commands.fit False\n"
    assert done.stderr == "ired fit: loading PyTorch …\n"


@pytest.mark.parametrize("command", PAGES)
def test_a_page_of_help_names_only_options_that_all_of_them_have(command, capsys):
    main([command, "--help"])
    page = capsys.readouterr().out
    assert f"usage: ired {command} " in page
    assert len(page.splitlines()) <= 50
    assert max(map(len, page.splitlines())) <= 100
    main([command, "--help", "all"])
    every = set(OPTION.findall(capsys.readouterr().out)) | {"--help"}
    named = {o for o in OPTION.findall(page) if not o.endswith(".help")}
    beyond = {o for o in named if o.startswith(("--model.", "--data.task."))}  # of the class chosen
    assert len(named) >= 8
    assert named - beyond <= every


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(re.search(rf"^  {name} +\S", text, re.MULTILINE) for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, capsys):
    assert main([command, "--help"]) == 0
    assert "usage" in capsys.readouterr().out


def test_completion_knows_every_command_and_only_real_options(ired: Ired, capsys):
    _, script, _ = ired("completion", "bash")
    commands = re.search(r'words="(fit [^"]*?) --debug', script).group(1).split()
    assert commands == list(COMMANDS)
    helps = ""
    for command in COMMANDS:
        main([command, "--help", "all"])
        helps += capsys.readouterr().out
    options = set(re.findall(r"--[a-z_]+(?:\.[a-z_]+)?", script))
    assert len(options) > 20
    missing = {
        o
        for o in options
        if o not in helps and o not in ("--debug", "--version", "--help", "--data.task.n")
    }
    missing -= {
        o for o in missing if o.startswith("--model.")
    }  # options of the model appear in its own class's help
    assert not missing


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_every_configuration_parses_and_says_how_it_is_run(ired: Ired, config: Path):
    header = [
        line[1:].strip()
        for line in (ROOT / config).read_text().splitlines()
        if line.startswith("#")
    ]
    commands = [line.split() for line in header if line.startswith("ired ")]
    assert commands, f"{config} does not say the command that runs it"
    for command in commands:
        assert str(config) in command
        if command[1] == "fit":
            code, _, err = ired(*command[1:], "--print_config")
            assert code == 0, err
        elif command[1] == "study":
            code, listing, err = ired(*command[1:], "--dry-run")
            assert code == 0, err
            assert listing.count("ired fit") > 1
        else:
            small = ["--problems", 3] if command[1] == "probe" else ["--data.test_problems", 20]
            code, _, err = ired(*command[1:], *small)
            assert code == 0, err


@pytest.mark.process
@pytest.mark.parametrize("fragment", FRAGMENTS, ids=str)
def test_every_fragment_adds_its_callback(ired: Ired, fragment: Path):
    added = yaml.safe_load((ROOT / fragment).read_text())["trainer"]["callbacks+"]
    two = ["--config", "configs/quickstart.yaml", "--config", fragment, "--config", fragment]
    _, out, _ = ired("fit", *two, "--print_config")
    found = yaml.safe_load(out)["trainer"]["callbacks"]
    assert [entry["class_path"] for entry in found] == 2 * [entry["class_path"] for entry in added]


# 9⁹ values once its aliases are written out
BOMB = f"[&a [{'1,' * 9}]" + "".join(
    f", &{new} [{f'*{old},' * 9}]" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
) + "]"  # fmt: skip
BAD = [
    (["fit"], "model"),
    (["nothing"], "'nothing' is no command"),
    (["fit", "--config", "missing.yaml"], "missing.yaml is no file here"),
    (["fit", *TINY, "--modl", "3"], "modl"),
    (["fit", *TINY, "--model.energy.landscapes", "0"], "landscapes=0"),
    (["fit", *TINY, "--model.lr", "-1"], "model.lr is -1"),
    (["fit", *TINY, "--model.lr", "fast"], "lr"),
    (["fit", *TINY, "--data.task", "Chess"], "Chess"),
    (["fit", *TINY, "--data.batch_size", "0"], "batch_size is 0"),
    (["fit", *TINY, "--data.task", "&x {class_path: Inverse, init_args: *x}"], "stands for itself"),
    (["fit", *TINY, "--model.energy", BOMB], "--model.energy holds more than 100000 values"),
    (["fit", *TINY, f"--data.task.n={'[' * 3000}{']' * 3000}"], "--data.task.n nests too deep"),
    (["fit", *TINY, "--model.lr", "*a"], "model.lr is *a"),
    (["fit", *TINY, "--model.inference.steps", "-2"], "inference.steps is -2"),
    (["fit", *TINY, "--model.inference.preset", "best"], "preset"),
    (["fit", *TINY, "--weight_averaging.decay", "1.5"], "decay=1.5"),
    (["fit", *TINY, "--model.energy", "ExactEnergy"], "no weights to train"),
    (["fit", "--resume", "nowhere"], "not a run folder"),
    (["fit", "--resume"], "--resume stands without a value"),
    (["test", "--config", "configs/quickstart.yaml"], "no --ckpt"),
    (["fit", *TINY, "--trainer.max_step", "5"], "option --trainer.max_step does not exist"),
    (["fit", *TINY, "--trainer.num_nodes", "2"], "nothing has started this command on other nodes"),
    (["fit", *TINY, "--trainer.accelerator", "gpu"], "No supported gpu backend found"),
    (["fit", "--config", "configs/ablation/one_step.yaml"], "put a task's configuration first"),
    (["fit", "--config", "callbacks/hessian_spectrum.yaml"], "put a task's configuration first"),
    (["fit", *TINY, *2 * ["--config", "callbacks/subspace_drift.yaml"]], "configured twice"),
    (["fit", *TINY, "--name", "../x"], "name is '../x'; expected a name"),
    (["fit", *TINY, "--runs", "/proc/x"], "choose another folder by --runs"),
    (["probe"], "nothing to probe"),
    (["probe", "--config", "configs/quickstart.yaml"], "no --ckpt"),
    (["probe", "--config", "configs/linear_gaussian.yaml", "--problems", "0"], "--problems is 0"),
    (["probe", "--config", "configs/linear_gaussian.yaml", "--probes", "colour"], "colour"),
    (
        ["probe", "--config", "configs/linear_gaussian.yaml", "--device", "cuda:99"],
        "device cuda:99",
    ),
    (["runs", "nowhere"], "nowhere is no folder"),
    (["completion", "fish"], "bash, zsh"),
    (
        [
            "fit",
            "--config",
            "callbacks/hessian_spectrum.yaml",
            "--config",
            "configs/quickstart.yaml",
        ],
        "put it last",
    ),
]


@pytest.mark.parametrize(
    ("arguments", "words"), BAD, ids=lambda v: " ".join(v[-3:]) if isinstance(v, list) else ""
)
def test_bad_input_is_one_sentence_code_2_and_nothing_written(
    ired: Ired, tmp_path: Path, arguments, words
):
    before = set(tmp_path.rglob("*"))
    code, _, err = ired(*arguments)
    assert code == 2, err
    assert words in err
    assert err.startswith("ired: ")
    assert err.count("\n") == 1, err
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("trainer: {callbacks: [], callbacks+: []}", "both 'callbacks' and 'callbacks+'"),
        ("trainer: {callbacks: []}", "write 'callbacks+' to add"),
        ("[1, 2]", "expected a mapping"),
        ("a: [", "no valid YAML"),
    ],
)
def test_configurations_that_would_lose_something_are_refused(
    ired: Ired, tmp_path: Path, text: str, words: str
):
    (tmp_path / "other.yaml").write_text(text)
    configs = ["--config", "configs/exp001.yaml", "--config", "other.yaml"]
    code, _, err = ired("fit", *configs)
    assert code == 2
    assert words in err


def test_a_task_that_draws_nan_is_named_before_anything_is_written(
    ired: Ired, tmp_path: Path, monkeypatch
):
    (tmp_path / "faulty_task.py").write_text(
        "import torch\nfrom ired_interp.tasks import Problems, Task\n\n\n"
        "class Faulty(Task):\n    name = 'faulty'\n    condition_dim = solution_dim = 4\n\n"
        "    def value_range(self, variant):\n        return 1.0\n\n"
        "    def sample(self, count, generator, variant='same'):\n"
        "        x = torch.rand(count, 4)\n        return Problems(x, x / 0 * 0)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    code, _, err = ired("fit", *TINY, "--data.task", "faulty_task.Faulty")
    assert code == 2
    assert "task faulty drew y with NaN" in err
    assert not (tmp_path / "runs").exists()


def test_resume_changes_nothing_but_the_trainer(ired: Ired, tiny_run: Path):
    code, _, err = ired("fit", "--resume", tiny_run, "--model.lr", "0.5")
    assert code == 2
    assert "--model.lr was given too" in err


def test_validate_takes_the_first_step_count_and_test_all_of_them(ired: Ired, tiny_run: Path):
    for command, counts in (("validate", ["5"]), ("test", ["5", "10", "20"])):
        code, out, err = ired(command, "--ckpt", tiny_run)
        assert code == 0, err
        assert re.findall(r"model, (\d+) inner steps", out) == counts


def test_probe_restores_everything_from_the_checkpoint(ired: Ired, tiny_run: Path):
    code, out, err = ired("probe", "--ckpt", tiny_run, "--problems", 4)
    assert code == 0, err
    assert "4 problems" in out
    first = set(tiny_run.rglob("*.nc"))
    code, _, _ = ired("probe", "--ckpt", tiny_run, "--problems", 4)
    assert set(tiny_run.rglob("*.nc")) == first, "the same measurement is the same file"
    code, _, _ = ired("probe", "--ckpt", tiny_run, "--problems", 4, "--weights", "raw")
    assert len(set(tiny_run.rglob("*.nc")) - first) == 1
    code, out, _ = ired("runs")
    assert "hessian_spectrum_y (2)" in out


def test_probes_come_from_a_configuration(ired: Ired, tiny_run: Path, tmp_path: Path):
    (tmp_path / "probes.yaml").write_text(
        "probes:\n  - class_path: HessianSpectrumY\n    init_args: {landscapes: [0, 9], point: answer}\n"
    )
    code, out, err = ired(
        "probe", "--ckpt", tiny_run, tiny_run, "--config", "probes.yaml", "--output", "elsewhere"
    )
    assert code == 0, err
    assert "at the answer point" in out
    assert len(list((tmp_path / "elsewhere").rglob("*.nc"))) == 1
