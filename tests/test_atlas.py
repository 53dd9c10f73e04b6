"""What the page of the atlas names is there, and the trained energies beside it are read."""

import re
import shlex
from pathlib import Path

import pytest
import torch

import ired_interp as ii
from conftest import ROOT
from ired_interp.cli import COMMANDS
from ired_interp.results import Run

PAGE = ROOT / "docs" / "atlas.md"
ENERGIES = ROOT / "docs" / "atlas" / "energies"
MACHINES = re.compile(rb"/(?:tmp|home|root|work|mnt|scratch)/\w")


def commands() -> list[list[str]]:
    """The commands of `ired` that the page shows, in blocks and in the text."""
    text = PAGE.read_text()
    shown = [
        line for block in re.findall(r"```sh\n(.*?)```", text, re.S) for line in block.splitlines()
    ]
    shown += [part for part in re.findall(r"`(ired [^`]+)`", text) if " " in part]
    parts = [part.strip() for line in shown for part in line.partition("#")[0].split("&&")]
    return [shlex.split(part) for part in parts if part.startswith("ired ")]


def test_what_the_page_names_is_there_and_small() -> None:
    text = PAGE.read_text()
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (PAGE.parent / link).is_file(), link
    for words in commands():
        assert words[1] in COMMANDS, words
        for word in words:
            if word.startswith("docs/") and "TASK" not in word and not word.endswith(".xz"):
                assert (ROOT / word).exists(), word
    energies = [file for file in ENERGIES.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in energies) <= 10e6
    for file in energies:
        assert not MACHINES.search(file.read_bytes()), file


@pytest.mark.parametrize("folder", sorted(ENERGIES.glob("*")), ids=lambda f: f.name)
def test_each_energy_was_tested_and_is_loaded_with_finite_gradients(folder: Path) -> None:
    run = Run(folder)
    assert {file.parent.name for file in run.result_files()} >= {"test_error"}
    module = ii.load(folder)
    assert all(parameter.isfinite().all() for parameter in module.parameters())
    opened = ii.open(folder)
    assert float(opened["test_error"]["error"].min()) >= 0
    (file,) = run.checkpoints.glob("*.ckpt")
    state = torch.load(file, weights_only=True)["state_dict"]
    assert {state[name].dtype for name, _ in module.named_parameters()} == {torch.float16}
