"""Shortest paths: a plan of moves from a start to a goal along the edges of a directed graph."""

import math
from typing import ClassVar, NamedTuple, get_args

import torch
from torch import Tensor

from ired_interp.diffusion.rules import Published
from ired_interp.energy.graph import node_count
from ired_interp.energy.shortest_path import EDGE_CHANNELS, STEPS
from ired_interp.errors import InputError
from ired_interp.random import stream
from ired_interp.tasks.base import Measure, Problems, Solve, Task, Variant, WrongAnswers
from ired_interp.tasks.graphs import (
    check_graph,
    distances,
    largest_degree,
    neighbour_graphs,
    signs,
)
from ired_interp.tasks.path_posterior import PathPosterior

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


class ShortestPath(Task):
    """x is a directed graph with a start and a goal, y* the nodes that 8 moves of a path reach.

    x (4n² entries, ±1) holds for each ordered pair of nodes [edge; the row's node is the start;
    edge; it is the goal]; y* (8n entries, ±1) the node of each step, the goal repeated to the end.
    Each of n points in the unit square has 1 … max(1, ⌊p n⌋) nearest others as neighbours. The
    distance is drawn uniformly, then a graph that has it, then a pair of nodes; each move of y* is
    uniform among those that come closer, so a problem has several right answers. "harder" has
    `harder_n` nodes.

    Parameters
    ----------
    n : int
        Nodes.
    p : float
        Largest out-degree as a share of the nodes.
    shortest, longest : int
        Distances from start to goal; at most 8.
    harder_n : int
        Nodes of the variant "harder".
    right_weight, other_weight : float
        Weights of the score term where y* is +1 and elsewhere; 10 and .5 were published.
    wrong_answers : {"corrected", "published"}
        How the contrast's wrong answers are made: one step goes to a node on no shortest path
        there; or, as published, the first goes to any node.

    Raises
    ------
    InputError
        If there are no such graphs, distances, weights or wrong answers.
    """

    name = "shortest_path"
    published = Published(bound=1.0, later_factor=1.0, final_bound=0.1)
    variants: ClassVar[tuple[str, ...]] = ("same", "harder")

    def __init__(
        self,
        n: int = 20,
        p: float = 0.5,
        shortest: int = 4,
        longest: int = 6,
        harder_n: int = 25,
        right_weight: float = 1.0,
        other_weight: float = 1.0,
        wrong_answers: WrongAnswers = "corrected",
    ) -> None:
        for nodes in (n, harder_n):
            check_graph(self.name, nodes, p)
        if not 1 <= shortest <= longest <= min(STEPS, n - 1):
            raise InputError(
                f"task shortest_path got distances from {shortest} to {longest} on {n} nodes; "
                f"expected 1 <= shortest <= longest <= {min(STEPS, n - 1)}."
            )
        for name, value in (("right_weight", right_weight), ("other_weight", other_weight)):
            if not 0 < value < math.inf:
                raise InputError(f"task shortest_path got {name}={value}; it must be positive.")
        if wrong_answers not in get_args(WrongAnswers):
            raise InputError(
                f"task shortest_path got wrong_answers={wrong_answers!r}; choose one of "
                f"{', '.join(get_args(WrongAnswers))}."
            )
        self.n, self.p, self.shortest, self.longest = n, p, shortest, longest
        self.harder_n, self.wrong = harder_n, wrong_answers
        self.right_weight, self.other_weight = right_weight, other_weight
        self.condition_dim, self.solution_dim = self.sizes("same")

    def nodes(self, variant: Variant) -> int:
        """Return n of a variant."""
        return self.n if variant == "same" else self.harder_n

    def sizes(self, variant: Variant) -> tuple[int, int]:
        """Return 4n² and 8n."""
        n = self.nodes(variant)
        return EDGE_CHANNELS * n * n, STEPS * n

    def sample(self, count: int, generator: torch.Generator, variant: Variant = "same") -> Problems:
        """Draw problems; see `Task.sample`."""
        route = self._routes(count, self.nodes(variant), generator)
        moves, place = route.moves(), route.start
        reached = []
        for _ in range(STEPS):
            chances = moves[torch.arange(count, device=place.device), place]
            place = torch.multinomial(chances, 1, generator=generator)[:, 0]
            reached.append(place)
        return Problems(_condition(route), _plan(torch.stack(reached, 1), moves.shape[1]))

    def value_range(self, variant: Variant) -> float:
        """Return 1."""
        return 1.0

    def posterior(self, x: Tensor) -> PathPosterior:
        """Return the mixture of shortest paths."""
        route = _route(x)
        moves = route.moves().to(x.dtype)
        start = moves[torch.arange(len(x), device=x.device), route.start]
        return PathPosterior(start, moves, STEPS)

    def score_weights(self, x: Tensor, y: Tensor) -> Tensor | None:
        """Return the weight of right and of other nodes; see `Task.score_weights`."""
        if self.right_weight == self.other_weight == 1:
            return None
        return torch.where(y > 0, self.right_weight, self.other_weight).to(y.dtype)

    def wrong_answers(self, problems: Problems, generator: torch.Generator) -> Tensor:
        """Draw wrong answers; see `Task.wrong_answers`."""
        x, y = problems
        route, device = _route(x), x.device
        n, count = route.edges.shape[1], len(x)
        plan = y.unflatten(1, (STEPS, n)).argmax(2)
        if self.wrong == "published":
            node = torch.randint(n, (count,), generator=generator, device=device)
            return _plan(torch.cat([node[:, None], plan[:, 1:]], 1), n).to(y.dtype)
        step = torch.randint(STEPS, (count,), generator=generator, device=device)
        rows = torch.arange(count, device=device)
        wrong = ~_on_paths(route)[rows, step]
        node = torch.multinomial(wrong.float(), 1, generator=generator)[:, 0]
        plan[rows, step] = node
        return _plan(plan, n).to(y.dtype)

    def nearest_answer(self, x: Tensor, y: Tensor, solution: Tensor) -> Tensor:
        """Return the shortest path nearest to solutions (B, 8n), by the Viterbi recursion."""
        route = _route(x)
        n, rows = route.edges.shape[1], torch.arange(len(x), device=x.device)
        plan = solution.unflatten(1, (STEPS, n)).double()
        closer = torch.where(route.closer, 0.0, -torch.inf).double()
        total, origins = closer[rows, route.start] + plan[:, 0], []
        for t in range(1, STEPS):
            best, origin = (total[:, :, None] + closer).max(1)
            total = best + plan[:, t]
            origins.append(origin)
        place = route.goal
        reached = [place]
        for origin in reversed(origins):
            place = origin[rows, place]
            reached.append(place)
        return _plan(torch.stack(reached[::-1], 1), n).to(y.dtype)

    def measures(self, x: Tensor, y: Tensor, solution: Tensor) -> dict[str, Measure]:
        """Follow the plans that solutions hold, the largest entry of each step.

        Returns
        -------
        dict of str to Measure
            Shares of problems whose first move follows an edge and comes closer to the goal, and
            whose whole plan is a shortest path; of all, and by distance.
        """
        route = _route(x)
        n, rows = route.edges.shape[1], torch.arange(len(x), device=x.device)
        plan = solution.unflatten(1, (STEPS, n)).argmax(2)
        closer, place = route.closer, route.start
        moves = []
        for node in plan.unbind(1):
            moves.append(closer[rows, place, node])
            place = node
        right = {"first move": moves[0], "whole plan": torch.stack(moves, 1).all(1)}
        far = route.to_goal[rows, route.start]
        found = {name: Measure(r, torch.ones_like(far)) for name, r in right.items()}
        for length in range(self.shortest, self.longest + 1):
            for name, r in right.items():
                found[f"{name} at distance {length}"] = Measure(r & (far == length), far == length)
        return found

    def rollout_measures(self, x: Tensor, solve: Solve) -> dict[str, Measure]:
        """Make the first move of each plan and plan again; see `Task.rollout_measures`.

        Returns
        -------
        dict of str to Measure
            Share of problems whose goal is reached within 8 moves along edges.
        """
        route = _route(x)
        rows = torch.arange(len(x), device=x.device)
        place, alive = route.start, torch.ones_like(route.start, dtype=torch.bool)
        for _ in range(STEPS):
            current = _condition(route._replace(start=place)).to(x.dtype)
            plan = solve(current).unflatten(1, (STEPS, -1))
            node = torch.where(place == route.goal, place, plan[:, 0].argmax(1))
            alive = alive & ((node == place) | route.edges[rows, place, node])
            place = node
        reached = alive & (place == route.goal)
        return {"closed loop": Measure(reached, torch.ones_like(place))}

    def trivial(self, x: Tensor) -> dict[str, Tensor]:
        """Return plans whose first move is a rule that does not look at the goal."""
        route = _route(x)
        n, rows = route.edges.shape[1], torch.arange(len(x), device=x.device)
        neighbours = route.edges[rows, route.start]
        random = torch.rand(neighbours.shape, generator=stream(x.device, 0), device=x.device)
        preferences = {
            "random node": random,
            "random neighbour": random + n * neighbours,
            "neighbour with most in-edges": _preferred(route.edges.sum(1), random, neighbours),
            "neighbour with most out-edges": _preferred(route.edges.sum(2), random, neighbours),
        }
        return {
            name: _plan(value.argmax(1)[:, None].expand(-1, STEPS), n)
            for name, value in preferences.items()
        }

    def _routes(self, count: int, n: int, generator: torch.Generator) -> Route:
        """Draw graphs until each has a pair of nodes of the distance drawn for it.

        Raises
        ------
        InputError
            If graphs hardly ever have it.
        """
        device = generator.device
        span = (self.shortest, self.longest + 1)
        far = torch.randint(*span, (count,), generator=generator, device=device)
        edges = torch.zeros(count, n, n, dtype=torch.bool, device=device)
        apart = torch.zeros(count, n, n, dtype=torch.long, device=device)
        missing = torch.arange(count, device=device)
        for _ in range(_ROUNDS):
            drawn = neighbour_graphs(len(missing), n, largest_degree(n, self.p), generator)
            ways = distances(drawn, self.longest)
            there = (ways == far[missing, None, None]).flatten(1).any(1)
            edges[missing[there]], apart[missing[there]] = drawn[there], ways[there]
            missing = missing[~there]
            if not len(missing):
                break
        else:
            raise InputError(
                f"task shortest_path finds no pair at distance {int(far[missing[0]])} among {n} "
                f"nodes with p={self.p}; lower longest or p."
            )
        pairs = (apart == far[:, None, None]).flatten(1).float()
        pair = torch.multinomial(pairs, 1, generator=generator)[:, 0]
        return Route(edges, pair // n, pair % n, apart)


def _condition(route: Route) -> Tensor:
    n = route.edges.shape[1]
    nodes = torch.arange(n, device=route.start.device)
    start, goal = (
        (nodes == node[:, None])[:, :, None].expand(-1, -1, n) for node in (route.start, route.goal)
    )
    return signs(torch.stack([route.edges, start, route.edges, goal], -1)).flatten(1)


def _route(x: Tensor) -> Route:
    n = node_count(x.shape[1], EDGE_CHANNELS)
    if n is None:
        raise InputError(
            f"task shortest_path got problems of {x.shape[1]} entries; expected 4n² for n nodes."
        )
    graph = x.unflatten(1, (n, n, EDGE_CHANNELS)) > 0
    start, goal = (graph[:, :, 0, channel].float().argmax(1) for channel in (1, 3))
    edges = graph[..., 0]
    return Route(edges, start, goal, distances(edges, STEPS))


def _plan(nodes: Tensor, n: int) -> Tensor:
    """Code the nodes (B, 8) of a plan, (B, 8n)."""
    return signs(torch.arange(n, device=nodes.device) == nodes[..., None]).flatten(1)


def _on_paths(route: Route) -> Tensor:
    """Tell the nodes that some shortest path reaches at each step, (B, 8, n)."""
    rows = torch.arange(len(route.start), device=route.start.device)
    place = route.closer[rows, route.start]
    found = [place]
    for _ in range(STEPS - 1):
        place = (place[:, None].float() @ route.closer.float())[:, 0] > 0
        found.append(place)
    return torch.stack(found, 1)


def _preferred(degree: Tensor, random: Tensor, neighbours: Tensor) -> Tensor:
    """Rank nodes by degree, equal ones at random, neighbours first."""
    return degree + random / 2 + 2 * degree.shape[1] * neighbours
