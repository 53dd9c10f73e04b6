"""The spectrum of the Hessian of any loss in its weights."""

from collections.abc import Mapping
from typing import Literal

import xarray as xr
from torch import Tensor

from ired_interp.errors import RunError
from ired_interp.probes.last_update import last_update
from ired_interp.probes.loss_probe import LossProbe, LossSnapshot
from ired_interp.probes.settings import working_memory
from ired_interp.probes.spectrum_settings import Which, check_room, check_spectrum
from ired_interp.probes.theta_spectrum import measure_operator
from ired_interp.spectra import HessianOperator


class LossSpectrum(LossProbe):
    """Outer eigenvalues, density and trace of the Hessian of a loss, a mean over the batches.

    Parameters
    ----------
    eigenpairs, which, tol, density_probes, density_steps, trace_matvecs, memory_gib, seed
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
        memory_gib: float | None = None,
        seed: int = 0,
    ) -> None:
        self.eigenpairs, self.which, self.tol = eigenpairs, which, tol
        self.density_probes, self.density_steps = density_probes, density_steps
        self.trace_matvecs, self.memory_gib, self.seed = trace_matvecs, memory_gib, seed
        check_spectrum(self.label, **{n: v for n, v in self.settings().items() if n != "seed"})

    def check(self, weights: Mapping[str, Tensor]) -> None:
        """Refuse fewer weights than eigenpairs, or more than the memory has room for."""
        count = sum(w.numel() for w in weights.values())
        dtype = next(iter(weights.values())).dtype
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
            Over rank and bin, what `measure_operator` names. The attribute `update` says whose
            step the update is, or why there is none.

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
        attributes = {"objective": "loss", "batches": len(snapshot.batches), "update": whose}
        return result.assign_attrs(attributes)
