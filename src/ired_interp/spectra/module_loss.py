"""The loss of a module on a batch: its own, or one that is given."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from ired_interp.errors import InputError


class ModuleLoss:
    """Scalar loss of a module, as a function of a batch.

    Without ``loss`` it is the module's own: what ``training_step`` of a LightningModule returns,
    its logging silenced; else ``loss`` of the output, as Hugging Face models have it, which are
    called with a mapping's entries by name. With ``loss``, one rule holds: a batch that is a pair
    (input, target) gives ``loss(module(input), target)``, any other ``loss(module, batch)``.

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
        with silenced(self.module):
            try:
                found = step(batch, **({"batch_idx": 0} if "batch_idx" in named else {}))
            except RuntimeError as error:
                if "not attached to a `Trainer`" not in str(error):
                    raise
                raise InputError(
                    f"training_step of {type(self.module).__name__} asks for its trainer, and "
                    "there is none; give loss="
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
def silenced(module: nn.Module) -> Iterator[None]:
    """Let a LightningModule log nothing.

    Parameters
    ----------
    module : Module
        Whose ``log`` and ``log_dict`` do nothing meanwhile.

    Yields
    ------
    None
        Meanwhile.
    """
    names = [name for name in ("log", "log_dict") if hasattr(type(module), name)]
    before = {name: module.__dict__[name] for name in names if name in module.__dict__}
    module.__dict__.update(dict.fromkeys(names, lambda *_, **__: None))
    try:
        yield
    finally:
        for name in names:
            del module.__dict__[name]
        module.__dict__.update(before)
