"""Spectra of symmetric operators in PyTorch: Hessian products, Lanczos, quadrature, trace. Knows nothing of IRED."""

from ired_interp.spectra.gauss_newton import GaussNewtonOperator, empirical_fisher
from ired_interp.spectra.hessian import HessianOperator
from ired_interp.spectra.lanczos import Spectrum, SpectrumWarning, lanczos, residual_norms
from ired_interp.spectra.operator import FunctionOperator, MatrixOperator, SymmetricOperator
from ired_interp.spectra.plan import Plan, plan_lanczos

__all__ = [
    "FunctionOperator",
    "GaussNewtonOperator",
    "HessianOperator",
    "MatrixOperator",
    "Plan",
    "Spectrum",
    "SpectrumWarning",
    "SymmetricOperator",
    "empirical_fisher",
    "lanczos",
    "plan_lanczos",
    "residual_norms",
]
