"""Where the minima lie, how many starts find them, and whether model or search is at fault."""

from copy import deepcopy
from typing import Any

import numpy as np
import torch
import xarray as xr
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from ired_interp.energy import Energy
from ired_interp.errors import RunError
from ired_interp.module import IREDModule
from ired_interp.probes.base import Probe, Snapshot, chosen_landscapes
from ired_interp.probes.minimisation import local_minimum
from ired_interp.probes.settings import (
    Landscapes,
    check_landscapes,
    check_seed,
    check_setting,
    few_landscapes,
)
from ired_interp.probes.spread import mean_error, ratio_of_means
from ired_interp.probes.tables import estimate_table, estimates
from ired_interp.random import stream
from ired_interp.terminal import track

_TOLERANCE = 1e-5  # of ‖∇_y E‖, in energy/y, at which a point counts as a minimum
_APART = 3  # noise units σ_0/√ᾱ_0 that separate two ends
_SOLVED = 1e-3  # of ‖y*‖, within which an answer is the right one
_MOST_BASINS = 8
_SHOWN = (
    "displacement",
    "theory_displacement",
    "displacement_in_noise",
    "converged",
    "error",
    "bias_square",
    "spread",
    "prefers_answer",
)


class Minimum(Probe):
    """Fixed points of each landscape, and what starts find: bias, spread, basins.

    A landscape's minimum should lie at √ᾱ_k times the posterior mean; `displacement` is how far the
    minimum nearest to √ᾱ_k y* lies from it. The squared error of answers from many starts is
    bias² + spread: restarts and votes can mend the spread alone. Where a wrong answer has less
    energy than the right one the model is at fault, else the search.

    Parameters
    ----------
    landscapes : "all" or list of int
        Which k.
    steps : int
        Most steps of each descent to a minimum.
    starts : int
        S, random starts of inference for every problem.
    seed : int
        Of the starts.

    Raises
    ------
    InputError
        If a setting is none of those.

    Examples
    --------
    >>> from ired_interp.tasks import ExactEnergy, Inverse
    >>> task = Inverse(2)
    >>> problems = task.sample(3, torch.Generator().manual_seed(0))
    >>> found = Minimum([4], starts=2)(Snapshot(IREDModule(ExactEnergy(task)), problems, task))
    >>> found["displacement"].values.round(4), found["ends"].values
    (array([0.]), array([1, 1, 1]))
    """

    name = "minimum"

    def __init__(
        self, landscapes: Landscapes = "all", steps: int = 200, starts: int = 32, seed: int = 0
    ) -> None:
        check_landscapes(self.name, landscapes)
        check_setting(self.name, "steps", steps, 1 <= steps <= 100_000, "expected 1 to 100000")
        check_setting(self.name, "starts", starts, 2 <= starts <= 10_000, "expected 2 to 10000")
        check_seed(self.name, seed)
        self.landscapes, self.steps, self.starts, self.seed = landscapes, steps, starts, seed

    def check(self, module: IREDModule) -> None:
        """Refuse landscapes that the model has not; see `Probe.check`."""
        chosen_landscapes(module, self.landscapes)

    def small(self) -> "Minimum":
        """At most two landscapes, two starts, few steps; see `Probe.small`."""
        landscapes = few_landscapes(self.landscapes)
        return self.with_settings(landscapes=landscapes, starts=2, steps=min(self.steps, 3))

    def __call__(self, snapshot: Snapshot) -> xr.Dataset:
        """Measure.

        Parameters
        ----------
        snapshot : Snapshot
            Model and problems.

        Returns
        -------
        xarray.Dataset
            As follows; d entries of y are free, ŷ_s is the answer of start s, as of each landscape.
            Means over problems also as `…_error`, and (but theory) of each as `…_by_problem`.

            ========================= ================== ===========================================
            variable                  dims               meaning
            ========================= ================== ===========================================
            `displacement`            landscape          ‖y_∞/√ᾱ − y*‖/‖y*‖, y_∞ the minimum to
                                                         which landscape k leads down from √ᾱ y*;
                                                         mean above over mean below
            `answer_norm`             problem            ‖y*‖
            `displacement_in_noise`   landscape          ‖y_∞ − √ᾱ y*‖/σ
            `displacement_chance`                        1, of a minimum at 0
            `theory_displacement`,    landscape          of a perfect model, where known: 0 where x
            `theory_…_in_noise`                          fixes y
            `converged`               landscape          share of descents that came to ‖g‖ < 1e-5
            `error`                   landscape          mean over starts of ‖ŷ_s − y*‖²/d
            `bias_square`, `spread`   landscape          its parts: of the mean answer, unbiased,
                                                         and of the starts about it
            `error_chance`                               of the best answer that takes no learning:
                                                         the task's trivial ones, or the mean of y*
            `spread_chance`                              variance of y* over problems
            `nearest_error`           landscape          as `error`, from the nearest right answer
            `prefers_answer`          landscape          share with E(√ᾱ ŷ) < E(√ᾱ y*), of the
                                                         problems not solved; NaN if all are
            `ends`                    problem            groups of final answers more than 3σ_0/√ᾱ_0
                                                         apart
            `several_ends`                               share of problems with more than one
            `basin_share`             basin              share of starts that end in the largest
                                                         group, the next …, mean over problems
            ========================= ================== ===========================================

        Raises
        ------
        InputError
            If the model has not all landscapes.
        RunError
            If an answer is not finite.
        """
        landscapes = chosen_landscapes(snapshot.module, self.landscapes)
        variables = self._minima(snapshot, landscapes)
        variables |= self._starts(snapshot, landscapes)
        coordinates = {"landscape": landscapes, "basin": np.arange(1, _MOST_BASINS + 1)}
        return xr.Dataset(variables, coordinates)

    def _minima(self, snapshot: Snapshot, landscapes: list[int]) -> dict[str, Any]:
        energies = {"": snapshot.module.free(deepcopy(snapshot.module.energy).double())}
        if (exact := snapshot.exact_energy()) is not None:
            energies["theory_"] = exact
        variables: dict[str, Any] = {}
        size = snapshot.batch.y.double().norm(dim=1).cpu().numpy()
        shape = (len(landscapes), len(size))
        for prefix, energy in energies.items():
            every = [self._minimum(energy, snapshot, k) for k in track(landscapes, "minima")]
            found = {name: np.stack([one[name] for one in every]) for name in every[0]}
            if prefix:
                del found["converged"]
            for name, values in found.items():
                variables |= _mean(prefix + name, values, {"units": "1"}, not prefix)
            # Not the mean of ratios, which problems with small answers dominate.
            ratio = ratio_of_means(found["displacement"] * size, np.broadcast_to(size, shape))
            for name, values in zip(("displacement", "displacement_error"), ratio, strict=True):
                variables[prefix + name] = ("landscape", values, {"units": "1"})
        variables["answer_norm"] = ("problem", size, {"units": "y"})
        return variables | {"displacement_chance": 1.0}

    def _minimum(self, energy: Energy, snapshot: Snapshot, k: int) -> dict[str, np.ndarray]:
        schedule, (x, y) = snapshot.module.schedule, snapshot.batch
        signal, noise, step = (
            float(s[k]) for s in (schedule.signal, schedule.noise, schedule.step)
        )
        x, y = x.double(), y.double()
        found = local_minimum(energy, x, signal * y, k, step, noise / 2, self.steps, _TOLERANCE)
        fixed = snapshot.module.fixed(x)
        moved = found.y - signal * y
        moved = (moved if fixed is None else moved.masked_fill(fixed.mask, 0.0)).norm(dim=1)
        values = {
            "displacement": moved / signal / y.norm(dim=1),
            "displacement_in_noise": moved / noise,
            "converged": (found.gradient_norm < _TOLERANCE).double(),
        }
        return {name: value.cpu().numpy() for name, value in values.items()}

    @torch.no_grad()
    def _starts(self, snapshot: Snapshot, landscapes: list[int]) -> dict[str, Any]:
        module, task, (x, y) = snapshot.module, snapshot.task, snapshot.batch
        order = [module.landscapes - 1 - k for k in landscapes]  # of the trajectory
        ends, nearest = [], []
        total = square = torch.zeros(())
        for s in track(list(range(self.starts)), "starts"):
            draw = stream(y.device, self.seed, "start", s)
            start = torch.randn(y.shape, generator=draw, device=y.device, dtype=y.dtype)
            trajectory = module.solve(x, preset=module.inference, start=start).trajectory
            if not trajectory.isfinite().all():
                raise RunError(
                    "inference ends in answers that are not finite; the weights have diverged."
                )
            away = (trajectory[order] - y).double()
            total, square = total + away, square + away.square().sum(2)
            ends.append(trajectory[-1])
            if task is not None:
                right = torch.stack([task.nearest_answer(x, y, t) for t in trajectory[order]])
                nearest.append((trajectory[order] - right).double().square().sum(2))
        fixed = module.fixed(x)
        entries = y.shape[1] if fixed is None else (~fixed.mask).sum(1)
        mean = (total / self.starts).square().sum(2)
        spread = (square / self.starts - mean) * self.starts / (self.starts - 1)
        found = {
            "error": square / self.starts,
            "bias_square": mean - spread / self.starts,
            "spread": spread,
        }
        if nearest:
            found["nearest_error"] = torch.stack(nearest).mean(0)
        unit = {"units": "y² per entry"}
        variables: dict[str, Any] = {}
        for name, values in found.items():
            variables |= _mean(name, (values / entries).cpu().numpy(), unit, True)
        variables |= self._without_learning(snapshot, entries)
        variables |= self._preference(snapshot, ends[0], landscapes)
        return variables | self._basins(module, torch.stack(ends, 1))

    @staticmethod
    def _without_learning(snapshot: Snapshot, entries: int | Tensor) -> dict[str, Any]:
        """Error of the best answer that takes no learning, and spread of unrelated answers."""
        (x, y), task, fixed = snapshot.batch, snapshot.task, snapshot.module.fixed(snapshot.batch.x)
        answers = {"mean": y.mean(0)} | (task.trivial(x) if task else {})

        def squared(away: Tensor) -> float:
            free = away if fixed is None else away.masked_fill(fixed.mask, 0.0)
            return float((free.double().square().sum(1) / entries).mean())

        spread = squared(y - y.mean(0)) * len(y) / max(len(y) - 1, 1)
        unit = {"units": "y² per entry"}
        return {
            "error_chance": ((), min(squared(y - answer) for answer in answers.values()), unit),
            "spread_chance": ((), spread, unit),
        }

    @staticmethod
    def _preference(snapshot: Snapshot, answer: Tensor, landscapes: list[int]) -> dict[str, Any]:
        """Whether the energy of the first start's answers lies below that of the right ones."""
        module, (x, y) = snapshot.module, snapshot.batch
        wrong = (answer - y).norm(dim=1) > _SOLVED * y.norm(dim=1)
        energy = module.free()
        lower = [
            energy(x, s * answer, k) < energy(x, s * y, k)
            for k, s in zip(landscapes, module.schedule.signal[landscapes], strict=True)
        ]
        shares = torch.stack(lower)[:, wrong].double().cpu().numpy()
        if not shares.size:
            none = np.full(len(landscapes), np.nan)
            return dict.fromkeys(("prefers_answer", "prefers_answer_error"), ("landscape", none))
        return _mean("prefers_answer", shares, {"units": "1"})

    @staticmethod
    def _basins(module: IREDModule, ends: Tensor) -> dict[str, Any]:
        """Group final answers (B, S, d_y) that lie near one another."""
        limit = _APART * float(module.schedule.noise_to_signal[0])
        near = (torch.cdist(ends.double(), ends.double()) <= limit).cpu().numpy()
        sizes = np.zeros((len(near), _MOST_BASINS))
        counts = []
        for i, graph in enumerate(near):
            count, labels = connected_components(graph, directed=False)
            largest = np.sort(np.bincount(labels))[::-1][:_MOST_BASINS] / len(labels)
            sizes[i, : len(largest)] = largest
            counts.append(count)
        several = (np.array(counts) > 1).astype(float)
        return {
            "ends": ("problem", np.array(counts), {"units": "1"}),
            "several_ends": ((), several.mean(), {"units": "1"}),
            "several_ends_error": ((), mean_error(several), {"units": "1"}),
            "basin_share": ("basin", sizes.mean(0), {"units": "1"}),
            "basin_share_error": ("basin", mean_error(sizes.T), {"units": "1"}),
        }

    def summary(self, result: xr.Dataset) -> str:
        """One row a landscape; see `Probe.summary`."""
        problems, share = result.sizes["problem"], float(result["several_ends"])
        title = (
            f"Minima and answers of {self.starts} starts, {problems} problems; ± standard error; "
            f"{share:.0%} of the problems have several ends"
        )
        return estimate_table(title, result["landscape"].values, estimates(result, _SHOWN))


def _mean(
    name: str, values: np.ndarray, unit: dict[str, str], each: bool = False
) -> dict[str, Any]:
    """Label a mean over problems (landscapes, B), and maybe what it is the mean of."""
    mean = {
        name: ("landscape", values.mean(1), unit),
        f"{name}_error": ("landscape", mean_error(values), unit),
    }
    own = {f"{name}_by_problem": (("landscape", "problem"), values, unit)}
    return mean | own if each else mean
