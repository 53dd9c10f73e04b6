"""Energies E_θ(x, y, k) and their gradients in y."""

from ired_interp.energy.base import Energy
from ired_interp.energy.matrix import MatrixEnergy
from ired_interp.energy.mlp import MLPEnergy
from ired_interp.energy.residual import ResidualEnergy
from ired_interp.energy.residual_mlp import ResidualMLPEnergy

__all__ = ["Energy", "MLPEnergy", "MatrixEnergy", "ResidualEnergy", "ResidualMLPEnergy"]
