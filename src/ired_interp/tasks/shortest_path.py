"""Shortest paths: a plan of moves from a start to a goal along the edges of a directed graph."""

import math
from typing import ClassVar, get_args

import torch
from torch import Tensor

from ired_interp.diffusion.rules import Published
from ired_interp.energy.shortest_path import EDGE_CHANNELS, STEPS
from ired_interp.errors import InputError
from ired_interp.random import stream
from ired_interp.tasks.base import Measure, Pictured, Problems, Solve, Task, Variant, WrongAnswers
from ired_interp.tasks.graphs import check_graph
from ired_interp.tasks.path_posterior import PathPosterior
from ired_interp.tasks.routes import code_plan, draw_routes, read_plan, read_route


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
    matrix_solutions = False
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
        n = self.nodes(variant)
        route = draw_routes(count, n, self.p, self.shortest, self.longest, generator)
        moves, place = route.moves(), route.start
        reached = []
        for _ in range(STEPS):
            chances = moves[torch.arange(count, device=place.device), place]
            place = torch.multinomial(chances, 1, generator=generator)[:, 0]
            reached.append(place)
        return Problems(route.coded(), code_plan(torch.stack(reached, 1), n))

    def value_range(self, variant: Variant) -> float:
        """Return 1."""
        return 1.0

    def posterior(self, x: Tensor) -> PathPosterior:
        """Return the mixture of shortest paths."""
        route = read_route(x)
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
        route, device = read_route(x), x.device
        n, count = route.edges.shape[1], len(x)
        plan = read_plan(y)
        if self.wrong == "published":
            node = torch.randint(n, (count,), generator=generator, device=device)
            return code_plan(torch.cat([node[:, None], plan[:, 1:]], 1), n).to(y.dtype)
        step = torch.randint(STEPS, (count,), generator=generator, device=device)
        rows = torch.arange(count, device=device)
        wrong = ~route.on_paths()[rows, step]
        node = torch.multinomial(wrong.float(), 1, generator=generator)[:, 0]
        plan[rows, step] = node
        return code_plan(plan, n).to(y.dtype)

    def nearest_answer(self, x: Tensor, y: Tensor, solution: Tensor) -> Tensor:
        """Return the shortest path nearest to solutions (B, 8n), by the Viterbi recursion."""
        scores = solution.unflatten(1, (STEPS, -1)).double()
        return code_plan(read_route(x).nearest_plan(scores), scores.shape[2]).to(y.dtype)

    def measures(self, x: Tensor, y: Tensor, solution: Tensor) -> dict[str, Measure]:
        """Follow the plans that solutions hold, the largest entry of each step.

        Returns
        -------
        dict of str to Measure
            Shares of problems whose first move follows an edge and comes closer to the goal, and
            whose whole plan is a shortest path; of all, and by distance.
        """
        route = read_route(x)
        rows = torch.arange(len(x), device=x.device)
        plan = read_plan(solution)
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
        route = read_route(x)
        rows = torch.arange(len(x), device=x.device)
        place, alive = route.start, torch.ones_like(route.start, dtype=torch.bool)
        for _ in range(STEPS):
            current = route._replace(start=place).coded().to(x.dtype)
            node = torch.where(place == route.goal, place, read_plan(solve(current))[:, 0])
            alive = alive & ((node == place) | route.edges[rows, place, node])
            place = node
        reached = alive & (place == route.goal)
        return {"closed loop": Measure(reached, torch.ones_like(place))}

    def pictured(self, x: Tensor, y: Tensor, solutions: Tensor) -> Pictured:
        """Return `plan` along inference, `start`, `to_goal` and `edge`; see `Task.pictured`."""
        route = read_route(x)
        return {
            "plan": (("landscape", "pictured", "plan_step"), read_plan(solutions)),
            "start": (("pictured",), route.start),
            "to_goal": (("pictured", "node"), route.to_goal),
            "edge": (("pictured", "node", "other"), route.edges),
        }

    def trivial(self, x: Tensor) -> dict[str, Tensor]:
        """Return plans whose first move is a rule that does not look at the goal."""
        route = read_route(x)
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
            name: code_plan(value.argmax(1)[:, None].expand(-1, STEPS), n)
            for name, value in preferences.items()
        }


def _preferred(degree: Tensor, random: Tensor, neighbours: Tensor) -> Tensor:
    """Rank nodes by degree, equal ones at random, neighbours first."""
    return degree + random / 2 + 2 * degree.shape[1] * neighbours
