"""The energy of shortest paths: a plan's steps passed over the edges of its graph."""

from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ired_interp.energy.checks import check_sizes
from ired_interp.energy.edge_extremes import chosen_sum
from ired_interp.energy.graph import GraphEnergy, node_count
from ired_interp.energy.modulated_mlp import time_features, time_mlp
from ired_interp.energy.proposal import Level, ProposingEnergy, level_of, one_of
from ired_interp.errors import InputError

STEPS = 8  # of a plan
EDGE_CHANNELS = 4  # adjacency, start, adjacency again, goal
_TIME, _WIDTH, _EMBEDDING = 32, 64, 512

TimeShift = Literal["published", "corrected"]


class ShortestPathContext(NamedTuple):
    """What E depends on besides y: landscape features (B, 32), and edges of each block."""

    time: Tensor
    edges: list[Tensor]  # (B, n, n, 64)
    level: Level


class EdgeBlock(nn.Module):
    """h′_ti = max_j silu(W [f_ti; f_tj; x_ij; x_ji] + b), f_t the features around step t.

    W falls into a share of the row's node, one of the column's and one of the edge, which are added
    where the published network multiplies all pairs of nodes. silu falls and then rises, so its
    maximum over j lies at the largest or smallest sum: extremes come before it.

    Parameters
    ----------
    features : int
        Of a node at a step.
    time_shift : {"published", "corrected"}
        As in `ShortestPathEnergy`.
    """

    def __init__(self, features: int, time_shift: TimeShift) -> None:
        super().__init__()
        self.features, self.time_shift = features, time_shift
        self.linear = nn.Linear(6 * features + 2 * EDGE_CHANNELS, _WIDTH)

    def edges(self, x: Tensor) -> Tensor:
        """Share of the edges x (B, n, n, 4), (B, n, n, 64)."""
        weight = self.linear.weight[:, 6 * self.features :]
        return F.linear(torch.cat([x, x.transpose(1, 2)], -1), weight, self.linear.bias)

    def forward(self, h: Tensor, edges: Tensor) -> Tensor:
        """Return the next features (B, 8, n, 64) of features h (B, 8, n, C)."""
        around = self._around(h)
        row, column = self.linear.weight[:, : 6 * self.features].chunk(2, dim=1)
        own, others = F.linear(around, row), F.linear(around, column)
        return F.silu(own + chosen_sum(own, others, edges))

    def _around(self, h: Tensor) -> Tensor:
        """[h_{t−1}; h_t; h_{t+1}], or as published h_t three times, but for the ends."""
        nothing = torch.zeros_like(h[:, :1])
        if self.time_shift == "corrected":
            before, after = torch.cat([nothing, h[:, :-1]], 1), torch.cat([h[:, 1:], nothing], 1)
        else:
            before, after = torch.cat([nothing, h[:, 1:]], 1), torch.cat([h[:, :-1], nothing], 1)
        return torch.cat([before, h, after], -1)


class ShortestPathEnergy(GraphEnergy, ProposingEnergy):
    """E = Σ_ti o_ti over the steps t and nodes i of a plan, or the distance from softmax_i o_ti.

    Features of steps and nodes pass through blocks over the edges, each of which reaches one edge
    and one step further.

    x is (B, 4n²), [row, column, channel] flattened; y is (B, 8n), [step, node].

    Parameters
    ----------
    time_shift : {"published", "corrected"}
        What a step sees of its neighbours in time. As published it sees itself in their place, so
        that no step depends on another and a path cannot be told from jumps; corrected, it sees
        them. Weights have the same shapes.
    condition_dim, solution_dim : int
        4n² and 8n of the graphs that it is trained on; it takes graphs of any n.
    landscapes : int
        K, number of landscapes.
    residual : bool
        Take the outputs as logits of each step's node, whose distance from y is the
        energy, in place of the published form; see `ProposingEnergy`.
    blocks : int
        How many follow each other; 2 as published.

    Raises
    ------
    InputError
        If there is no such time shift, or no block.

    References
    ----------
    Du, Mao, Tenenbaum, "Learning Iterative Reasoning through Energy Diffusion", ICML 2024 (arXiv
    2406.11179), whose parameter names it has.

    Examples
    --------
    >>> energy = ShortestPathEnergy(time_shift="published")
    >>> x, y = torch.ones(5, 4 * 15**2), torch.zeros(5, 8 * 15)
    >>> energy(x, y, 0).shape, energy.gradient(x, y, 0).shape
    (torch.Size([5]), torch.Size([5, 120]))
    """

    name = "shortest_path"
    channels = EDGE_CHANNELS

    def __init__(
        self,
        time_shift: TimeShift = "corrected",
        condition_dim: int = 1600,
        solution_dim: int = 160,
        landscapes: int = 10,
        residual: bool = False,
        blocks: int = 2,
    ) -> None:
        check_sizes(type(self).__name__, blocks=blocks)
        if time_shift not in get_args(TimeShift):
            raise InputError(
                f"ShortestPathEnergy got time_shift={time_shift!r}; choose one of "
                f"{', '.join(get_args(TimeShift))}."
            )
        super().__init__(condition_dim, solution_dim, landscapes, residual)
        self.time_shift = time_shift
        self.time_mlp = time_mlp(_EMBEDDING, _TIME)
        self.blocks = blocks
        for i in range(blocks):
            self.add_module(f"block{i + 1}", EdgeBlock(_WIDTH if i else 1 + _TIME, time_shift))
        self.fc = nn.Linear(_WIDTH, 1)

    @property
    def _blocks(self) -> list[EdgeBlock]:
        found = [self.get_submodule(f"block{i + 1}") for i in range(self.blocks)]
        return [block for block in found if isinstance(block, EdgeBlock)]

    def entries(self, n: int) -> int:
        """Return 8n."""
        return STEPS * n

    def condition(self, x: Tensor, k: Tensor) -> ShortestPathContext:
        """Compute the share of the edges x (B, 4n²), and the features of landscapes k (B,)."""
        n = node_count(x.shape[1], EDGE_CHANNELS)
        graph = x.unflatten(1, (n, n, EDGE_CHANNELS))
        time = time_features(self.time_mlp, k, self.landscapes, x.dtype)
        edges = [block.edges(graph) for block in self._blocks]
        return ShortestPathContext(time, edges, level_of(self.schedule, k, x))

    def output(self, context: ShortestPathContext, y: Tensor) -> Tensor:
        """Compute outputs o (B, 8n)."""
        plan = y.unflatten(1, (STEPS, -1))[..., None]
        time = context.time[:, None, None].expand(*plan.shape[:3], -1)
        h = torch.cat([plan, time], -1)
        for block, edges in zip(self._blocks, context.edges, strict=True):
            h = block(h, edges)
        output: Tensor = self.fc(h)
        return output.flatten(1)

    def published(self, output: Tensor) -> Tensor:
        """Σ_ti o_ti (B,)."""
        return output.sum(1)

    def answer(self, output: Tensor) -> Tensor:
        """One node of each step (B, 8n), softly."""
        return one_of(output.unflatten(1, (STEPS, -1))).flatten(1)
