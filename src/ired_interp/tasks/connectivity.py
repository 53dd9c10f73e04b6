"""Connectivity of graphs: which pairs of nodes a path joins."""

from typing import ClassVar, get_args

import torch
from torch import Tensor

from ired_interp.diffusion.rules import Published
from ired_interp.energy.graph import node_count
from ired_interp.errors import InputError
from ired_interp.tasks.base import (
    Measure,
    Pictured,
    Problems,
    Task,
    Variant,
    WrongAnswers,
    point,
)
from ired_interp.tasks.graphs import (
    check_graph,
    connected,
    distances,
    largest_degree,
    neighbour_graphs,
    signs,
)
from ired_interp.tasks.posterior import Posterior

_WRONG = 0.05  # share of entries that are wrong in wrong answers
_FAR = 6  # distances from here on are counted together


class Connectivity(Task):
    """x is the adjacency matrix of an undirected graph, y* which nodes a path joins; both ±1.

    Each of n points in the unit square is joined to 1 … max(1, ⌊p n⌋) nearest others. Variants:
    "harder" has `harder_n` nodes with the same p, so larger degrees and more connections;
    "harder_equal_degree" as many with the degrees of the training graphs, so longer ways.

    Parameters
    ----------
    n : int
        Nodes.
    p : float
        Largest out-degree as a share of the nodes.
    harder_n : int
        Nodes of the harder variants.
    wrong_answers : {"corrected", "published"}
        How the contrast's wrong answers are made: pairs of nodes, .05 of them and at least one,
        told from joined to not and from not to joined; or, as published, each entry with
        probability .05 to −1, the diagonal and one direction of a pair alone, too.

    Raises
    ------
    InputError
        If there are no such graphs or wrong answers.
    """

    name = "connectivity"
    variants: ClassVar[tuple[str, ...]] = ("same", "harder", "harder_equal_degree")
    published = Published(bound=1.0, later_factor=1.0)

    def __init__(
        self,
        n: int = 12,
        p: float = 0.2,
        harder_n: int = 18,
        wrong_answers: WrongAnswers = "corrected",
    ) -> None:
        for nodes in (n, harder_n):
            check_graph(self.name, nodes, p)
        if wrong_answers not in get_args(WrongAnswers):
            raise InputError(
                f"task connectivity got wrong_answers={wrong_answers!r}; choose one of "
                f"{', '.join(get_args(WrongAnswers))}."
            )
        self.n, self.p, self.harder_n, self.wrong = n, p, harder_n, wrong_answers
        self.condition_dim = self.solution_dim = n * n

    def nodes(self, variant: Variant) -> int:
        """Return n of a variant."""
        return self.n if variant == "same" else self.harder_n

    def sizes(self, variant: Variant) -> tuple[int, int]:
        """Return n² twice."""
        n = self.nodes(variant)
        return n * n, n * n

    def sample(self, count: int, generator: torch.Generator, variant: Variant = "same") -> Problems:
        """Draw problems; see `Task.sample`."""
        n = self.nodes(variant)
        degree = largest_degree(n if variant == "harder" else self.n, self.p)
        directed = neighbour_graphs(count, n, min(degree, n - 1), generator)
        x = signs(directed | directed.mT).flatten(1)
        return Problems(x, self._answer(x))

    def value_range(self, variant: Variant) -> float:
        """Return 1."""
        return 1.0

    def posterior(self, x: Tensor) -> Posterior:
        """Return the answer itself."""
        return point(self._answer(x))

    def wrong_answers(self, problems: Problems, generator: torch.Generator) -> Tensor:
        """Draw wrong answers; see `Task.wrong_answers`."""
        y = problems.y
        uniform = torch.rand(y.shape, generator=generator, device=y.device)
        if self.wrong == "published":
            return torch.where(uniform < _WRONG, -1.0, y)
        pairs = self._matrices(uniform).triu(1)
        pairs = torch.where(pairs > 0, pairs, torch.inf)  # above the diagonal
        flipped = pairs <= pairs.amin((1, 2), keepdim=True).clamp(min=_WRONG)
        return torch.where((flipped | flipped.mT).flatten(1), -y, y)

    def measures(self, x: Tensor, y: Tensor, solution: Tensor) -> dict[str, Measure]:
        """Compare the signs of solutions with the answers; see `Task.measures`.

        Returns
        -------
        dict of str to Measure
            Shares of right entries: of all (`accuracy`), of both classes alike, off the diagonal,
            of whole graphs, and off the diagonal by the true distance of the two nodes.
        """
        adjacency, answer = self._matrices(x) > 0, self._matrices(y) > 0
        right = (self._matrices(solution) >= 0) == answer
        apart = distances(adjacency)
        every = torch.ones_like(right)
        both = torch.stack([answer, ~answer], 1)
        found = {
            "accuracy": _share(right, every),
            "balanced accuracy": Measure((both & right[:, None]).sum((2, 3)), both.sum((2, 3))),
            "accuracy off the diagonal": _share(right, apart != 0),
            "whole graphs": Measure(right.all(2).all(1), torch.ones(len(x), device=x.device)),
        }
        for length in range(1, _FAR):
            found[f"accuracy at distance {length}"] = _share(right, apart == length)
        found[f"accuracy at distance {_FAR} or more"] = _share(right, apart >= _FAR)
        found["accuracy of unconnected pairs"] = _share(right, apart < 0)
        return found

    def pictured(self, x: Tensor, y: Tensor, solutions: Tensor) -> Pictured:
        """Return `joined` along inference, `joined_answer` and `edge`; see `Task.pictured`."""
        place = ("pictured", "node", "other")
        joined = self._matrices(solutions.flatten(0, 1)) >= 0
        return {
            "joined": (("landscape", *place), joined.unflatten(0, solutions.shape[:2])),
            "joined_answer": (place, self._matrices(y) > 0),
            "edge": (place, self._matrices(x) > 0),
        }

    def trivial(self, x: Tensor) -> dict[str, Tensor]:
        """Return constant answers, and nodes within 1, 2 and 4 edges as joined."""
        adjacency = self._matrices(x) > 0
        apart = distances(adjacency, limit=4)
        found = {"all connected": torch.ones_like(x), "none connected": -torch.ones_like(x)}
        for limit, name in (
            (1, "edges and diagonal"),
            (2, "within 2 edges"),
            (4, "within 4 edges"),
        ):
            found[name] = signs((apart >= 0) & (apart <= limit)).flatten(1)
        return found

    def _answer(self, x: Tensor) -> Tensor:
        return signs(connected(self._matrices(x) > 0)).flatten(1).to(x.dtype)

    @staticmethod
    def _matrices(rows: Tensor) -> Tensor:
        n = node_count(rows.shape[1])
        if n is None:
            raise InputError(
                f"task connectivity got rows of {rows.shape[1]} entries; expected n² for n nodes."
            )
        matrices: Tensor = rows.unflatten(1, (n, n))
        return matrices


def _share(right: Tensor, among: Tensor) -> Measure:
    return Measure((right & among).sum((1, 2)), among.sum((1, 2)))
