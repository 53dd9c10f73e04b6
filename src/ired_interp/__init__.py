"""Train IRED energy models and measure the geometry of their landscapes.

Public names are imported on first use, so that `import ired_interp` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ired_interp import (
        callbacks,
        diffusion,
        energy,
        geometry,
        probes,
        report,
        results,
        spectra,
        tasks,
    )
    from ired_interp.checkpoint import load
    from ired_interp.diffusion import Inference, Solution
    from ired_interp.energy import (
        CandidateEnergy,
        ConnectivityEnergy,
        Energy,
        MLPEnergy,
        ShortestPathEnergy,
        SudokuEnergy,
    )
    from ired_interp.errors import InputError
    from ired_interp.module import IREDModule
    from ired_interp.probes import Probe, Snapshot, probe
    from ired_interp.report import emergence
    from ired_interp.results.opened import open_results as open
    from ired_interp.tasks import ExactEnergy, Task

__version__: str  # looked up when it is asked for

_PUBLIC = {
    "CandidateEnergy": "ired_interp.energy",
    "ConnectivityEnergy": "ired_interp.energy",
    "Energy": "ired_interp.energy",
    "ExactEnergy": "ired_interp.tasks",
    "IREDModule": "ired_interp.module",
    "Inference": "ired_interp.diffusion",
    "InputError": "ired_interp.errors",
    "MLPEnergy": "ired_interp.energy",
    "Probe": "ired_interp.probes",
    "ShortestPathEnergy": "ired_interp.energy",
    "Snapshot": "ired_interp.probes",
    "Solution": "ired_interp.diffusion",
    "SudokuEnergy": "ired_interp.energy",
    "Task": "ired_interp.tasks",
    "emergence": "ired_interp.report",
    "load": "ired_interp.checkpoint",
    "open": "ired_interp.results.opened:open_results",
    "probe": "ired_interp.probes",
}
_SUBPACKAGES = (
    "callbacks",
    "diffusion",
    "energy",
    "geometry",
    "probes",
    "report",
    "results",
    "spectra",
    "tasks",
)

__all__ = [
    "CandidateEnergy",
    "ConnectivityEnergy",
    "Energy",
    "ExactEnergy",
    "IREDModule",
    "Inference",
    "InputError",
    "MLPEnergy",
    "Probe",
    "ShortestPathEnergy",
    "Snapshot",
    "Solution",
    "SudokuEnergy",
    "Task",
    "__version__",
    "callbacks",
    "diffusion",
    "emergence",
    "energy",
    "geometry",
    "load",
    "open",
    "probe",
    "probes",
    "report",
    "results",
    "spectra",
    "tasks",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("ired-interp")
    if name in _PUBLIC:
        module, _, attribute = _PUBLIC[name].partition(":")
        return getattr(import_module(module), attribute or name)
    if name in _SUBPACKAGES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
