"""The bytes of a checkpoint, read whole and checked before anything is made of them."""

import hashlib
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ired_interp.errors import InputError
from ired_interp.files import read_regular
from ired_interp.memory import machine_memory

CONFIG_KEY = "ired_config"
AVERAGE_ALONE = "average_alone"  # of a published file: the raw weights were left out
_DAMAGED = (
    "checkpoint {} is truncated or damaged, or no checkpoint; copy it again or take an earlier one."
)


def read_weights_only(path: Path) -> tuple[Any, str]:
    """Read what `torch.save` wrote, as weights without code.

    Parameters
    ----------
    path : Path
        Of the file.

    Returns
    -------
    Any and str
        Its content, and a digest of its bytes.

    Raises
    ------
    InputError
        If it is no regular file, larger than memory, truncated or damaged (every part of the file
        has a checksum), or holds more than weights.
    """
    blob = read_regular(path, machine_memory() // 2, "checkpoint")
    _check_archive(blob, path)
    try:
        content = torch.load(io.BytesIO(blob), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(
            f"checkpoint {path} holds code beside its weights; only files that load weights-only "
            "are read."
        ) from None
    except Exception:  # of any kind: what a damaged pickle leads to
        raise InputError(_DAMAGED.format(path)) from None
    return content, hashlib.sha256(blob).hexdigest()[:16]


def _check_archive(blob: bytes, path: Path) -> None:
    """Refuse an archive that is damaged, or would grow on reading.

    Raises
    ------
    InputError
        If it is.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(blob)) as archive:
            parts = archive.infolist()
            declared = sum(part.file_size for part in parts)
            packed = any(part.compress_type != zipfile.ZIP_STORED for part in parts)
            if packed or declared > len(blob):
                raise InputError(
                    f"checkpoint {path} has {len(blob)} bytes, but unpacks to {declared}; "
                    "checkpoints are not packed: take another file."
                )
            broken = archive.testzip()
    except InputError:
        raise
    except Exception:  # of any kind: what a damaged archive leads to
        raise InputError(_DAMAGED.format(path)) from None
    if broken is not None:
        raise InputError(_DAMAGED.format(path))


def is_ours(content: Any) -> bool:
    """Whether a file holds what `ired fit` writes."""
    return (
        isinstance(content, dict)
        and isinstance(content.get(CONFIG_KEY), str)
        and isinstance(content.get("global_step"), int)
        and content["global_step"] >= 0
        and _are_weights(content.get("state_dict"))
        and _are_weights(content.get("current_model_state", {}))
        and isinstance(content.get(AVERAGE_ALONE, False), bool)
    )


def is_published(content: Any) -> bool:
    """Whether a file holds what the published implementation writes."""
    return (
        isinstance(content, dict)
        and isinstance(content.get("step"), int)
        and _are_weights(content.get("model"))
        and _are_weights(content.get("ema"))
        and getattr(content["model"].get("betas"), "ndim", None) == 1
    )


def _are_weights(state: Any) -> bool:
    return isinstance(state, dict) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    )


def alike(own: Tensor, other: Tensor) -> bool:
    """Whether both are plain arrays of the same kind of number."""
    kinds = [(t.layout, t.is_floating_point(), t.is_complex()) for t in (own, other)]
    return kinds[0] == kinds[1] and not other.is_quantized and other.device.type != "meta"
