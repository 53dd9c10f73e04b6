"""Watching the operations of PyTorch, without the compiler's two seconds of imports."""

import sys
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class DispatchMode(TorchDispatchMode):
    """Base of modes that PyTorch keeps its compiler out of, once that is there.

    PyTorch wraps ``__torch_dispatch__`` in a guard that imports ``torch._dynamo`` at the first
    operation, which takes longer than a small model's whole spectrum. Before anything is compiled
    there is nothing to guard against.
    """

    def __init__(self) -> None:
        TorchDispatchMode.__init__(self)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        parent: Any = super()
        bare: Any = cls.__torch_dispatch__
        parent.__init_subclass__(**kwargs)
        guarded: Any = cls.__torch_dispatch__

        def dispatch(self: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if "torch._dynamo" not in sys.modules:
                return bare(self, func, types, args, kwargs)
            cls.__torch_dispatch__ = guarded  # type: ignore[method-assign]
            return guarded(self, func, types, args, kwargs)

        cls.__torch_dispatch__ = dispatch  # type: ignore[method-assign]
