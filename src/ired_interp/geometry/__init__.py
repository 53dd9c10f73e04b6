"""Subspaces of R^N: principal angles, drift and its null distributions, for any PyTorch model."""

from ired_interp.geometry.angles import orthonormal_basis, principal_angles
from ired_interp.geometry.chance import (
    Band,
    chance_angles,
    chance_band,
    chance_overlap,
)
from ired_interp.geometry.distances import (
    METRICS,
    distance_from_angles,
    grassmann_distance,
    overlap,
)
from ired_interp.geometry.eigengap import Eigengap
from ired_interp.geometry.history import DriftHistory
from ired_interp.geometry.leading import leading_subspace
from ired_interp.geometry.low_rank import TangentSplit, tangent_normal_split
from ired_interp.geometry.manifold import exp, geodesic, log, parallel_transport
from ired_interp.geometry.mean import KarcherMean, karcher_mean
from ired_interp.geometry.noise import corrected_overlap, corrected_overlap_error
from ired_interp.geometry.subspace import Subspace
from ired_interp.geometry.trajectory import Path, path
from ired_interp.geometry.variables import drift_variables

__all__ = [
    "METRICS",
    "Band",
    "DriftHistory",
    "Eigengap",
    "KarcherMean",
    "Path",
    "Subspace",
    "TangentSplit",
    "chance_angles",
    "chance_band",
    "chance_overlap",
    "corrected_overlap",
    "corrected_overlap_error",
    "distance_from_angles",
    "drift_variables",
    "exp",
    "geodesic",
    "grassmann_distance",
    "karcher_mean",
    "leading_subspace",
    "log",
    "orthonormal_basis",
    "overlap",
    "parallel_transport",
    "path",
    "principal_angles",
    "tangent_normal_split",
]
