"""Checkpoints that appear whole or not at all, and are read weights-only."""

import io
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
        """Write a checkpoint, whole or not at all.

        Raises
        ------
        RunError
            If the disk is full.
        """
        buffer = io.BytesIO()  # torch.save to a full disk raises what does not say so
        torch.save(checkpoint, buffer)
        with atomic(Path(path)) as temporary:
            temporary.write_bytes(buffer.getbuffer())
