"""The loss of a training step as a function of the weights and a batch, without side effects."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ired_interp.callbacks.apart import copier
from ired_interp.errors import InputError
from ired_interp.lightning_private import forget_compiled
from ired_interp.random import isolated

LossFunction = Callable[[LightningModule, Any], Tensor]
_SHARED = (nn.Parameter, Trainer, LightningDataModule, Logger, Dataset, DataLoader)


class StepLoss:
    """The loss that `training_step` returns, or a function of one's own.

    Every call is made on a fresh copy of the module that shares its weights and has all else for
    itself (buffers, metrics, counters, lists of outputs), in evaluation mode, without logging,
    autocast and compilation, and with the same random draws: it leaves no trace and is one function
    of weights and batch.

    Parameters
    ----------
    module : LightningModule
        Whose loss.
    trainer : Trainer
        Its trainer, which the copy can read.
    function : callable, optional
        (module, batch) → scalar, in place of `training_step`.
    seed : int
        Of what the loss draws.

    Attributes
    ----------
    weights : dict of str to Parameter
        Those that are trained.

    Raises
    ------
    InputError
        If the module has no weights to train, or there is no such loss.
    """

    def __init__(
        self,
        module: LightningModule,
        trainer: Trainer,
        function: LossFunction | None = None,
        seed: int = 0,
    ) -> None:
        self._module, self._trainer, self._seed = module, trainer, seed
        self._name = type(module).__name__
        self._source = f"{self._name}.training_step" if function is None else "loss="
        self._function = function or self._step
        self._fresh = copier(module, _replacement)
        self._compiled = any(type(m).__name__ == "OptimizedModule" for m in module.modules())
        self.weights = {n: p for n, p in module.named_parameters() if p.requires_grad}
        if not self.weights:
            raise InputError(f"{self._name} has no weights to train, so there is none to measure.")
        if function is None:
            self._check_step()

    def __call__(self, batch: Any) -> Tensor:
        """Compute the loss of a batch, differentiable in the weights.

        Parameters
        ----------
        batch : object
            As `training_step` takes it.

        Returns
        -------
        Tensor
            A scalar.
        """
        with self._surroundings():
            return self._scalar(self._function(self._copy(), deepcopy(batch)))

    def at(self, weights: Mapping[str, Tensor], batch: Any) -> Tensor:
        """Compute the loss of a batch at other weights, for `torch.func`.

        Parameters
        ----------
        weights : mapping of str to Tensor
            By the names of `weights`.
        batch : object
            Which the loss may change.

        Returns
        -------
        Tensor
            A scalar.
        """
        called = _Called(self._copy(), self._function)
        there = {f"module.{name}": w for name, w in weights.items()}
        with self._surroundings():
            return self._scalar(torch.func.functional_call(called, there, (batch,)))

    @contextmanager
    def _surroundings(self) -> Iterator[None]:
        precision = self._trainer.precision_plugin
        with isolated(self._seed), ExitStack() as stack:
            if not isinstance(precision, MixedPrecision):  # which rounds weights that are not
                stack.enter_context(precision.forward_context())
            if self._compiled:
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            yield

    def _check_step(self) -> None:
        step, remedy = self._source, "give loss=, a function of (module, batch)"
        if not self._module.automatic_optimization:
            raise InputError(
                f"{step} makes the updates itself (manual optimization), so it cannot be called to "
                f"measure; {remedy}."
            )
        if is_param_in_hook_signature(self._module.training_step, "dataloader_iter", explicit=True):
            raise InputError(f"{step} takes a dataloader_iter in place of a batch; {remedy}.")

    def _step(self, module: LightningModule, batch: Any) -> Any:
        step = module.training_step
        numbered = is_param_in_hook_signature(step, "batch_idx", min_args=2)
        return step(batch, 0) if numbered else step(batch)

    def _scalar(self, output: Any) -> Tensor:
        loss = output.get("loss") if isinstance(output, Mapping) else output
        if not isinstance(loss, Tensor):
            found = "a dict without 'loss'" if isinstance(output, Mapping) else repr(output)
            raise InputError(
                f"{self._source} returned {found}; expected the loss, a tensor, or a dict with it "
                "under 'loss'."
            )
        if loss.numel() != 1:
            raise InputError(
                f"{self._source} returned a loss of shape {tuple(loss.shape)}; expected a scalar: "
                "take the mean over the batch."
            )
        return loss.reshape(())

    def _copy(self) -> LightningModule:
        module = self._fresh().eval()
        forget_compiled(module)
        module.trainer = _Spectator(self._trainer)  # type: ignore[assignment]
        for part in module.modules():
            for value in vars(part).values():
                if isinstance(value, torch.Generator):
                    value.manual_seed(self._seed)
            if isinstance(part, LightningModule):
                for method in ("log", "log_dict", "print"):
                    setattr(part, method, _nothing)
                if self._trainer.world_size > 1:
                    setattr(part, "all_gather", self._gathers)  # noqa: B010
        return module

    def _gathers(self, *args: Any, **kwargs: Any) -> None:
        """Refuse what would wait for the other ranks.

        Raises
        ------
        InputError
            Always.
        """
        raise InputError(
            f"{self._source} gathers from all ranks, but one measures alone; give loss=, a "
            "function of (module, batch) that does not."
        )


class _Called(nn.Module):
    """A function of a module and a batch as a module of its own."""

    def __init__(self, module: LightningModule, function: Callable[..., Any]) -> None:
        super().__init__()
        self.module, self._function = module, function

    def forward(self, batch: Any) -> Any:
        return self._function(self.module, batch)


class _Spectator:
    """A Trainer that can be read; what is set on it stays here, and its loggers write nothing."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self.loggers = [DummyLogger() for _ in trainer.loggers]
        self.logger = self.loggers[0] if self.loggers else None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trainer, name)


def _replacement(part: object) -> object | None:
    if isinstance(part, Tensor) and part.grad_fn is not None:  # a loss that was kept, say
        return part.detach()
    return part if isinstance(part, _SHARED) else None


def _nothing(*args: Any, **kwargs: Any) -> None:
    """Log nothing."""
