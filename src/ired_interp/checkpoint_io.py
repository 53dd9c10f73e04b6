"""Checkpoints that appear whole or not at all, and are read weights-only."""

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from ired_interp.files import atomic


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint files, written beside their place, flushed to disk, and renamed."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write a checkpoint, whole or not at all."""
        with atomic(Path(path)) as temporary:
            torch.save(checkpoint, temporary)
