"""Whole training steps replayed as a CUDA graph, where nothing else happens around them."""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor
from torch.optim import Optimizer

from ired_interp.callbacks.averaging import WeightAveraging
from ired_interp.capture import Capture, Function, NotCapturedError, capturable
from ired_interp.lightning_private import replay_between
from ired_interp.solver import SolverModule
from ired_interp.tasks.data import TaskData
from ired_interp.tasks.training_stream import TrainingStream
from ired_interp.terminal import log

_HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)
_STEPS = ("backward", "optimizer_step", "optimizer_zero_grad", "lr_scheduler_step")  # of a module


class ReplayedSteps(Callback):
    """Replay the steps at which nothing is saved, measured or validated.

    Of a compiled model that GPUs train, such a step (problems, noise, loss, backward pass, mean of
    the GPUs' gradients, clipping, update) is one CUDA graph, without Lightning's loop around it;
    weights are averaged after it. Problems that cannot be recorded are drawn before it. All other
    steps are Lightning's own, with the same sums. Which those are depends on the step's number
    alone: a callback tells by a method ``needs(step)`` whether it acts at or after a step, and one
    that acts on batches and has no such method needs every step.
    """

    def __init__(self) -> None:
        self._active = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find out whether steps can be replayed, and which are needed."""
        self._active = False
        replay_between(trainer, None)
        wanted = isinstance(pl_module, SolverModule) and pl_module.compile_loss
        if not wanted or not capturable(pl_module.device):
            return
        if obstacle := _obstacle(trainer, pl_module):
            log(f"training steps are not replayed as a CUDA graph: {obstacle}")
            return
        assert isinstance(pl_module, SolverModule)
        callbacks = trainer.callbacks  # type: ignore[attr-defined]
        self._needs: list[Callable[[int], bool]] = [c.needs for c in callbacks if _tells(c)]
        self._averaging = next((c for c in callbacks if isinstance(c, WeightAveraging)), None)
        self._trainer, self._module, device = trainer, pl_module, pl_module.device
        data, batches = trainer.datamodule, trainer.train_dataloader  # type: ignore[attr-defined]
        assert isinstance(data, TaskData)
        assert isinstance(batches, TrainingStream)
        self._data, self._stream = data, batches
        self._of_data = torch.Generator(device), torch.Generator(device)
        self._of_noise = torch.Generator(device)
        self._capture, self._draws = Capture(device), True
        _settle(trainer.optimizers[0], pl_module.device)
        self._active = pl_module.replayed = True
        replay_between(trainer, self)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the recording and its memory go."""
        if self._active:
            self._active = False
            replay_between(trainer, None)
            del self._capture

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Let it go before NCCL ends, which waits for recordings of its sums."""
        self.on_train_end(trainer, pl_module)

    def covers(self, step: int) -> bool:
        """Whether the update of this number, counted from 1, is to be replayed.

        Parameters
        ----------
        step : int
            Its number.
        """
        trainer, validated = self._trainer, self._trainer.val_check_batch
        assert validated is not None  # see `_obstacle`
        return (
            self._active
            and bool(trainer.optimizers[0].state)  # which the first update makes
            and step != trainer.max_steps
            and step % validated != 0
            and not any(needs(step) for needs in self._needs)
        )

    def step(self, fetch: Callable[[], Any]) -> None:
        """Make an update.

        Parameters
        ----------
        fetch : callable
            Takes the next batch from the training stream.
        """
        if self._draws and (self._capture.recorded or self._record_drawing()):
            with self._stream.undrawn():
                number = fetch()
            self._data.restart_training(self._of_data, number)
            self._module.restart_noise(self._of_noise, number)
            values = self._capture()
        else:
            inputs = self._module.loss_inputs(fetch())
            if self._capture.recorded or (self._active and self._record(self._update, inputs)):
                values = self._capture(*inputs)
            else:
                values = self._update(*inputs)
        self._module.log_parts(dict(zip(self._parts, values, strict=True)))

    def stepped(self) -> None:
        """Average the weights where that is due, once the step is counted."""
        if self._averaging is not None:
            self._averaging.on_train_batch_end(self._trainer, self._module, None, None, 0)

    def _record_drawing(self) -> bool:
        """Record an update that draws its batch, where the task's problems can be recorded."""
        generators = (*self._of_data, self._of_noise)
        try:
            Capture(self._module.device).record(self._draw, generators=generators)
        except NotCapturedError:
            self._draws = False
            return False
        return self._record(lambda: self._update(*self._draw()), generators=generators)

    def _draw(self) -> tuple[Tensor, ...]:
        share = self._trainer.global_rank, self._trainer.world_size
        batch = self._data.draw_training(self._of_data, 0, *share)
        return self._module.loss_inputs(batch, self._of_noise)

    def _record(
        self,
        update: Function,
        inputs: tuple[Tensor, ...] = (),
        generators: tuple[torch.Generator, ...] = (),
    ) -> bool:
        """Record an update, and undo what that did to the state of training."""
        optimizer = self._trainer.optimizers[0]
        state = [v for s in optimizer.state.values() for v in s.values() if isinstance(v, Tensor)]
        changed = [*self._module.parameters(), *self._module.buffers(), *state]
        before = [tensor.detach().clone() for tensor in changed]
        try:
            self._capture.record(update, inputs, generators)
        except NotCapturedError as error:
            log(f"training steps are not replayed as a CUDA graph: {error}")
            self._active = False
        with torch.no_grad():
            for tensor, value in zip(changed, before, strict=True):
                tensor.copy_(value)
        return self._active

    def _update(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        trainer, module = self._trainer, self._module
        optimizer = trainer.optimizers[0]
        optimizer.zero_grad()
        with torch.enable_grad(), trainer.precision_plugin.train_step_context():
            loss, parts = module.step_loss(*inputs)
        self._parts = tuple(parts)
        loss.backward()
        _share_gradients(module, trainer.world_size)
        module.configure_gradient_clipping(
            optimizer, trainer.gradient_clip_val, trainer.gradient_clip_algorithm
        )
        optimizer.step()
        optimizer.zero_grad()
        return tuple(parts.values())


def _share_gradients(module: LightningModule, ranks: int) -> None:
    """Average gradients over ranks, as DDP does in the backward passes of Lightning's steps."""
    if ranks == 1:
        return
    parameters = [p for p in module.parameters() if p.grad is not None]
    mean = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]).div_(ranks)
    dist.all_reduce(mean)
    sizes = [p.numel() for p in parameters]
    for parameter, part in zip(parameters, mean.split(sizes), strict=True):
        parameter.grad = part.view_as(parameter)


def _tells(callback: Callback) -> bool:
    return callable(getattr(callback, "needs", None))


def _obstacle(trainer: Trainer, module: LightningModule) -> str | None:
    """Say what stands against steps without Lightning's loop, if anything does."""
    if type(module).training_step is not SolverModule.training_step:
        return f"{type(module).__name__} has a training_step of its own"
    if any(is_overridden(hook, module, LightningModule) for hook in (*_HOOKS, *_STEPS)):
        return f"{type(module).__name__} acts on every batch"
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        own = any(is_overridden(hook, callback, Callback) for hook in _HOOKS)
        if own and not _tells(callback) and not isinstance(callback, WeightAveraging):
            return f"{type(callback).__name__} acts on every batch"
    if trainer.world_size > 1 and type(trainer.strategy) is not DDPStrategy:
        return f"the strategy of several GPUs is {type(trainer.strategy).__name__}"
    if trainer.accumulate_grad_batches > 1:
        return "gradients are accumulated"
    if trainer.precision not in ("32-true", "bf16-mixed"):
        return f"trainer.precision is {trainer.precision}"
    if type(data := trainer.datamodule) is not TaskData:  # type: ignore[attr-defined]
        return f"batches come from {type(data).__name__}"
    if not isinstance(trainer.val_check_batch, int | float):
        return "validations come by the clock"
    return None


def _settle(optimizer: Optimizer, device: torch.device) -> None:
    """Let an optimiser keep on the device all that changes from step to step."""
    for group in optimizer.param_groups:
        rate = torch.tensor(float(group["lr"]), device=device)
        group |= {"fused": True, "capturable": True, "lr": rate}
    for state in optimizer.state.values():
        state["step"] = torch.as_tensor(state["step"], dtype=torch.float32, device=device)
