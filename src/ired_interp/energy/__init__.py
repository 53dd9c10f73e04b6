"""Energies E_θ(x, y, k) and their gradients in y."""

from ired_interp.energy.base import Energy
from ired_interp.energy.candidates import CandidateEnergy
from ired_interp.energy.connectivity import ConnectivityEnergy
from ired_interp.energy.held import FixedEntries, HeldEnergy
from ired_interp.energy.matrix import MatrixEnergy
from ired_interp.energy.mlp import MLPEnergy
from ired_interp.energy.residual import ResidualEnergy
from ired_interp.energy.residual_mlp import ResidualMLPEnergy
from ired_interp.energy.shortest_path import ShortestPathEnergy
from ired_interp.energy.sudoku import SudokuEnergy

__all__ = [
    "CandidateEnergy",
    "ConnectivityEnergy",
    "Energy",
    "FixedEntries",
    "HeldEnergy",
    "MLPEnergy",
    "MatrixEnergy",
    "ResidualEnergy",
    "ResidualMLPEnergy",
    "ShortestPathEnergy",
    "SudokuEnergy",
]
