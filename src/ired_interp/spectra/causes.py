"""Why an objective lacks second derivatives, and which custom functions are in it."""

from __future__ import annotations

import re

from torch import Tensor
from torch.autograd.function import BackwardCFunction

DIFFERENCES = 'product="finite_difference"'

_SENTENCES = (
    (
        r"aot_autograd does not currently support double backward",
        "a compiled function (torch.compile) has no second derivatives; evaluate the uncompiled "
        f"module (module._orig_mod), or take {DIFFERENCES}",
    ),
    (
        r"(?i)derivative for \S*attention\S* is not implemented|FlexAttention|flex_attention",
        "an attention kernel without second derivatives is forced inside the objective; leave out "
        "its sdpa_kernel(...), or load the model with attn_implementation='sdpa'",
    ),
    (
        r"CuDNN RNN|_cudnn_rnn_backward",
        "a cuDNN RNN has no second derivatives and is called outside an nn.RNN, LSTM or GRU; set "
        " torch.backends.cudnn.enabled = False around it",
    ),
    (
        r"incompatible with \.grad\(\)",
        "reentrant gradient checkpointing has no second derivatives; call "
        "checkpoint(..., use_reentrant=False), in Hugging Face models "
        "gradient_checkpointing_enable({'use_reentrant': False})",
    ),
    (
        r"once_differentiable",
        "a custom autograd.Function is marked @once_differentiable; write its backward in "
        f"differentiable operations, or take {DIFFERENCES}",
    ),
    (
        r"Sparse(CPU|CUDA)",
        "a gradient is sparse, which has no products with vectors; call embedding(...) with "
        "sparse=False",
    ),
    (
        r"modified by an inplace operation",
        "a tensor that the kept graph needs was written to after the first product (buffers or "
        "data, say); make a new operator for the new values",
    ),
    (
        r"derivative for '?(?:aten::)?(?P<name>\w+?)'? is not implemented",
        "the operation NAME has no derivative in PyTorch; replace it in the objective, or take "
        f"{DIFFERENCES}",
    ),
)


def sentence_for(error: BaseException) -> str | None:
    """Translate PyTorch's error about a second derivative.

    Parameters
    ----------
    error : BaseException
        As PyTorch raised it.

    Returns
    -------
    str or None
        What lacks second derivatives and what to do; None for any other error.
    """
    for pattern, sentence in _SENTENCES:
        if match := re.search(pattern, str(error)):
            return sentence.replace("NAME", match.groupdict().get("name", ""))
    return None


def custom_functions(value: Tensor) -> list[str]:
    """Name the autograd functions behind a value that are not PyTorch's own.

    Parameters
    ----------
    value : Tensor
        With its graph.

    Returns
    -------
    list of str
        Names, sorted.
    """
    names, seen, waiting = set(), set(), [value.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        waiting += [following for following, _ in node.next_functions]
        if isinstance(node, BackwardCFunction):
            function = node._forward_cls
            if not function.__module__.startswith("torch."):
                names.add(function.__name__)
        elif type(node).__name__ == "CppFunction":
            names.add(node.name())
    return sorted(names)
