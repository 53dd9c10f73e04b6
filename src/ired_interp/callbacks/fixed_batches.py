"""A few batches of a Trainer's loader, taken without a trace in the training that uses it."""

from collections.abc import Iterator
from copy import copy
from functools import partial
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities import CombinedLoader
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from ired_interp.callbacks.apart import copier
from ired_interp.errors import InputError
from ired_interp.lightning_private import training_loaders
from ired_interp.random import isolated
from ired_interp.tasks.training_stream import TrainingStream

Loader = Literal["train", "val"]
_SHARED = (Tensor, np.ndarray, LightningDataModule, LightningModule, Trainer)
_LARGE = 1000  # entries of a list that is data


def fixed_batches(trainer: Trainer, loader: Loader, count: int) -> list[Any]:
    """Take the first batches of a loader in an order of its own that is always the same.

    The loader itself, its dataset, sampler, generators and workers are left alone: a copy is gone
    through, with at most one worker.

    Parameters
    ----------
    trainer : Trainer
        At the start of training.
    loader : {"train", "val"}
        Which; of several validation loaders the first.
    count : int
        How many batches at most.

    Returns
    -------
    list
        Batches as the loader collates them, where it puts them.

    Raises
    ------
    InputError
        If there is no such loader, it can be gone through only once, or it is empty.
    """
    if loader == "train":
        source = training_loaders(trainer)
    else:
        if not trainer.val_dataloaders:
            raise InputError("loader='val', but the Trainer has no validation loader; use 'train'.")
        source = CombinedLoader(CombinedLoader(trainer.val_dataloaders).flattened[0])
    source.flattened = [_own(one, loader) for one in source.flattened]
    with isolated(0):
        found = [batch for batch, *_ in islice(iter(source), count)]
        source.reset()
    if not found:
        raise InputError(f"the loader {loader!r} gave no batch; there is nothing to measure on.")
    return found


def _own(loader: Any, name: str) -> Any:
    own = copy(loader)
    if isinstance(own, TrainingStream):
        own.position = 0  # also where a run goes on
    if not isinstance(own, DataLoader):
        _check_again(own, name)
        return own
    held = {
        part: vars(loader)[part] for part in ("dataset", "sampler", "batch_sampler", "generator")
    }
    streamed = isinstance(loader.dataset, IterableDataset)
    held = copier(held, partial(_replacement, name if streamed else None))()
    # One worker where there are any, so that files which workers open are not opened here.
    vars(own).update(held, _iterator=None, num_workers=min(1, loader.num_workers))
    for sampler in (own.sampler, getattr(own.batch_sampler, "sampler", None)):
        set_epoch = getattr(sampler, "set_epoch", None)
        if set_epoch is not None:
            set_epoch(0)  # also where a run goes on
    return own


def _replacement(streamed: str | None, part: object) -> object | None:
    """Share what is data or has a life of its own; generators of numbers begin anew."""
    if isinstance(part, torch.Generator):
        return torch.Generator(part.device).manual_seed(0)
    if streamed:
        _check_again(part, streamed)
    large = isinstance(part, list | dict) and len(part) > _LARGE
    return part if large or isinstance(part, _SHARED) else None


def _check_again(source: object, name: str) -> None:
    """Refuse what is used up by going through it.

    Raises
    ------
    InputError
        If it is an iterator.
    """
    if isinstance(source, Iterator):
        other = "val" if name == "train" else "train"
        raise InputError(
            f"the loader {name!r} draws from a {type(source).__name__}, which can be gone through "
            f"only once; give the Trainer a loader that begins anew, or choose loader={other!r}."
        )
