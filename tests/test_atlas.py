"""The atlas is drawn again by the commands that its page names, from what is kept beside it."""

import json
import re
import shlex
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

import ired_interp as ii
from conftest import ROOT, Ired
from ired_interp.cli import COMMANDS
from ired_interp.results import Run, find_runs, read_result
from ired_interp.results.names import PERFECT
from ired_interp.shipped import find_configuration

PAGE = ROOT / "docs" / "atlas.md"
ATLAS = ROOT / "docs" / "atlas"
ENERGIES = ATLAS / "energies"
RUNS = ATLAS / "runs.tar.xz"
MACHINES = re.compile(rb"/(?:tmp|home|root|work|mnt|scratch)/\w")
PLANS = "**Shortest path: every plan is right"
NUMBER = re.compile(r"(?<![\w.=/])-?\d+(?:\.\d+)?(?:e-?\d+)?(?: ± \d+(?:\.\d+)?(?:e-?\d+)?)?(?!\w)")


def commands() -> list[list[str]]:
    """The commands of `ired` that the page shows, in blocks and in the text."""
    text = PAGE.read_text()
    shown = [
        line for block in re.findall(r"```sh\n(.*?)```", text, re.S) for line in block.splitlines()
    ]
    shown += [part for part in re.findall(r"`(ired [^`]+)`", text) if " " in part]
    parts = [part.strip() for line in shown for part in line.partition("#")[0].split("&&")]
    return [shlex.split(part) for part in parts if part.startswith("ired ")]


def questions() -> dict[str, str]:
    """The parts of the page that answer a question, by its study."""
    parts = re.split(r"^## ", PAGE.read_text(), flags=re.M)
    return {
        part.split(":")[0].replace("EXP-", "exp"): part for part in parts if part.startswith("EXP-")
    }


def numbers(text: str) -> set[str]:
    """All numbers of a text, each with its error."""
    return {"".join(found.split(" ")) for found in NUMBER.findall(" ".join(text.split()))}


def measured(text: str) -> set[str]:
    """The numbers of a text that were measured: with a point, an exponent or an error."""
    return {number for number in numbers(text) if not number.lstrip("-").isdigit()}


def paragraph(text: str, head: str) -> str:
    """What follows a head, to the end of the paragraph."""
    assert head in text
    return text.partition(head)[2].partition("\n\n")[0]


def test_each_question_has_an_answer_of_two_sentences_a_figure_a_table_a_command_and_a_doubt() -> (
    None
):
    assert list(questions()) == [f"exp{number:03}" for number in range(1, 11)]
    for study, part in questions().items():
        for head in ("**Question.**", "**What would change our mind.**"):
            assert len(paragraph(part, head)) > 60, (study, head)
        answer = paragraph(part, "**Answer.**")
        assert len(re.findall(r"\.(?=\*|\s|$)", answer)) == 2, (study, answer)
        assert f"](atlas/{study}.png)" in part
        assert f"](atlas/{study}.md)" in part
        assert re.search(r"^\| --- \|", part, re.M)
        assert f"`ired study atlas/{study} --answers`" in part
        assert find_configuration(f"atlas/{study}").is_file()


def test_every_measured_number_of_the_page_is_one_that_its_commands_print() -> None:
    printed = {page.stem: numbers(page.read_text()) for page in ATLAS.glob("*.md")}
    everything = set().union(*printed.values())
    for study, part in questions().items():
        named = {study, *(number.replace("EXP-", "exp") for number in re.findall(r"EXP-\d+", part))}
        mine = set().union(*(printed[name] for name in named))
        assert len(measured(part)) > 10, study
        assert measured(part) <= mine, (study, measured(part) - mine)
    parts = {
        part.partition("\n")[0]: part for part in re.split(r"^## ", PAGE.read_text(), flags=re.M)
    }
    errors, together = (
        parts["How well the tasks are solved"],
        parts["What the answers say together"],
    )
    errors = errors.replace(paragraph(errors, PLANS), "")
    assert len(measured(errors)) > 50
    assert measured(errors) <= printed["study"], measured(errors) - printed["study"]
    assert len(measured(together)) > 10
    assert measured(together) <= everything, measured(together) - everything


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs that are kept beside the page."""
    folder = tmp_path_factory.mktemp("kept")
    with tarfile.open(RUNS) as archive:
        archive.extractall(folder / "runs", filter="data")
    return folder


@pytest.mark.process
def test_all_trainings_were_ended_tested_and_measured_as_their_other_seeds_and_twins(
    kept: Path,
) -> None:
    runs = find_runs(kept / "runs")
    assert f"grid of {len(runs)} trainings" in " ".join(PAGE.read_text().split())
    found: dict[str, list[set[str]]] = {}
    for run in runs:
        record = json.loads((kept / "runs/atlas/.study" / f"{run.path.name}.json").read_text())
        assert all(step["ended"] for step in record["done"].values()), run.path.name
        task = re.sub(r"(-contrast_weight=[\d.]+)?-seed\d$", "", run.path.name)
        results = {file.parent.name for file in run.result_files()}
        found.setdefault(task, []).append(results)
    for task, alike in found.items():
        assert len(alike) in (3, 6), task
        assert all(one == alike[0] >= {"test_error", "minimum"} for one in alike), task


@pytest.mark.process
def test_what_is_said_of_plans_is_what_the_tests_of_their_energies_found(kept: Path) -> None:
    said = paragraph(PAGE.read_text(), PLANS)
    tests = {
        weight: [
            ii.open(run.path)["test_error"].isel(inner_steps=0)
            for run in find_runs(kept / "runs")
            if run.path.name.startswith(f"shortest-path-contrast_weight={weight}-")
        ]
        for weight in ("0", "0.05")
    }
    expected = set()
    for seeds in tests.values():
        assert len(seeds) == 3
        assert all(seed.attrs["problems"] == 200 for seed in seeds)
        assert all(seed["measured"].sel(measure="whole plan").min() == 1 for seed in seeds)
        reached = np.stack([seed["measured"].sel(measure="closed loop").values for seed in seeds])
        error = reached.std(0, ddof=1) / 3**0.5
        expected |= {
            f"{m:.3f}±{e:.3f}" for m, e in zip(reached.mean(0).ravel(), error.ravel(), strict=True)
        }
    floors = tests["0"][0]
    perfect = floors.sel(predictor=PERFECT)
    assert perfect["measured_floor"].sel(measure=["whole plan", "closed loop"]).min() == 1
    assert all(
        (seed["error"] < perfect["floor"]).all() for found in tests.values() for seed in found
    )
    expected |= {f"{error:.4g}" for error in perfect["floor"].values.ravel()}
    most = floors["measured_floor"].sel(predictor="neighbour with most out-edges")
    expected |= {f"{share:.3f}" for share in most.sel(measure="closed loop").values.ravel()}
    assert measured(said) == expected


def test_no_difference_by_the_contrastive_term_is_told_where_the_page_says_so() -> None:
    assert "In connectivity, shortest path and Sudoku no difference of landscapes" in " ".join(
        PAGE.read_text().split()
    )
    pages = " ".join(page.read_text() for page in ATLAS.glob("exp*.md"))
    for task in ("connectivity", "shortest path", "sudoku of 4 × 4"):
        twin = f"{task} contrast_weight=0.05"
        assert pages.count(f"{twin} cannot be told from {task} contrast_weight=0") >= 4
        assert f"{twin} differs" not in pages


def test_what_the_page_names_is_there_and_small() -> None:
    text = PAGE.read_text()
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (PAGE.parent / link).is_file(), link
    for words in commands():
        assert words[1] in COMMANDS, words
        for word in words:
            if word.startswith("docs/") and "TASK" not in word and not word.endswith(".xz"):
                assert (ROOT / word).exists(), word
    sizes = {file: file.stat().st_size for file in ATLAS.rglob("*") if file.is_file()}
    assert sum(n for file, n in sizes.items() if ENERGIES in file.parents) <= 10e6
    assert sum(sizes.values()) <= 30e6
    assert max(n for file, n in sizes.items() if file.suffix == ".png") <= 200e3
    said = [float(number) for number in re.findall(r"([\d.]+) MB", text)]
    assert said == [round(n / 1e6, 1) for n in (sizes[RUNS], sum(sizes.values()))]
    for file in sizes:
        assert not MACHINES.search(file.read_bytes()), file


@pytest.mark.parametrize("folder", sorted(ENERGIES.glob("*")), ids=lambda f: f.name)
def test_each_energy_was_tested_and_is_loaded_with_weights_of_usual_size(folder: Path) -> None:
    run = Run(folder)
    assert {file.parent.name for file in run.result_files()} >= {"test_error"}
    module = ii.load(folder)
    assert all(float(one.detach().abs().max()) < 100 for one in module.parameters())
    opened = ii.open(folder)
    shown = re.search(rf"^\| `{folder.name}` \|.*", PAGE.read_text(), re.M)
    assert shown
    tested = opened["test_error"].isel(inner_steps=0)
    errors = [f"{float(tested['error'].sel(variant=v)):.3g}" for v in ("same", "harder")]
    assert [cell.strip() for cell in shown[0].split("|")[3:5]] == errors
    assert shown[0].split("|")[6].strip() == str(tested.attrs["problems"])
    (file,) = run.checkpoints.glob("*.ckpt")
    state = torch.load(file, weights_only=True)["state_dict"]
    assert {state[name].dtype for name, _ in module.named_parameters()} == {torch.float16}


def test_there_is_an_energy_of_each_task() -> None:
    shown = "addition completion connectivity inverse shortest_path sudoku sudoku4"
    assert {folder.name for folder in ENERGIES.iterdir()} == set(shown.split())


@pytest.mark.process
def test_an_energy_is_probed(ired: Ired, tmp_path: Path) -> None:
    energy, output = str(ENERGIES / "inverse"), str(tmp_path / "probed")
    what = ("--probes", "hessian_spectrum: {landscapes: [9]}", "--problems", "1")
    code, out, err = ired("probe", "--ckpt", energy, *what, "--output", output)
    assert code == 0, err
    assert "Hessian of E in y" in out
    (file,) = (tmp_path / "probed" / "hessian_spectrum_y").glob("*.nc")
    assert read_result(file)["deviation"].item() < 0.01


@pytest.mark.process
def test_a_page_and_its_figure_are_made_again_from_the_data_that_is_kept(
    ired: Ired, kept: Path, tmp_path: Path
) -> None:
    (tmp_path / "runs").symlink_to(kept / "runs")
    study = "exp004"
    code, _, err = ired("study", f"atlas/{study}", "--answers")
    assert code == 0, err
    made = (tmp_path / "runs/atlas" / f"{study}.md").read_text()
    assert made == (ATLAS / f"{study}.md").read_text()
    picture = (tmp_path / "runs/atlas" / f"{study}.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) == pytest.approx((ATLAS / f"{study}.png").stat().st_size, rel=0.5)
    runs = find_runs(tmp_path / "runs" / "atlas")
    for file in (file for run in runs[:5] for file in run.path.rglob("*") if file.is_file()):
        assert not MACHINES.search(file.read_bytes()), file
