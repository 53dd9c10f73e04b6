"""The examples of docs/any_model.md run as they stand, also where their libraries are not installed."""

import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import ired_interp as ii
from conftest import ROOT

pytestmark = pytest.mark.process  # trainings of many seconds in all

PAGE = (ROOT / "docs" / "any_model.md").read_text()
PLAIN, HUGGING_FACE, RESNET = re.findall(r"```python\n(.*?)```", PAGE, re.S)


class Residual(nn.Module):
    """A network as torchvision's: convolutions with batch norm, and a shortcut around them."""

    def __init__(self, weights: None, num_classes: int) -> None:
        super().__init__()
        assert weights is None
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, 1, 1, bias=False), nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.bn1(self.conv1(x)).relu()
        x = (x + self.bn2(self.conv2(x))).relu()
        return self.fc(x.mean((2, 3)))  # type: ignore[no-any-return]


class Config:
    """Settings as transformers' GPT2Config has them, by name alone."""

    def __init__(self, *, vocab_size: int, n_embd: int, n_layer: int, n_head: int) -> None:
        self.vocab_size, self.n_positions, self.n_embd = vocab_size, 1024, n_embd
        self.n_layer, self.n_head = n_layer, n_head


class LanguageModel(nn.Module):
    """A language model as transformers' GPT2LMHeadModel: keywords in, an output with a loss out."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.words = nn.Embedding(config.vocab_size, config.n_embd)
        self.places = nn.Embedding(config.n_positions, config.n_embd)
        self.block = nn.TransformerEncoderLayer(config.n_embd, config.n_head, 32, batch_first=True)
        self.head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.head.weight = self.words.weight  # tied

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor) -> Any:
        length = input_ids.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length)
        hidden = self.words(input_ids) + self.places(torch.arange(length))
        logits = self.head(self.block(hidden, mask))
        loss = nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        return SimpleNamespace(loss=loss, logits=logits)


def module(name: str, **members: Any) -> ModuleType:
    made = ModuleType(name)
    vars(made).update(members)
    return made


STANDINS = {
    "transformers": module("transformers", GPT2Config=Config, GPT2LMHeadModel=LanguageModel),
    "torchvision": module("torchvision"),
    "torchvision.models": module("torchvision.models", resnet18=Residual),
}


def run(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ii.results.OpenedRun:
    """Run an example in a folder, and open what it left there."""
    monkeypatch.chdir(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        exec(code, {"__name__": "example"})
    (found,) = {file.parents[2] for file in folder.glob("**/results/*/*.nc")}
    opened = ii.open(found)
    assert opened.skipped == []
    return opened


def test_a_plain_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = run(PLAIN, tmp_path, monkeypatch)
    assert opened.path.relative_to(tmp_path).as_posix() == "lightning_logs/version_0"
    steps = {series.probe: series.steps for series in opened.series}
    assert steps == {
        "hessian_spectrum_loss": [4, 8],
        "gradient_statistics_loss": [4, 8],
        "subspace_drift_hessian_theta_training": [0, 4, 8],
    }
    assert opened["hessian_spectrum_loss"]["converged"].all()


@pytest.mark.parametrize("code", [HUGGING_FACE, RESNET], ids=["hugging-face", "resnet"])
def test_models_of_libraries(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, standin in STANDINS.items():
        monkeypatch.setitem(sys.modules, name, standin)
    opened = run(code, tmp_path, monkeypatch)
    assert opened["hessian_spectrum_loss"]["converged"].all()
    for series in opened.series:
        if series.probe == "gradient_statistics_loss":  # the tokens of a sample are as many in all
            assert series.last.attrs["gradients"].startswith("one gradient a sample")


@pytest.mark.process  # the library is large
@pytest.mark.parametrize(
    ("library", "code"), [("transformers", HUGGING_FACE), ("torchvision", RESNET)]
)
def test_the_libraries_themselves(
    library: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(library)
    assert run(code, tmp_path, monkeypatch)["hessian_spectrum_loss"]["converged"].all()


@pytest.mark.parametrize("code", [PLAIN, HUGGING_FACE, RESNET], ids=["plain", "hf", "resnet"])
def test_an_example_is_about_ten_lines_besides_its_imports(code: str) -> None:
    lines = [line for line in code.splitlines() if line and not line.startswith(("import", "from"))]
    assert len(lines) <= 12
