"""An energy of the user's own, and the configuration that names it."""

from conftest import TINY

ENERGY = """
from torch import nn
from ired_interp.energy import Energy


class Bowl(Energy):
    def __init__(self, condition_dim: int, solution_dim: int, landscapes: int = 10) -> None:
        super().__init__(condition_dim, solution_dim, landscapes)
        self.linear = nn.Linear(condition_dim, solution_dim)

    def evaluate(self, context, y):
        x, _ = context
        return (y - self.linear(x)).square().sum(1)
"""
CONFIG = """
model:
  class_path: IREDModule
  init_args: {energy: own_bowl.Bowl}
data:
  task: {class_path: Inverse, init_args: {n: 2}}
"""
SMALL = TINY[TINY.index("--data.batch_size") :]
