"""Random graphs of near neighbours, and distances in them."""

import torch
from torch import Tensor

from ired_interp.errors import InputError


def largest_degree(n: int, p: float) -> int:
    """Return the largest out-degree of n nodes: ⌊p n⌋, but at least 1 and at most n − 1."""
    return min(max(1, int(p * n + 1e-9)), n - 1)


def check_graph(task: str, n: int, p: float) -> None:
    """Refuse graphs that cannot be.

    Parameters
    ----------
    task : str
        Whose they are.
    n, p : int, float
        Nodes, and the share of them that is the largest out-degree.

    Raises
    ------
    InputError
        Unless n is at least 2 and p within (0, 1].
    """
    if n < 2:
        raise InputError(f"task {task} got n={n}; a graph needs at least 2 nodes.")
    if not 0 < p <= 1:
        raise InputError(f"task {task} got p={p}; expected a share of the nodes, above 0 up to 1.")


def neighbour_graphs(count: int, n: int, degree: int, generator: torch.Generator) -> Tensor:
    """Draw directed graphs: points in the unit square, each joined to so many nearest others.

    Parameters
    ----------
    count : int
        How many, B.
    n : int
        Nodes.
    degree : int
        Each node's out-degree is uniform on 1 … degree.
    generator : torch.Generator
        Of points and degrees; the graphs lie on its device.

    Returns
    -------
    Tensor (B, n, n)
        bool, true where an edge leads from the row's node to the column's.
    """
    device = generator.device
    points = torch.rand(count, n, 2, generator=generator, device=device)
    degrees = torch.randint(1, degree + 1, (count, n, 1), generator=generator, device=device)
    apart = (points[:, :, None] - points[:, None]).square().sum(-1)
    apart.diagonal(dim1=1, dim2=2).fill_(torch.inf)
    order = apart.argsort(2).argsort(2)
    return order < degrees


def distances(adjacency: Tensor, limit: int | None = None) -> Tensor:
    """Count the edges of shortest paths.

    Parameters
    ----------
    adjacency : Tensor (B, n, n)
        bool.
    limit : int, optional
        Longer ones need not be told from none.

    Returns
    -------
    Tensor (B, n, n)
        int, 0 on the diagonal and −1 where no path leads, or none within the limit.
    """
    n = adjacency.shape[1]
    edges = adjacency.float()
    reached = torch.eye(n, dtype=torch.bool, device=adjacency.device).expand_as(adjacency)
    found = torch.where(reached, 0, -1)
    for length in range(1, (limit or n - 1) + 1):
        further = (reached.float() @ edges > 0) & (found < 0)
        found = torch.where(further, length, found)
        reached = further
    return found


def connected(adjacency: Tensor) -> Tensor:
    """Tell which pairs (B, n, n) a path joins, each node and itself among them."""
    n = adjacency.shape[1]
    reached = adjacency | torch.eye(n, dtype=torch.bool, device=adjacency.device)
    for _ in range((n - 1).bit_length()):
        step = reached.float()
        reached = step @ step > 0
    return reached


def signs(truth: Tensor) -> Tensor:
    """Code true as +1 and false as −1, in float32."""
    return 2 * truth.float() - 1
