"""The loss of a module on a batch: its own, or one that is given."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from ired_interp.errors import InputError
from ired_interp.random import isolated


class ModuleLoss:
    """Scalar loss of a module, as a function of a batch, without side effects.

    Without ``loss`` it is the module's own: what ``training_step`` of a LightningModule returns, or
    ``loss`` of the output, as Hugging Face models have it, which are called with a mapping's
    entries by name. With ``loss``, one rule holds: a batch that is a pair (input, target) gives
    ``loss(module(input), target)``, any other ``loss(module, batch)``.

    The module is in evaluation mode meanwhile, logs nothing, draws the same random numbers at every
    call, and is put back as it was.

    Parameters
    ----------
    module : Module
        The model.
    loss : callable, optional
        Of output and target, or of module and batch.

    Raises
    ------
    InputError
        If a LightningModule optimises by hand, so that no loss can be read off its training step.

    Examples
    --------
    >>> import torch
    >>> from ired_interp.spectra.module_loss import ModuleLoss
    >>> double = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.constant_(double.weight, 2.0)
    >>> loss = ModuleLoss(double, torch.nn.functional.mse_loss)
    >>> loss((torch.ones(3, 1), torch.zeros(3, 1))).item()
    4.0
    """

    def __init__(self, module: nn.Module, loss: Callable[..., Tensor] | None = None) -> None:
        self.module, self.loss = module, loss
        if loss is None and not getattr(module, "automatic_optimization", True):
            raise InputError(
                f"{type(module).__name__} optimises by hand, so that its training_step returns no "
                "loss to differentiate; give loss="
            )

    def __call__(self, batch: Any) -> Tensor:
        """Compute the loss.

        Parameters
        ----------
        batch : object
            Of the structure that the module takes.

        Returns
        -------
        Tensor
            A scalar.

        Raises
        ------
        InputError
            If the module has no loss of its own and none was given.
        """
        with undisturbed(self.module):
            if self.loss is not None:
                if isinstance(batch, list | tuple) and len(batch) == 2:
                    return self.loss(self.module(batch[0]), batch[1])
                return self.loss(self.module, batch)
            if callable(getattr(self.module, "training_step", None)):
                return self._training_step(batch)
            return self._loss_of_output(batch)

    def _training_step(self, batch: Any) -> Tensor:
        step: Callable[..., Any] = self.module.training_step  # type: ignore[assignment]
        named = inspect.signature(step).parameters
        try:
            found = step(batch, 0) if len(named) > 1 else step(batch)
        except RuntimeError as error:
            if "not attached to a `Trainer`" not in str(error):
                raise
            raise InputError(
                f"training_step of {type(self.module).__name__} asks for its trainer, and there is "
                "none; give loss="
            ) from error
        found = found.get("loss") if isinstance(found, Mapping) else found
        if not isinstance(found, Tensor):
            raise InputError(
                f"training_step of {type(self.module).__name__} returned a "
                f"{type(found).__name__}; expected a loss, or a dict with 'loss'; give loss="
            )
        return found

    def _loss_of_output(self, batch: Any) -> Tensor:
        name = type(self.module).__name__
        if isinstance(batch, Mapping):
            output = self.module(**batch)
            found = getattr(output, "loss", None)
            if found is None and isinstance(output, Mapping):
                found = output.get("loss")
            if isinstance(found, Tensor):
                return found
            hint = f"the output of {name} has no loss"
        else:
            hint = f"{name} has no training_step, and its batches are no mappings of arguments"
        raise InputError(
            f"{hint}, so that it has no loss of its own; give loss=, a function of output and "
            "target for batches that are pairs, of module and batch for others"
        )


@contextmanager
def undisturbed(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode, silent and with fixed random draws, and all back after.

    Parameters
    ----------
    module : Module
        Whose attributes (modes, counters, lists, states of metrics) are put back, as are global
        random states.

    Yields
    ------
    None
        Meanwhile.
    """
    before = [(vars(part), _copied(part)) for part in module.modules()]
    try:
        for part in module.modules():
            part.training = False
            if hasattr(part, "training_step"):
                vars(part).update(dict.fromkeys(("log", "log_dict"), lambda *_, **__: None))
        with isolated(0):
            yield
    finally:
        for attributes, kept in before:
            attributes.clear()
            attributes.update(kept)


def _copied(part: nn.Module) -> dict[str, Any]:
    """Copy what a call may change: containers, and of metrics, whose state they are, tensors."""
    tensors_too = hasattr(part, "_defaults") and hasattr(part, "update")  # as torchmetrics has them
    return {
        name: copy.copy(value)
        if type(value) in (list, dict, set)
        else value.clone()
        if tensors_too and isinstance(value, Tensor)
        else value
        for name, value in vars(part).items()
    }
