"""Piecewise smooth functions, held on one piece."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

# Backward operations that multiply by a slope which jumps where their second argument does.
_SLOPES = {
    "threshold_backward",
    "leaky_relu_backward",
    "hardtanh_backward",
    "hardsigmoid_backward",
    "hardshrink_backward",
    "softshrink_backward",
}
_SIGNS = {"sgn", "sign"}


class Pieces(TorchDispatchMode):
    """Records on which piece of its piecewise operations a computation is, and keeps it there.

    A network of ReLUs and maxima is smooth between kinks, and a Hessian is that of the piece at
    hand; a difference of gradients across kinks has their jumps in it. What makes the jumps are the
    slopes of ReLUs and their kin, signs, comparisons and indices of maxima. The first run records
    them, every later run of the same operations takes those of the first.

    Attributes
    ----------
    kept : bool
        False once a run was not the same operations, so that its piece is not known.
    """

    def __init__(self) -> None:
        TorchDispatchMode.__init__(self)
        self._record: list[Tensor] = []
        self._position: int | None = None
        self.kept = True

    def again(self) -> Pieces:
        """Return itself, for a run on the recorded pieces."""
        self._position = 0
        return self

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().removeprefix("aten::").split(".")[0]
        if name in _SLOPES:
            slope = self._held(lambda: func(torch.ones_like(args[0]), *args[1:], **kwargs or {}))
            return args[0] * slope
        result = func(*args, **(kwargs or {}))
        if name in _SIGNS:
            return self._held(lambda: result)
        leaves, structure = tree_flatten(result)
        if not any(_discrete(leaf) for leaf in leaves) or not any(
            isinstance(t, Tensor) and t.is_floating_point() for t in tree_leaves((args, kwargs))
        ):
            return result
        return tree_unflatten(
            [self._held(lambda leaf=leaf: leaf) if _discrete(leaf) else leaf for leaf in leaves],
            structure,
        )

    def _held(self, find: Any) -> Tensor:
        if self._position is None:
            found = find()
            self._record.append(found.clone())  # the program may write to its own
            return found
        if self.kept and self._position < len(self._record):
            held = self._record[self._position]
            self._position += 1
            return held.clone()
        self.kept = False
        return find()


def _discrete(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.dtype in (torch.bool, torch.int64)
