"""Spectra of symmetric operators in PyTorch: Hessian products, Lanczos, quadrature, trace."""

from ired_interp.spectra.blocks import BlockNorms, block_norms
from ired_interp.spectra.dense import batched_hessian
from ired_interp.spectra.density import Density, density
from ired_interp.spectra.derived import alignment, condition_number, gaps, spectral_gap
from ired_interp.spectra.diagonal import Diagonal, diagonal
from ired_interp.spectra.effective_rank import effective_rank
from ired_interp.spectra.estimate import Estimate
from ired_interp.spectra.gauss_newton import GaussNewtonOperator, empirical_fisher
from ired_interp.spectra.hessian import HessianOperator
from ired_interp.spectra.lanczos import lanczos
from ired_interp.spectra.many_matrices import many_eigenpairs, many_eigenvalues
from ired_interp.spectra.module_hessian import ModuleHessian, hessian
from ired_interp.spectra.module_loss import ModuleLoss
from ired_interp.spectra.operator import FunctionOperator, MatrixOperator, SymmetricOperator
from ired_interp.spectra.plan import Plan, plan_lanczos
from ired_interp.spectra.pyhessian import pyhessian_eigenvalues, pyhessian_trace
from ired_interp.spectra.shares import sign_chance
from ired_interp.spectra.spectrum import Spectrum, SpectrumWarning, residual_norms
from ired_interp.spectra.trace import trace

__all__ = [
    "BlockNorms",
    "Density",
    "Diagonal",
    "Estimate",
    "FunctionOperator",
    "GaussNewtonOperator",
    "HessianOperator",
    "MatrixOperator",
    "ModuleHessian",
    "ModuleLoss",
    "Plan",
    "Spectrum",
    "SpectrumWarning",
    "SymmetricOperator",
    "alignment",
    "batched_hessian",
    "block_norms",
    "condition_number",
    "density",
    "diagonal",
    "effective_rank",
    "empirical_fisher",
    "gaps",
    "hessian",
    "lanczos",
    "many_eigenpairs",
    "many_eigenvalues",
    "plan_lanczos",
    "pyhessian_eigenvalues",
    "pyhessian_trace",
    "residual_norms",
    "sign_chance",
    "spectral_gap",
    "trace",
]
