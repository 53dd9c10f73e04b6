"""Train IRED energy models and measure the geometry of their landscapes.

Public names are imported on first use, so that `import ired_interp` costs nothing.
"""

from importlib import import_module
from importlib.metadata import version
from typing import Any

__version__ = version("ired-interp")

_PUBLIC = {
    "ExactEnergy": "ired_interp.tasks",
    "IREDModule": "ired_interp.module",
    "MLPEnergy": "ired_interp.energy",
    "load": "ired_interp.checkpoint",
    "open": "ired_interp.results.opened:open_results",
    "probe": "ired_interp.probes",
}
_SUBPACKAGES = ("geometry", "spectra")

__all__ = ["__version__", *_PUBLIC, *_SUBPACKAGES]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        module, _, attribute = _PUBLIC[name].partition(":")
        return getattr(import_module(module), attribute or name)
    if name in _SUBPACKAGES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
