"""Energy along curves between answers, and the barriers on them."""

from copy import deepcopy
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ired_interp.energy import Energy
from ired_interp.errors import InputError, RunError
from ired_interp.module import IREDModule
from ired_interp.probes.base import Probe, Snapshot, chosen_landscapes
from ired_interp.probes.curves import elastic_band, of_fixed_rank, straight
from ired_interp.probes.pairs import partners, summed_by_pair
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
from ired_interp.probes.spread import ratio_of_means
from ired_interp.probes.tables import Column, estimate_table
from ired_interp.random import stream
from ired_interp.tasks import FinitePosterior
from ired_interp.terminal import track

Between = Literal["found", "starts", "answers", "problems"]
_APART = 3  # noise units σ_k/√ᾱ_k, below which two ends are one point
_NATS = {"units": "nats", "long_name": "rise of E/σ over its value at the start"}


class Path(Probe):
    """Barriers between two points of every landscape, along three curves.

    Ends Y_A and Y_B are scaled by √ᾱ_k. `straight` joins them by a segment; `rank`, where both are
    answers of a known rank, through matrices of that rank; `band` along a path of least energy,
    from which the segment was relaxed. Ends less than 3σ_k/√ᾱ_k apart count as one point.

    Parameters
    ----------
    landscapes : "all" or list of int
        Which k.
    between : str
        "found": the right answer and the one that inference finds; "starts": what inference finds
        from two starts; "answers": two right answers of a problem that has several; "problems":
        the right answers of two problems, in the landscape of the first.
    rank : int, optional
        r of the answers as matrices; taken from the task where it is known and below full.
    intervals : int
        Of the curves, even; the band has half as many.
    bands : int
        Problems for which a band is relaxed.
    band_steps : int
        Steps of its relaxation.
    seed : int
        Of the starts.

    Raises
    ------
    InputError
        If a setting is none of those.

    Examples
    --------
    >>> from ired_interp.tasks import ExactEnergy, TwoAnswers
    >>> task = TwoAnswers(8)
    >>> problems = task.sample(2, torch.Generator().manual_seed(0))
    >>> snapshot = Snapshot(IREDModule(ExactEnergy(task)), problems, task)
    >>> found = Path([2], between="answers")(snapshot)
    >>> found["barrier"].sel(landscape=2).values.round(3)  # straight, band
    array([7.475, 7.475])
    """

    name = "path"

    def __init__(
        self,
        landscapes: Landscapes = "all",
        between: Between = "found",
        rank: int | None = None,
        intervals: int = 32,
        bands: int = 4,
        band_steps: int = 60,
        seed: int = 0,
    ) -> None:
        check_landscapes(self.name, landscapes)
        check_choice(self.name, "between", between, Between)
        check_rank_setting(self.name, rank)
        even = 4 <= intervals <= 10_000 and intervals % 2 == 0
        check_setting(self.name, "intervals", intervals, even, "expected an even number from 4 on")
        check_setting(self.name, "bands", bands, 1 <= bands <= 10_000, "expected 1 to 10000")
        check_setting(
            self.name, "band_steps", band_steps, 0 <= band_steps <= 100_000, "0 to 100000"
        )
        check_seed(self.name, seed)
        self.landscapes, self.between, self.rank = landscapes, between, rank
        self.intervals, self.bands, self.band_steps = intervals, bands, band_steps
        self.seed = seed

    def check(self, module: IREDModule) -> None:
        """Refuse landscapes or a rank that the model cannot have; see `Probe.check`."""
        chosen_landscapes(module, self.landscapes)
        if self.rank is not None:
            check_rank(self.rank, module.solution_dim)

    def small(self) -> "Path":
        """At most two landscapes, one short band; see `Probe.small`."""
        landscapes = few_landscapes(self.landscapes)
        return self.with_settings(
            landscapes=landscapes, bands=1, band_steps=min(self.band_steps, 2)
        )

    def __call__(self, snapshot: Snapshot) -> xr.Dataset:
        """Measure.

        Parameters
        ----------
        snapshot : Snapshot
            Model and problems.

        Returns
        -------
        xarray.Dataset
            As follows, over the curves; `…_error` is a standard error over problems, NaN stands
            where the ends are one point, and `band` is of the first problems alone.

            ==================== ==================== ==============================================
            variable             dims                 meaning
            ==================== ==================== ==============================================
            `distance`           landscape, problem   √ᾱ‖Y_B − Y_A‖/σ
            `apart`              landscape            share of problems in which it is above 3
            `energy`             landscape, problem,  [E(√ᾱ Y(t)) − E(√ᾱ Y_A)]/σ
                                 curve, t
            `barrier`, `…_error` landscape, curve     max E − the higher end, in σ
            `barrier_linear`,    landscape, curve     max of E − (1 − t)E(0) − tE(1), in σ
            `…_error`
            `spared`, `…_error`  landscape            straight minus band barrier, of the same
                                                      problems
            `grid_error`         landscape, curve     change of `barrier` with half the points
            `theory_energy`,     as without           of a perfect model, where it is known, along
            `theory_barrier`, …                       its own band
            ==================== ==================== ==============================================

        Raises
        ------
        InputError
            If the model has not all landscapes, or a problem has not two answers.
        RunError
            If an energy is not finite.
        """
        self.check(snapshot.module)
        landscapes = chosen_landscapes(snapshot.module, self.landscapes)
        a, b = (end.double() for end in self._ends(snapshot))
        rank = known_rank(snapshot.task, self.rank) if self.between == "problems" else None
        energies = {"": snapshot.module.free(deepcopy(snapshot.module.energy).double())}
        if (exact := snapshot.exact_energy()) is not None:
            energies["theory_"] = exact
        found: dict[str, list[np.ndarray]] = {}
        for k in track(landscapes, "paths"):
            for prefix, energy in energies.items():
                values = self._along(energy, snapshot, a, b, rank, k)
                found.setdefault(prefix, []).append(values.cpu().numpy())
        schedule = snapshot.module.schedule
        units = schedule.noise_to_signal.double().cpu().numpy()[landscapes]
        distance = (b - a).norm(dim=1).cpu().numpy() / units[:, None]
        curves = ["straight", *(["rank"] if rank is not None else []), "band"]
        coordinates = {
            "landscape": landscapes,
            "curve": curves,
            "t": np.linspace(0, 1, self.intervals + 1),
        }
        apart = distance >= _APART
        unit = {"units": "1"}
        variables: dict[str, Any] = {
            "distance": (("landscape", "problem"), distance, unit),
            "apart": ("landscape", apart.mean(1), unit),
        }
        for prefix, every in found.items():
            variables |= _barriers(prefix, np.stack(every), apart, self.between == "problems")
        return xr.Dataset(variables, coordinates)

    def _ends(self, snapshot: Snapshot) -> tuple[Tensor, Tensor]:
        module, (x, y) = snapshot.module, snapshot.batch

        def found(start: int) -> Tensor:
            draw = stream(y.device, self.seed, "start", start)
            noise = torch.randn(y.shape, generator=draw, device=y.device, dtype=y.dtype)
            return module.solve(x, preset=module.inference, start=noise).trajectory[-1]

        if self.between == "found":
            return y, found(0)
        if self.between == "starts":
            return found(0), found(1)
        if self.between == "problems":
            return y, y[partners(len(y), y.device)]
        posterior = snapshot.task.posterior(x) if snapshot.task else None
        if not isinstance(posterior, FinitePosterior) or posterior.answers.shape[1] < 2:
            name = "without a task" if snapshot.task is None else f"of task {snapshot.task.name}"
            raise InputError(
                f"{self.name} between answers needs problems with several known ones, but those "
                f"{name} have not; choose between: found, starts or problems."
            )
        return posterior.answers[:, 0], posterior.answers[:, 1]

    @torch.no_grad()
    def _along(
        self, energy: Energy, snapshot: Snapshot, a: Tensor, b: Tensor, rank: int | None, k: int
    ) -> Tensor:
        """Rises (B, curves, t) in nats.

        Raises
        ------
        RunError
            If an energy is not finite.
        """
        schedule = snapshot.module.schedule
        signal, noise = float(schedule.signal[k]), float(schedule.noise[k])
        x = snapshot.batch.x.double()
        times = torch.linspace(0, 1, self.intervals + 1, dtype=torch.float64, device=a.device)
        context = energy.condition(x, torch.full((len(x),), k, device=x.device))
        curves = [signal * straight(a, b, times)]
        if rank is not None:
            curves.append(signal * of_fixed_rank(a, b, rank, times))
        rises = [self._rise(energy, context, curve, noise) for curve in curves]
        few = slice(0, self.bands)
        part = energy.condition(x[few], torch.full((len(x[few]),), k, device=x.device))
        images = elastic_band(
            energy, part, curves[0][::2, few], noise / 2, noise / 2, self.band_steps
        )
        band = torch.full_like(rises[0], torch.nan)
        band[:, few] = self._rise(energy, part, _refined(images), noise)
        rises.append(band)
        if not torch.stack(rises[:-1]).isfinite().all():
            raise RunError(
                f"the energy of landscape {k} is not finite between the ends; the weights have "
                "diverged."
            )
        return torch.stack(rises, 1).permute(2, 1, 0)

    @staticmethod
    def _rise(energy: Energy, context: Any, curve: Tensor, noise: float) -> Tensor:
        """[E(y(t)) − E(y(0))]/σ (T, B)."""
        values = torch.vmap(lambda y: energy.evaluate(context, y))(curve)
        return (values - values[0]) / noise

    def summary(self, result: xr.Dataset) -> str:
        """One row a landscape; see `Probe.summary`."""
        columns: dict[str, Column] = {"apart": (result["apart"], None)}
        for curve in result["curve"].values:
            part = result.sel(curve=curve)
            columns[f"barrier, {curve}"] = (part["barrier"], part["barrier_error"])
            if "theory_barrier" in part:
                columns[f"theory, {curve}"] = (part["theory_barrier"], None)
        columns["spared by the band"] = (result["spared"], result["spared_error"])
        title = f"Barriers in nats between {self.between}, {result.sizes['problem']} problems"
        return estimate_table(f"{title}; ± standard error", result["landscape"].values, columns)


def _refined(images: Tensor) -> Tensor:
    """Put the middle between every two images (T, …)."""
    middles = (images[1:] + images[:-1]) / 2
    return torch.cat([torch.stack([images[:-1], middles], 1).flatten(0, 1), images[-1:]])


def _barriers(prefix: str, rise: np.ndarray, apart: np.ndarray, paired: bool) -> dict[str, Any]:
    """Label rises (landscapes, B, curves, t), and barriers of the problems whose ends are apart."""
    t = np.linspace(0, 1, rise.shape[-1])
    highest = rise.max(-1) - np.maximum(rise[..., -1], 0)
    coarse = rise[..., ::2].max(-1) - np.maximum(rise[..., -1], 0)
    values = {
        "barrier": highest,
        "barrier_linear": (rise - t * rise[..., -1:]).max(-1),
        "grid_error": np.abs(highest - coarse),
    }
    values["spared"] = highest[..., :1] - highest[..., -1:]
    variables: dict[str, Any] = {
        prefix + "energy": (("landscape", "problem", "curve", "t"), rise, _NATS)
    }
    for name, every in values.items():
        told = np.moveaxis(apart[..., None] & np.isfinite(every), 1, -1)  # (landscapes, curves, B)
        both = np.stack([np.where(told, np.moveaxis(every, 1, -1), 0.0), told])
        mean, error = ratio_of_means(*(summed_by_pair(both) if paired else both))
        parts = (
            {name: mean} if prefix or name == "grid_error" else {name: mean, f"{name}_error": error}
        )
        for label, part in parts.items():
            own = ("landscape",) if name == "spared" else ("landscape", "curve")
            part = part[:, 0] if name == "spared" else part
            variables[prefix + label] = (own, part, {"units": "nats"})
    return variables
