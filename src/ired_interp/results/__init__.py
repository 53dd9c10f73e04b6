"""A run's folder: written atomically, never overwritten, read back as labelled arrays."""

from ired_interp.results.export import export, tables
from ired_interp.results.opened import OpenedRun, open_results
from ired_interp.results.run import Run, find_runs, open_run
from ired_interp.results.series import Series
from ired_interp.results.store import ResultKey, failed_result, read_result, write_result

__all__ = [
    "OpenedRun",
    "ResultKey",
    "Run",
    "Series",
    "export",
    "failed_result",
    "find_runs",
    "open_results",
    "open_run",
    "read_result",
    "tables",
    "write_result",
]
