"""A run's folder: written atomically, never overwritten, read back as labelled arrays."""

from ired_interp.results.run import Run, find_runs, open_run
from ired_interp.results.store import Label, failed_result, read_result, write_result

__all__ = ["Label", "Run", "failed_result", "find_runs", "open_run", "read_result", "write_result"]
