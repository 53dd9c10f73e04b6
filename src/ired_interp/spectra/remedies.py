"""Switches that give an objective second derivatives, set around graphs and products alike.

Kernels without second derivatives have twins that have them and compute the same: attention's
"math" kernel, RNNs without cuDNN, dense gradients of embeddings, a compiled function's own Python.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from ired_interp.errors import InputError
from ired_interp.spectra.causes import sentence_for

Undo = Callable[[], None]
Value = TypeVar("Value")

_AUTOCAST_DEVICES = ("cpu", "cuda")


def in_present_autocast(function: Callable[..., Value]) -> Callable[..., Value]:
    """Let a function run later in the autocast state of now, whatever it will be then.

    Parameters
    ----------
    function : callable
        Any.

    Returns
    -------
    callable
        Of the same arguments and result.
    """
    states = [
        (device, torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))
        for device in _AUTOCAST_DEVICES
    ]

    def restored(*args: Any) -> Value:
        with ExitStack() as stack:
            for device, enabled, dtype in states:
                if enabled or torch.is_autocast_enabled(device):
                    stack.enter_context(torch.autocast(device, dtype, enabled))
            return function(*args)

    return restored


@contextmanager
def first_derivatives() -> Iterator[None]:
    """Switch gradients on, in Lightning's inference mode too.

    Autocast around them is off; inside an objective it works as it is written. RNNs run without
    cuDNN, embeddings have dense gradients, and layers in training mode count in copies of their
    buffers, so that running statistics stay as they are.

    Yields
    ------
    None
        While they are on.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for device in _AUTOCAST_DEVICES:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        stack.enter_context(_around_layers(_remedies))
        yield


@contextmanager
def differentiable() -> Iterator[None]:
    """Switch second derivatives on, for graphs and for products, which checkpointing lets rebuild.

    Besides what ``first_derivatives`` does, attention runs by its "math" kernel, and compiled
    functions run uncompiled.

    Yields
    ------
    None
        While they are on.

    Raises
    ------
    InputError
        If an operation has no second derivative all the same, with its name and what to do.
    RuntimeError
        Any other, as it is.
    """
    with ExitStack() as stack:
        stack.enter_context(first_derivatives())
        stack.enter_context(sdpa_kernel([SDPBackend.MATH]))
        if "torch._dynamo" in sys.modules:  # without it nothing is compiled, and it loads slowly
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        try:
            yield
        except RuntimeError as error:
            if sentence := sentence_for(error):
                raise InputError(sentence) from error
            raise


@contextmanager
def _around_layers(remedies: Callable[[nn.Module], list[Undo]]) -> Iterator[None]:
    """Do something before every module's forward pass and undo it after."""
    entered: list[tuple[nn.Module, list[Undo]]] = []

    def enter(module: nn.Module, args: Any) -> None:
        entered.append((module, remedies(module)))

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        if entered and entered[-1][0] is module:
            for undo in entered.pop()[1]:
                undo()

    with ExitStack() as stack:
        if "torch._dynamo" in sys.modules:
            stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", r"Using `torch\.compile.* global hooks")
        stack.callback(register_module_forward_pre_hook(enter).remove)
        stack.callback(register_module_forward_hook(leave, always_call=True).remove)
        yield


def _remedies(module: nn.Module) -> list[Undo]:
    undo: list[Undo] = []
    if module.training and module._buffers and not isinstance(module, torch.jit.ScriptModule):
        kept = dict(module._buffers)
        # A copy is written to, not the original restored: graphs keep what they have saved.
        module._buffers.update({n: b.clone() for n, b in kept.items() if b is not None})
        undo.append(lambda: module._buffers.update(kept))
    if isinstance(module, nn.RNNBase):
        enabled = torch.backends.cudnn.enabled
        torch.backends.cudnn.enabled = False
        undo.append(lambda: setattr(torch.backends.cudnn, "enabled", enabled))
    if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.sparse:
        module.sparse = False
        undo.append(lambda: setattr(module, "sparse", True))
    return undo
