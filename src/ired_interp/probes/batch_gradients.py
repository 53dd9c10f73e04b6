"""Gradients of any loss, one a sample, a microbatch or a batch: as fine as the loss allows."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ired_interp.errors import InputError
from ired_interp.probes.gradient_rows import GradientRows
from ired_interp.probes.loss_probe import Loss
from ired_interp.spectra.structure import row_count, take_rows

_COMPARED = 8  # rows whose mean is held against the gradient of all their samples


class BatchGradients(GradientRows):
    """Rows g_i = ∇_θ loss on parts of batches.

    Where the loss of a batch is the mean over its samples, batches are cut into microbatches of as
    few samples as leave at most `most` rows, single samples if possible, and gradients come from
    `torch.func` vmap(grad), or one after the other where the model does not allow that. It counts
    as such a mean if the rows' mean is the gradient of the whole batch that autograd finds. Any
    other loss (a mean over tokens, pairs of samples) gives one row a batch.

    Parameters
    ----------
    loss : Loss
        Its weights and gradients.
    batches : sequence
        Of any structure.
    most : int
        Rows at most.

    Attributes
    ----------
    samples : int
        Behind each row; of whole batches, whose samples may not be countable, 1.
    origins : list of int
        The batch of each row.
    """

    counted = "gradients"

    def __init__(self, loss: Loss, batches: Sequence[Any], most: int) -> None:
        self._loss, self._batches = loss, batches
        self._vectorised = True
        self.samples, self.origins = 1, list(range(len(batches)))
        self._parts: list[Tensor] | None = None  # the samples (rows, samples) of each batch
        super().__init__(loss.weights, len(batches))
        self._why = ""  # whole batches
        try:
            counts = [row_count(batch) for batch in batches]
        except InputError:
            self._why = ", whose samples cannot be told apart"
            return
        samples = -(-sum(counts) // most)
        parts = [torch.arange(n // samples * samples).view(n // samples, samples) for n in counts]
        largest = max(range(len(parts)), key=lambda i: len(parts[i]))
        if len(parts[largest]) < 2 or sum(map(len, parts)) < len(batches):
            return
        if not self._is_mean(largest, parts[largest]):
            self._why = (
                ", as its loss is not the mean over its samples (it counts something else, mixes "
                "them or draws random numbers)"
            )
            return
        self._parts, self.samples = parts, samples
        self.origins = [i for i, part in enumerate(parts) for _ in part]
        self.count = len(self.origins)

    @property
    def how(self) -> str:
        """What the rows are and how those so far were found, for a reader."""
        if self._parts is None:
            return f"one gradient a batch{self._why}"
        rows = "a sample" if self.samples == 1 else f"a microbatch of {self.samples} samples"
        return f"one gradient {rows}, by {'vmap' if self._vectorised else 'a loop'}"

    def _gradients(self, rows: slice) -> Mapping[str, Tensor]:
        wanted = range(*rows.indices(self.count))
        if self._parts is None:
            return _stacked([self._whole(self._batches[i]) for i in wanted])
        found, first = [], 0
        for batch, part in zip(self._batches, self._parts, strict=True):
            here = part[max(0, wanted.start - first) : max(0, wanted.stop - first)]
            if len(here):
                found.append(self._of(batch, here))
            first += len(part)
        return {name: torch.cat([part[name] for part in found]) for name in self._loss.weights}

    def _is_mean(self, index: int, part: Tensor) -> bool:
        batch, weights = self._batches[index], self._loss.weights
        chosen = part[torch.linspace(0, len(part) - 1, min(len(part), _COMPARED)).long()]
        whole = self._whole(take_rows(batch, chosen.flatten()))
        total, scale = {name: torch.zeros_like(w) for name, w in weights.items()}, 0.0
        for pair in chosen.split(2):
            for name, rows in self._of(batch, pair).items():
                total[name] += rows.sum(0)
                scale += float(rows.double().square().sum()) / len(chosen)
        difference = sum(
            float((total[name] / len(chosen) - g).double().square().sum())
            for name, g in whole.items()
        )
        eps = max(torch.finfo(w.dtype).eps for w in self._loss.weights.values())
        return difference <= eps * scale

    def _of(self, batch: Any, part: Tensor) -> Mapping[str, Tensor]:
        """Gradients of microbatches, whose samples stand in the rows of `part`."""
        if self._vectorised:
            weights = {name: w.detach() for name, w in self._loss.weights.items()}
            device = next(iter(weights.values())).device

            def loss(weights: Mapping[str, Tensor], samples: Tensor) -> Tensor:
                return self._loss.at(weights, take_rows(batch, samples))

            every = torch.func.vmap(torch.func.grad(loss), (None, 0), randomness="different")
            try:
                found: Mapping[str, Tensor] = every(weights, part.to(device))
                return found
            except Exception:  # of whatever kind: not every operation of a model has a vmap rule
                self._vectorised = False
        return _stacked([self._whole(take_rows(batch, samples)) for samples in part])

    def _whole(self, batch: Any) -> dict[str, Tensor]:
        weights = self._loss.weights
        found = torch.autograd.grad(
            self._loss(batch), list(weights.values()), allow_unused=True, materialize_grads=True
        )
        return {
            name: g.to_dense() if g.is_sparse else g for name, g in zip(weights, found, strict=True)
        }


def _stacked(rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
