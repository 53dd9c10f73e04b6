"""Graphs with a start and a goal, and the plans that lead from one to the other."""

from typing import NamedTuple

import torch
from torch import Tensor

from ired_interp.energy.graph import node_count
from ired_interp.energy.shortest_path import EDGE_CHANNELS, STEPS
from ired_interp.errors import InputError
from ired_interp.tasks.graphs import distances, largest_degree, neighbour_graphs, signs

_ROUNDS = 200  # of redrawn graphs, before a distance counts as one that does not occur


class Route(NamedTuple):
    """A problem as a graph: edges (B, n, n), start and goal (B,), distances (B, n, n)."""

    edges: Tensor
    start: Tensor
    goal: Tensor
    apart: Tensor

    @property
    def to_goal(self) -> Tensor:
        """Distance of each node to the goal (B, n)."""
        return self.apart.gather(2, self.goal[:, None, None].expand(-1, self.apart.shape[1], 1))[
            ..., 0
        ]

    @property
    def closer(self) -> Tensor:
        """Moves (B, n, n) along an edge that shorten the way to the goal, which stays."""
        to_goal = self.to_goal
        shorter = self.edges & (to_goal[:, None] >= 0)
        shorter &= to_goal[:, None] == to_goal[:, :, None] - 1
        n = self.edges.shape[1]
        itself = torch.eye(n, dtype=torch.bool, device=self.edges.device)
        at_goal = torch.arange(n, device=self.goal.device) == self.goal[:, None]
        return shorter | (itself & at_goal[:, None])

    def moves(self) -> Tensor:
        """Probability (B, n, n) of each move of the demonstration, uniform over those closer."""
        closer = self.closer.float()
        return closer / closer.sum(2, keepdim=True).clamp(min=1)

    def on_paths(self) -> Tensor:
        """Tell the nodes that some shortest path reaches at each step, (B, 8, n)."""
        rows, closer = torch.arange(len(self.start), device=self.start.device), self.closer
        found = [closer[rows, self.start]]
        for _ in range(STEPS - 1):
            found.append((found[-1][:, None].float() @ closer.float())[:, 0] > 0)
        return torch.stack(found, 1)

    def nearest_plan(self, scores: Tensor) -> Tensor:
        """Return the nodes (B, 8) of the shortest path whose scores (B, 8, n) sum highest.

        By the Viterbi recursion.
        """
        rows = torch.arange(len(self.start), device=self.start.device)
        closer = torch.where(self.closer, 0.0, -torch.inf).to(scores.dtype)
        total, origins = closer[rows, self.start] + scores[:, 0], []
        for t in range(1, STEPS):
            best, origin = (total[:, :, None] + closer).max(1)
            total = best + scores[:, t]
            origins.append(origin)
        reached = [self.goal]
        for origin in reversed(origins):
            reached.append(origin[rows, reached[-1]])
        return torch.stack(reached[::-1], 1)

    def coded(self) -> Tensor:
        """Code it as conditions (B, 4n²)."""
        n = self.edges.shape[1]
        nodes = torch.arange(n, device=self.start.device)
        start, goal = (
            (nodes == node[:, None])[:, :, None].expand(-1, -1, n)
            for node in (self.start, self.goal)
        )
        return signs(torch.stack([self.edges, start, self.edges, goal], -1)).flatten(1)


def read_route(x: Tensor) -> Route:
    """Read conditions x (B, 4n²).

    Raises
    ------
    InputError
        If their size is that of no graph.
    """
    n = node_count(x.shape[1], EDGE_CHANNELS)
    if n is None:
        raise InputError(
            f"task shortest_path got problems of {x.shape[1]} entries; expected 4n² for n nodes."
        )
    graph = x.unflatten(1, (n, n, EDGE_CHANNELS)) > 0
    start, goal = (graph[:, :, 0, channel].float().argmax(1) for channel in (1, 3))
    edges = graph[..., 0]
    return Route(edges, start, goal, distances(edges, STEPS))


def draw_routes(
    count: int, n: int, p: float, shortest: int, longest: int, generator: torch.Generator
) -> Route:
    """Draw graphs until each has a pair of nodes of the distance drawn for it.

    Parameters
    ----------
    count : int
        How many, B.
    n, p : int, float
        Nodes, and the largest out-degree as a share of them.
    shortest, longest : int
        Distances, equally often.
    generator : torch.Generator
        Of everything; the graphs lie on its device.

    Returns
    -------
    Route
        The start and the goal are uniform among the pairs of that distance.

    Raises
    ------
    InputError
        If graphs hardly ever have it.
    """
    device = generator.device
    far = torch.randint(shortest, longest + 1, (count,), generator=generator, device=device)
    edges = torch.zeros(count, n, n, dtype=torch.bool, device=device)
    apart = torch.zeros(count, n, n, dtype=torch.long, device=device)
    missing = torch.arange(count, device=device)
    for _ in range(_ROUNDS):
        drawn = neighbour_graphs(len(missing), n, largest_degree(n, p), generator)
        ways = distances(drawn, longest)
        there = (ways == far[missing, None, None]).flatten(1).any(1)
        edges[missing[there]], apart[missing[there]] = drawn[there], ways[there]
        missing = missing[~there]
        if not len(missing):
            break
    else:
        raise InputError(
            f"task shortest_path finds no pair at distance {int(far[missing[0]])} among {n} "
            f"nodes with p={p}; lower longest or p."
        )
    pairs = (apart == far[:, None, None]).flatten(1).float()
    pair = torch.multinomial(pairs, 1, generator=generator)[:, 0]
    return Route(edges, pair // n, pair % n, apart)


def code_plan(nodes: Tensor, n: int) -> Tensor:
    """Code the nodes (B, 8) of a plan among n as a solution (B, 8n)."""
    return signs(torch.arange(n, device=nodes.device) == nodes[..., None]).flatten(1)


def read_plan(solution: Tensor) -> Tensor:
    """Read the nodes (…, 8) of plans, the largest entry of each step, from solutions (…, 8n)."""
    nodes: Tensor = solution.unflatten(-1, (STEPS, -1)).argmax(-1)
    return nodes
