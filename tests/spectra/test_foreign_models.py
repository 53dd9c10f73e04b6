"""Models of other libraries, where these are installed: they pass the check, or are named."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ired_interp.errors import InputError
from ired_interp.spectra import HessianOperator, SpectrumWarning


def product(objective: Callable[[Any], Tensor], module: nn.Module, batch: Any) -> Tensor:
    operator = HessianOperator(objective, module, batch=batch)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpectrumWarning)
        operator.check()
    draws = torch.Generator().manual_seed(1)
    return operator @ torch.randn(operator.shape[0], dtype=operator.dtype, generator=draws)


@pytest.fixture
def language_model() -> tuple[Any, Callable[[dict[str, Tensor]], Tensor], dict[str, Tensor]]:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"vocab_size": 13, "n_positions": 8, "n_embd": 8, "n_layer": 2, "n_head": 2}
    rates = dict.fromkeys(("attn_pdrop", "resid_pdrop", "embd_pdrop"), 0.0)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, **rates, use_cache=False))
    tokens, mask = torch.randint(0, 13, (3, 6)), torch.ones(3, 6, dtype=torch.long)
    mask[0, 4:] = 0
    labels = tokens.masked_fill(mask == 0, -100)
    batch = {"input_ids": tokens, "attention_mask": mask, "labels": labels}
    return model.double(), lambda b: model(**b).loss, batch


def test_gradient_checkpointing_changes_no_product(language_model) -> None:
    model, loss, batch = language_model
    expected = product(loss, model, batch)
    model.train().gradient_checkpointing_enable({"use_reentrant": False})
    torch.testing.assert_close(product(loss, model, batch), expected)
    model.gradient_checkpointing_enable({"use_reentrant": True})
    with pytest.raises(InputError, match="use_reentrant"):
        product(loss, model, batch)


def test_lora_has_the_block_of_its_own_parameters(language_model) -> None:
    peft = pytest.importorskip("peft")
    model, _, batch = language_model
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["c_attn"])).double()
    operator = HessianOperator(lambda b: adapted(**b).loss, adapted.eval(), batch=batch)
    assert operator.shape[0] == 2 * 2 * (8 + 24)
    assert float(product(lambda b: adapted(**b).loss, adapted, batch).norm()) > 0


@pytest.mark.parametrize("name", ["resnet10t", "convnext_atto"])
def test_an_image_model(name: str) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=3).eval()
    batch = torch.randn(2, 3, 32, 32), torch.tensor([0, 2])
    assert float(product(lambda b: F.cross_entropy(model(b[0]), b[1]), model, batch).norm()) > 0
