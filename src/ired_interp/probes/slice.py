"""Slices through the landscapes: energy along and across directions of a family."""

from copy import deepcopy

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ired_interp.energy import Energy
from ired_interp.module import IREDModule
from ired_interp.probes.base import Point, Probe, Snapshot, chosen_landscapes, measuring_point
from ired_interp.probes.planes import RANDOM, directions, families, frames
from ired_interp.probes.rank_manifold import check_rank, known_rank
from ired_interp.probes.settings import (
    Landscapes,
    check_choice,
    check_landscapes,
    check_rank_setting,
    check_seed,
    check_setting,
    few_landscapes,
)
from ired_interp.probes.slice_curves import (
    ALONG,
    BOTTOM,
    GRADIENT,
    TOP,
    bend,
    check_on_manifold,
    nearest,
    own_directions,
    turn,
)
from ired_interp.probes.slice_variables import slice_variables
from ired_interp.probes.tables import Column, estimate_table
from ired_interp.random import stream
from ired_interp.terminal import track


class Slice(Probe):
    """Energy along y(a, b) = y₀ + σ_k(a d₁ + b d₂) in units of σ_k.

    a and b count standard deviations of the noise, and E/σ_k nats: a perfect model with one answer
    has the paraboloid (a² + b²)/2 + a⟨g, d₁⟩ + b⟨g, d₂⟩ in every landscape and every direction.

    Parameters
    ----------
    landscapes : "all" or list of int
        Which k.
    point : str
        y₀: the scaled true "answer", the "noised" one, the "solution" that inference finds, or the
        end of each landscape of its "trajectory".
    rank : int, optional
        r of the answers as matrices, for the families of the rank-r manifold; taken from the task
        where its answers have an exact rank below full.
    retract : bool
        Whether directions along the rank-r manifold are followed to the nearest matrices of rank r,
        from the "answer", instead of straight on.
    hessian : bool
        Whether to look along eigenvectors of the Hessian, too, which takes a dense one for each
        problem and landscape.
    draws : int
        Directions of each family, per problem.
    reach : float
        Largest |a| and |b|.
    grid : int
        Points along either axis, odd; pictures are of the first problem.
    seed : int
        Of the point's noise and of the directions.

    Raises
    ------
    InputError
        If a setting is none of those.

    References
    ----------
    Li et al., "Visualizing the loss landscape of neural nets", NeurIPS 2018, here in y.

    Examples
    --------
    >>> from ired_interp.tasks import ExactEnergy, Inverse
    >>> task = Inverse(2)
    >>> problems = task.sample(2, torch.Generator().manual_seed(0))
    >>> found = Slice([5], grid=3)(Snapshot(IREDModule(ExactEnergy(task)), problems, task))
    >>> found["slice"].sel(landscape=5, family="random").values.round(4)
    array([[9. , 4.5, 9. ],
           [4.5, 0. , 4.5],
           [9. , 4.5, 9. ]])
    """

    name = "slice"

    def __init__(
        self,
        landscapes: Landscapes = "all",
        point: Point = "answer",
        rank: int | None = None,
        retract: bool = False,
        hessian: bool = True,
        draws: int = 2,
        reach: float = 3.0,
        grid: int = 21,
        seed: int = 0,
    ) -> None:
        check_landscapes(self.name, landscapes)
        check_choice(self.name, "point", point, Point)
        check_rank_setting(self.name, rank)
        fits = not retract or point == "answer"
        check_setting(self.name, "retract", retract, fits, "expected point: answer with it")
        check_setting(self.name, "draws", draws, 1 <= draws <= 10_000, "expected 1 to 10000")
        check_setting(self.name, "reach", reach, 0 < reach < 1e6, "expected a positive number")
        odd = 3 <= grid <= 501 and grid % 2 == 1
        check_setting(self.name, "grid", grid, odd, "expected an odd number from 3 to 501")
        check_seed(self.name, seed)
        self.landscapes, self.point, self.rank = landscapes, point, rank
        self.retract, self.hessian = retract, hessian
        self.draws, self.reach, self.grid, self.seed = draws, reach, grid, seed

    def check(self, module: IREDModule) -> None:
        """Refuse landscapes or a rank that the model cannot have; see `Probe.check`."""
        chosen_landscapes(module, self.landscapes)
        if self.rank is not None:
            check_rank(self.rank, module.solution_dim)

    def small(self) -> "Slice":
        """At most two landscapes, small pictures; see `Probe.small`."""
        return self.with_settings(landscapes=few_landscapes(self.landscapes), draws=1, grid=3)

    def __call__(self, snapshot: Snapshot) -> xr.Dataset:
        """Measure.

        Parameters
        ----------
        snapshot : Snapshot
            Model and problems.

        Returns
        -------
        xarray.Dataset
            As follows, in float64. Families are those of `planes.frames`, `gradient` of the one
            direction −g, and `hessian_top` and `hessian_bottom`, eigenvectors of the model's H;
            `…_error` is a standard error over problems.

            ================== ========================= ===========================================
            variable           dims                      meaning
            ================== ========================= ===========================================
            `line`, `…_error`  landscape, family, a      mean rise [E(y₀ + σ a d) − E(y₀)]/σ
            `slice`            landscape, family, a, b   the same of the first problem, along two
                                                         orthogonal directions of the family; NaN
                                                         where it has but one
            `curvature`,       landscape, family         σ dᵀHd, by one Hessian-vector product; on
            `…_error`                                    curved ways + 2σ⟨∇E, U_pΣ⁻¹V_pᵀ⟩
            `curvature_fit`    landscape, family         the same, from the lines by least squares
            `anharmonicity`,   landscape, family         RMS of rise − a⟨g, d⟩ − a²σ dᵀHd/2 over the
            `…_error`                                    lines of a problem, of the RMS rise; mean
                                                         above over mean below
            `theory_…`         as without                of a perfect model, where it is known
            ================== ========================= ===========================================

        Raises
        ------
        InputError
            If the model has not all landscapes, or the answers not the rank.
        RunError
            If an energy is not finite.
        """
        self.check(snapshot.module)
        landscapes = chosen_landscapes(snapshot.module, self.landscapes)
        every, y = frames(snapshot, self.rank), snapshot.batch.y
        rank = known_rank(snapshot.task, self.rank) if self.retract else None
        if self.retract:
            check_on_manifold(y, rank)
        free = families(every)[RANDOM][1] if self.hessian else None
        drawn = directions(every, y.shape, self.draws, stream(y.device, self.seed, "slice"))
        first = [frame.of(slice(0, 1)) for frame in every]
        second = directions(first, y[:1].shape, 1, stream(y.device, self.seed, "slice", "second"))
        energies = {"": snapshot.module.free(deepcopy(snapshot.module.energy).double())}
        if (exact := snapshot.exact_energy()) is not None:
            energies["theory_"] = exact
        found: dict[str, list[np.ndarray]] = {}
        for k in track(landscapes, "slices"):
            at = measuring_point(snapshot, k, self.point, self.seed).double()
            at = at if rank is None else nearest(at, rank)
            own = own_directions(energies[""], snapshot.batch.x.double(), at, k, free)
            away = drawn | {name: units[:1] for name, units in own.items()}
            other = second | {name: units[1:, :1] for name, units in own.items() if len(units) > 1}
            for prefix, energy in energies.items():
                measured = self._lines(energy, snapshot, at, away, k, rank)
                measured["slice"] = self._pictures(energy, snapshot, at, away, other, k, rank)
                for name, values in measured.items():
                    found.setdefault(prefix + name, []).append(values)
        names = [*families(every), GRADIENT, *((TOP, BOTTOM) if self.hessian else ())]
        a = self._axis().numpy()
        variables = slice_variables({n: np.stack(v) for n, v in found.items()}, a)
        return xr.Dataset(variables, {"landscape": landscapes, "family": names, "a": a, "b": a})

    def _axis(self) -> Tensor:
        return torch.linspace(-self.reach, self.reach, self.grid, dtype=torch.float64)

    @torch.no_grad()
    def _lines(
        self,
        energy: Energy,
        snapshot: Snapshot,
        at: Tensor,
        away: dict[str, Tensor],
        k: int,
        rank: int | None,
    ) -> dict[str, np.ndarray]:
        """Rises (families, C, B, a) in nats, and their slopes and bends (families, C, B)."""
        noise = float(snapshot.module.schedule.noise[k])
        x, a = snapshot.batch.x.double(), self._axis().to(at.device)
        context = energy.condition(x, torch.full((len(x),), k, device=x.device))
        base, slope = energy.evaluate_with_gradient(context, at)
        lines, bends, slopes = [], [], []
        for name, units in away.items():
            points = at + noise * a[:, None, None, None] * units  # (a, C, B, d)
            if rank is not None and name in ALONG:
                points = nearest(points, rank)
            values = torch.vmap(lambda y: energy.evaluate(context, y))(points.flatten(0, 1))
            lines.append(((values - base) / noise).unflatten(0, (len(a), -1)))
            bends.append(noise * torch.stack([bend(energy, context, at, u) for u in units]))
            if rank is not None and name in ALONG:
                bends[-1] += noise * torch.stack([turn(slope, at, u, rank) for u in units])
            slopes.append((units * slope).sum(2))
            if len(units) == 1:  # one direction stands for all draws
                repeat = self.draws
                lines[-1] = lines[-1].expand(-1, repeat, -1)
                bends[-1], slopes[-1] = bends[-1].expand(repeat, -1), slopes[-1].expand(repeat, -1)
        rise, bent, steep = (torch.stack(p).cpu().numpy() for p in (lines, bends, slopes))
        return {"rise": np.moveaxis(rise, 1, -1), "bend": bent, "steep": steep}

    @torch.no_grad()
    def _pictures(
        self,
        energy: Energy,
        snapshot: Snapshot,
        at: Tensor,
        away: dict[str, Tensor],
        second: dict[str, Tensor],
        k: int,
        rank: int | None,
    ) -> np.ndarray:
        """Rises (families, a, b) of the first problem, in nats."""
        noise, axis = float(snapshot.module.schedule.noise[k]), self._axis().to(at.device)
        x, y = snapshot.batch.x[:1].double(), at[:1]
        context = energy.condition(x, torch.full((1,), k, device=x.device))
        base = energy.evaluate(context, y)
        found = []
        for name, units in away.items():
            one = units[0, 0]
            two = second.get(name, second[RANDOM])[0, 0]
            two = two - (two @ one) * one
            size = two.norm()
            if not size > 1e-6:  # a family of one dimension
                found.append(torch.full((len(axis), len(axis)), torch.nan, dtype=torch.float64))
                continue
            moves = axis[:, None, None] * one + axis[None, :, None] * (two / size)
            points = y + noise * moves[:, :, None]
            if rank is not None and name in ALONG:
                points = nearest(points, rank)
            values = torch.vmap(torch.vmap(lambda z: energy.evaluate(context, z)))(points)
            found.append(((values - base)[..., 0] / noise).cpu())
        return torch.stack(found).numpy()

    def summary(self, result: xr.Dataset) -> str:
        """One row a landscape, for curvature and anharmonicity; see `Probe.summary`."""
        table = ""
        for name, title in (("curvature", "σ dᵀHd"), ("anharmonicity", "anharmonicity")):
            columns: dict[str, Column] = {
                str(family): (
                    result[name].sel(family=family),
                    result[f"{name}_error"].sel(family=family),
                )
                for family in result["family"].values
            }
            title = f"{title} at the {self.point} point by family of directions; ± standard error"
            table += estimate_table(title, result["landscape"].values, columns)
        return table
