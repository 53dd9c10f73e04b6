"""The energy of graph connectivity: a logic machine over nodes, pairs and triples."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ired_interp.energy.graph import GraphEnergy
from ired_interp.energy.modulated_mlp import time_features, time_mlp
from ired_interp.energy.proposal import Level, ProposingEnergy, level_of
from ired_interp.errors import InputError

_WIDTH, _EMBEDDING = 32, 512
_CHANNELS = 2 + _WIDTH  # of a pair: x, y, and the features of the landscape


class ConnectivityContext(NamedTuple):
    """What E depends on besides y: adjacency (B, n, n) and landscape features (B, 32)."""

    x: Tensor
    time: Tensor
    level: Level


class ConnectivityEnergy(GraphEnergy, ProposingEnergy):
    """E = Σ_ij o_ij², or the distance from tanh o.

    The outputs o are made of relations among one, two and three nodes.

    With z_ij = [x_ij; y_ij; τ_k], nodes see the extremes of z over their pairs, pairs see both
    directions of z, triples (i, j, l) all six z among them, of which pairs take the extremes over
    l. No triple is built: what a triple sees is a sum of a share of (i, j), one of (i, l) and one
    of (j, l), and the sigmoid is monotonic, so the extremes over l are those of a sum of two
    matrices, taken before the sigmoid. Paths of a few edges are seen in this way; each
    composition that follows (`PairComposition`) joins two that are seen into a longer one.

    Parameters
    ----------
    condition_dim, solution_dim : int
        n² of the graphs that it is trained on; it takes graphs of any n.
    landscapes : int
        K, number of landscapes.
    residual : bool
        Take the outputs as the logits of an answer, whose distance from y is the
        energy, in place of the published form; see `ProposingEnergy`.
    compositions : int
        How many follow the published network's features; 0 as published.

    Raises
    ------
    InputError
        If the sizes are no graph's, or the number of compositions is negative.

    References
    ----------
    Du, Mao, Tenenbaum, "Learning Iterative Reasoning through Energy Diffusion", ICML 2024 (arXiv
    2406.11179), whose parameter names it has. Dong et al., "Neural logic machines", ICLR 2019.

    Examples
    --------
    >>> energy = ConnectivityEnergy()
    >>> for n in (12, 18):
    ...     x, y = torch.ones(5, n * n), torch.zeros(5, n * n)
    ...     energy(x, y, 0).shape, energy.gradient(x, y, 0).shape
    (torch.Size([5]), torch.Size([5, 144]))
    (torch.Size([5]), torch.Size([5, 324]))
    """

    name = "connectivity"
    unused = r"nlm\.layers\.1\.logic\.[013]\..+"  # of arities whose outputs nothing reads

    def __init__(
        self,
        condition_dim: int = 144,
        solution_dim: int = 144,
        landscapes: int = 10,
        residual: bool = False,
        compositions: int = 0,
    ) -> None:
        super().__init__(condition_dim, solution_dim, landscapes, residual)
        if compositions < 0:
            raise InputError(
                f"ConnectivityEnergy got compositions={compositions}; it must be 0 or more."
            )
        self.time_mlp = time_mlp(_EMBEDDING, _WIDTH)
        first = {"1": 2 * _CHANNELS, "2": 2 * _CHANNELS, "3": 6 * _CHANNELS}
        layers = (first, {"2": 8 * _WIDTH})
        self.nlm = nn.ModuleDict({"layers": nn.ModuleList(_layer(inputs) for inputs in layers)})
        self.compositions = nn.ModuleList(PairComposition() for _ in range(compositions))
        self.fc_out = nn.Linear(_WIDTH, 1)

    def entries(self, n: int) -> int:
        """Return n²."""
        return n * n

    def condition(self, x: Tensor, k: Tensor) -> ConnectivityContext:
        """Give x (B, n²) as matrices, with the features of landscapes k (B,)."""
        n = round(x.shape[1] ** 0.5)
        time = time_features(self.time_mlp, k, self.landscapes, x.dtype)
        return ConnectivityContext(x.unflatten(1, (n, n)), time, level_of(self.schedule, k, x))

    def output(self, context: ConnectivityContext, y: Tensor) -> Tensor:
        """Compute outputs o (B, n²)."""
        x, time = context.x, context.time
        y = y.view_as(x)
        z = torch.stack([x, y, x.mT, y.mT], -1)  # (B, n, n, 4)
        nodes = self._nodes(x, y, time)
        pairs = torch.sigmoid(self._both_ways(self._logic(0, 2), z, time))
        triples = self._triple_extremes(z, time)
        features = self._features(nodes, torch.cat([pairs, triples], -1))
        for composition in self.compositions:
            features = composition(features, time)
        output: Tensor = self.fc_out(features)
        return output.flatten(1)

    def published(self, output: Tensor) -> Tensor:
        """Σ_ij o_ij² (B,)."""
        return output.square().sum(1)

    def answer(self, output: Tensor) -> Tensor:
        """Tanh o (B, n²)."""
        return output.tanh()

    def _logic(self, layer: int, arity: int) -> nn.Linear:
        found = self.get_submodule(f"nlm.layers.{layer}.logic.{arity}.layer.0.mlp.0")
        assert isinstance(found, nn.Linear)
        return found

    def _nodes(self, x: Tensor, y: Tensor, time: Tensor) -> Tensor:
        """Compute what nodes (B, n, 32) see of their pairs; a node is no pair with itself."""
        logic = self._logic(0, 1)
        weight = logic.weight.unflatten(1, (_CHANNELS, 2))  # maximum, minimum
        itself = torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
        high, low = (
            torch.stack([_extreme(entry.masked_fill(itself, own), largest) for entry in (x, y)], -1)
            for own, largest in ((0, True), (1, False))
        )
        seen = high @ weight[:, :2, 0].mT + low @ weight[:, :2, 1].mT
        by_time = time.clamp(min=0) @ weight[:, 2:, 0].mT + time.clamp(max=1) @ weight[:, 2:, 1].mT
        return torch.sigmoid(seen + by_time[:, None] + logic.bias)

    def _both_ways(self, logic: nn.Linear, z: Tensor, time: Tensor) -> Tensor:
        """W [z_ij; z_ji] + b (B, n, n, 32)."""
        weight = logic.weight.unflatten(1, (2, _CHANNELS))
        seen = F.linear(z, weight[:, :, :2].flatten(1))
        return seen + F.linear(time, weight[:, :, 2:].sum(1), logic.bias)[:, None, None]

    def _triple_extremes(self, z: Tensor, time: Tensor) -> Tensor:
        """Compute the extremes over l of what triples (i, j, l) see, (B, n, n, 64) interleaved."""
        logic, n = self._logic(0, 3), z.shape[1]
        weight = logic.weight.unflatten(1, (6, _CHANNELS))
        # Blocks are z_ij, z_il, z_ji, z_li, z_jl, z_lj: two to each pair of (ij, il, jl).
        order = weight[:, [0, 2, 1, 3, 4, 5]].unflatten(1, (3, 2))
        per_pair = order[..., :2].transpose(0, 1).flatten(2).flatten(0, 1)  # (96, 4)
        fixed, ahead, aside = F.linear(z, per_pair).chunk(3, dim=-1)
        fixed = fixed + F.linear(time, weight[:, :, 2:].sum(1), logic.bias)[:, None, None]
        itself = torch.eye(n, dtype=torch.bool, device=z.device)[..., None]
        extremes = []
        for largest in (True, False):
            seen = _through_third_node(ahead, aside, largest)
            # Three nodes of which two are one count as 0 for the maximum, as 1 for the minimum.
            value = torch.sigmoid(fixed + seen).masked_fill(itself, 0.0 if largest else 1.0)
            extremes.append(value if n > 2 else torch.full_like(value, 0.0 if largest else 1.0))
        return torch.stack(extremes, -1).flatten(-2)

    def _features(self, nodes: Tensor, pairs: Tensor) -> Tensor:
        """Compute features of pairs (B, n, n, 32), of nodes (B, n, 32) and pairs (B, n, n, 96)."""
        logic = self._logic(1, 2)
        weight = logic.weight.unflatten(1, (2, 4 * _WIDTH))
        of_node = F.linear(nodes, weight[:, :, :_WIDTH].transpose(0, 1).flatten(0, 1))
        of_pair = F.linear(pairs, weight[:, :, _WIDTH:].transpose(0, 1).flatten(0, 1))
        (here, there), (to, back) = of_node.chunk(2, -1), of_pair.chunk(2, -1)
        seen = here[:, :, None] + there[:, None] + to + back.transpose(1, 2)
        return torch.sigmoid(seen + logic.bias)


class PairComposition(nn.Module):
    """Relations composed: u_ij ← u_ij + W₂ silu(W₁ [u_ij; u_ji; max_l A u_il + B u_jl] + c).

    u are the features of pairs of nodes, c those of the landscape; l is any third node. It begins
    as the identity.
    """

    def __init__(self) -> None:
        super().__init__()
        self.third = nn.Linear(_WIDTH, 2 * _WIDTH, bias=False)
        self.inlet = nn.Linear(3 * _WIDTH, 2 * _WIDTH)
        self.by_time = nn.Linear(_WIDTH, 2 * _WIDTH)
        self.outlet = nn.Linear(2 * _WIDTH, _WIDTH)
        nn.init.zeros_(self.outlet.weight)
        nn.init.zeros_(self.outlet.bias)

    def forward(self, u: Tensor, time: Tensor) -> Tensor:
        """Return the next features (B, n, n, 32), with those of landscapes (B, 32)."""
        through = u
        if u.shape[1] > 2:  # else there is no third node
            ahead, aside = self.third(u).chunk(2, -1)
            through = _through_third_node(ahead, aside, largest=True)
        inner = self.inlet(torch.cat([u, u.transpose(1, 2), through], -1))
        step: Tensor = self.outlet(F.silu(inner + self.by_time(time)[:, None, None]))
        return u + step


def _layer(inputs: dict[str, int]) -> nn.ModuleDict:
    """Make a layer's linear maps, by arity, under their published names."""

    def logic(width: int) -> nn.ModuleDict:
        mlp = nn.ModuleDict({"mlp": nn.ModuleList([nn.Linear(width, _WIDTH)])})
        return nn.ModuleDict({"layer": nn.ModuleList([mlp])})

    arities = {arity: logic(width) for arity, width in inputs.items()}
    return nn.ModuleDict({"logic": nn.ModuleDict(arities)})


def _extreme(entries: Tensor, largest: bool) -> Tensor:
    """Largest or smallest entry of each row, whose gradient goes to the first of equal ones."""
    return (entries.max(2) if largest else entries.min(2)).values


def _through_third_node(ahead: Tensor, aside: Tensor, largest: bool) -> Tensor:
    """Extreme over l ∉ {i, j} of ahead_il + aside_jl, for ahead and aside (B, n, n, C)."""
    third = _third_node(ahead.detach(), aside.detach(), largest)
    return ahead.gather(2, third) + aside.gather(2, third.transpose(1, 2)).transpose(1, 2)


def _third_node(ahead: Tensor, aside: Tensor, largest: bool) -> Tensor:
    """Find l ∉ {i, j} (B, i, j, C) at which ahead_il + aside_jl is extreme; the first of equals."""
    far = -torch.inf if largest else torch.inf
    itself = torch.eye(ahead.shape[1], dtype=torch.bool, device=ahead.device)[..., None]
    ahead, aside = ahead.masked_fill(itself, far), aside.masked_fill(itself, far)
    seen = ahead[:, :, None] + aside[:, None]  # (B, i, j, l, C)
    return (seen.max(3) if largest else seen.min(3)).indices
