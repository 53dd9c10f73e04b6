"""Noise schedule, training objective and inference by annealed minimisation."""

from ired_interp.diffusion.inference import Solution, anneal, descend, solve
from ired_interp.diffusion.objective import Loss, Noise, Objective
from ired_interp.diffusion.rules import Inference, Published
from ired_interp.schedule import Schedule

__all__ = [
    "Inference",
    "Loss",
    "Noise",
    "Objective",
    "Published",
    "Schedule",
    "Solution",
    "anneal",
    "descend",
    "solve",
]
