"""A run's folder: written atomically, never overwritten, read back as labelled arrays."""

from ired_interp.results.choice import Choice, Which, choose_checkpoint
from ired_interp.results.export import export, tables
from ired_interp.results.opened import OpenedRun, open_results
from ired_interp.results.run import Run, find_runs, open_run
from ired_interp.results.series import Series
from ired_interp.results.store import ResultKey, failed_result, read_result, write_result

__all__ = [
    "Choice",
    "OpenedRun",
    "ResultKey",
    "Run",
    "Series",
    "Which",
    "choose_checkpoint",
    "export",
    "failed_result",
    "find_runs",
    "open_results",
    "open_run",
    "read_result",
    "tables",
    "write_result",
]
