"""Energies E_θ(x, y, k) and their gradients in y."""

from ired_interp.energy.base import Energy
from ired_interp.energy.mlp import MLPEnergy

__all__ = ["Energy", "MLPEnergy"]
