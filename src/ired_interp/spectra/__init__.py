"""Spectra of symmetric operators in PyTorch: Hessian products, Lanczos, quadrature, trace. Knows nothing of IRED."""

from ired_interp.spectra.dense import batched_hessian
from ired_interp.spectra.density import Density, density
from ired_interp.spectra.derived import (
    condition_number,
    effective_rank,
    gaps,
    overlap,
    spectral_gap,
)
from ired_interp.spectra.estimate import Estimate
from ired_interp.spectra.gauss_newton import GaussNewtonOperator, empirical_fisher
from ired_interp.spectra.hessian import HessianOperator
from ired_interp.spectra.lanczos import Spectrum, SpectrumWarning, lanczos, residual_norms
from ired_interp.spectra.operator import FunctionOperator, MatrixOperator, SymmetricOperator
from ired_interp.spectra.plan import Plan, plan_lanczos
from ired_interp.spectra.pyhessian import pyhessian_density, pyhessian_eigenvalues, pyhessian_trace
from ired_interp.spectra.trace import trace

__all__ = [
    "Density",
    "Estimate",
    "FunctionOperator",
    "GaussNewtonOperator",
    "HessianOperator",
    "MatrixOperator",
    "Plan",
    "Spectrum",
    "SpectrumWarning",
    "SymmetricOperator",
    "batched_hessian",
    "condition_number",
    "density",
    "effective_rank",
    "empirical_fisher",
    "gaps",
    "lanczos",
    "overlap",
    "plan_lanczos",
    "pyhessian_density",
    "pyhessian_eigenvalues",
    "pyhessian_trace",
    "residual_norms",
    "spectral_gap",
    "trace",
]
