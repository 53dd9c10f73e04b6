"""The spectrum of the Hessian of any loss in its weights."""

from collections.abc import Mapping
from typing import Literal

import xarray as xr
from torch import Tensor

from ired_interp.errors import RunError
from ired_interp.probes.last_update import last_update
from ired_interp.probes.loss_probe import LossProbe, LossSnapshot
from ired_interp.probes.settings import check_choice, working_memory
from ired_interp.probes.spectrum_settings import (
    Layers,
    Which,
    check_room,
    check_spectrum,
    check_tol,
)
from ired_interp.probes.theta_layers import measure_layers
from ired_interp.probes.theta_spectrum import measure_operator
from ired_interp.spectra import HessianOperator
from ired_interp.spectra.parameters import vector_dtype


class LossSpectrum(LossProbe):
    """Outer eigenvalues, density and trace of the Hessian of a loss, a mean over the batches.

    Parameters
    ----------
    eigenpairs, which, tol, density_probes, density_steps, trace_matvecs, layers, memory_gib, seed
        As in `HessianSpectrumTheta`.

    Raises
    ------
    InputError
        If a setting is none of those.
    """

    label = "hessian_spectrum_loss"
    backend: Literal["lanczos", "pyhessian"] = "lanczos"

    def __init__(
        self,
        eigenpairs: int = 10,
        which: Which = "LA",
        tol: float = 1e-3,
        density_probes: int = 4,
        density_steps: int = 40,
        trace_matvecs: int = 30,
        layers: Layers = "all",
        memory_gib: float | None = None,
        seed: int = 0,
    ) -> None:
        self.eigenpairs, self.which, self.tol = eigenpairs, which, tol
        self.density_probes, self.density_steps = density_probes, density_steps
        self.trace_matvecs, self.layers = trace_matvecs, layers
        self.memory_gib, self.seed = memory_gib, seed
        check_choice(self.label, "layers", layers, Layers)
        settings = {n: v for n, v in self.settings().items() if n not in ("layers", "seed")}
        check_spectrum(self.label, **settings, dtype="float64")  # `check` knows that of the weights

    def check(self, weights: Mapping[str, Tensor]) -> None:
        """Refuse weights too few, too many for the memory, or too coarse for `tol`."""
        count = sum(w.numel() for w in weights.values())
        dtype = vector_dtype(list(weights.values()), None)
        check_tol(self.label, self.tol, dtype)
        check_room(self.label, self.eigenpairs, count, dtype, self.memory_gib)

    def __call__(self, snapshot: LossSnapshot) -> xr.Dataset:
        """Measure.

        Parameters
        ----------
        snapshot : LossSnapshot
            Loss and batches.

        Returns
        -------
        xarray.Dataset
            Over rank and bin, what `measure_operator` names, and what `measure_layers` names. The
            attribute `update` says whose step the update is, or why there is none.

        Raises
        ------
        RunError
            If the gradient is not finite.
        """
        loss = snapshot.loss
        device = next(iter(loss.weights.values())).device
        half = working_memory(self.memory_gib, device) // 2
        operator = HessianOperator(
            loss, loss.weights, batches=snapshot.batches, weights="equal", memory=half
        )
        if not operator.gradient().isfinite().all():
            raise RunError("the gradient of the loss is not finite; the weights have diverged.")
        steps, whose = last_update(snapshot.optimizer, loss.weights)
        result = measure_operator(operator, self, half, snapshot.scratch, steps)
        if self.layers == "each":
            folder = snapshot.scratch / "layers" if snapshot.scratch else None
            layers = measure_layers(operator, self, half, folder, steps)
            result = result.merge(layers)
        attributes = {"objective": "loss", "batches": len(snapshot.batches), "update": whose}
        return result.assign_attrs(attributes)
