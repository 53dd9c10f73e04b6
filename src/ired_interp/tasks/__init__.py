"""Tasks: seeded generators of problems with answers, their floors, and the LightningDataModule."""

from ired_interp.tasks.addition import Addition
from ired_interp.tasks.base import Measure, Problems, Task, Variant
from ired_interp.tasks.completion import Completion
from ired_interp.tasks.connectivity import Connectivity
from ired_interp.tasks.data import TaskData
from ired_interp.tasks.exact import ExactEnergy
from ired_interp.tasks.inverse import Inverse
from ired_interp.tasks.linear_gaussian import LinearGaussian
from ired_interp.tasks.posterior import ExactPosterior, FinitePosterior, Posterior
from ired_interp.tasks.shortest_path import ShortestPath
from ired_interp.tasks.sudoku import Sudoku
from ired_interp.tasks.two_answers import TwoAnswers

__all__ = [
    "Addition",
    "Completion",
    "Connectivity",
    "ExactEnergy",
    "ExactPosterior",
    "FinitePosterior",
    "Inverse",
    "LinearGaussian",
    "Measure",
    "Posterior",
    "Problems",
    "ShortestPath",
    "Sudoku",
    "Task",
    "TaskData",
    "TwoAnswers",
    "Variant",
]
