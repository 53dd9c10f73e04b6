"""Subspaces of R^N: principal angles, drift and its null distributions, for any PyTorch model."""

from ired_interp.geometry.angles import orthonormal_basis, principal_angles
from ired_interp.geometry.chance import (
    Band,
    chance_angles,
    chance_band,
    chance_overlap,
    effective_dimension,
)
from ired_interp.geometry.distances import (
    METRICS,
    distance_from_angles,
    grassmann_distance,
    overlap,
)
from ired_interp.geometry.history import DriftHistory
from ired_interp.geometry.leading import leading_subspace
from ired_interp.geometry.low_rank import (
    ColumnSpace,
    TangentSplit,
    column_space,
    perturbation_bound,
    tangent_normal_split,
)
from ired_interp.geometry.manifold import exp, geodesic, log, parallel_transport
from ired_interp.geometry.mean import (
    KarcherMean,
    PrincipalGeodesics,
    karcher_mean,
    principal_geodesics,
)
from ired_interp.geometry.noise import corrected_overlap
from ired_interp.geometry.reduction import reduced_coordinates
from ired_interp.geometry.repeated import ProblemHistory, RepeatedHistory
from ired_interp.geometry.repeated_variables import repeated_variables
from ired_interp.geometry.sketch import CountSketch
from ired_interp.geometry.subspace import Subspace
from ired_interp.geometry.trajectory import Path, path
from ired_interp.geometry.variables import drift_variables

__all__ = [
    "METRICS",
    "Band",
    "ColumnSpace",
    "CountSketch",
    "DriftHistory",
    "KarcherMean",
    "Path",
    "PrincipalGeodesics",
    "ProblemHistory",
    "RepeatedHistory",
    "Subspace",
    "TangentSplit",
    "chance_angles",
    "chance_band",
    "chance_overlap",
    "column_space",
    "corrected_overlap",
    "distance_from_angles",
    "drift_variables",
    "effective_dimension",
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
    "perturbation_bound",
    "principal_angles",
    "principal_geodesics",
    "reduced_coordinates",
    "repeated_variables",
    "tangent_normal_split",
]
