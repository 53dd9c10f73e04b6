"""Everything that can be known to fail before a job is queued."""

from ired_interp.cluster.preflight.check import Check
from ired_interp.cluster.preflight.preflight import Preflight

__all__ = ["Check", "Preflight"]
