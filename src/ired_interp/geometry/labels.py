"""Names of frames: numbers or strings, each once."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ired_interp.errors import InputError

Label = int | float | str


def checked_label(label: Any, known: Sequence[Label]) -> Label:
    """Turn what a user gave into the label of a new frame.

    Parameters
    ----------
    label : int, float or str
        Training step, landscape, checkpoint name, …
    known : sequence of int, float or str
        Labels that are taken.

    Returns
    -------
    int, float or str
        The label, as a plain number or string.

    Raises
    ------
    InputError
        If it is neither, NaN, or taken.
    """
    label = label.item() if isinstance(label, np.generic) else label
    if not isinstance(label, int | float | str) or label != label:
        raise InputError(
            f"a frame labelled {label!r}, a {type(label).__name__}; labels are numbers or strings."
        )
    if label in known:
        raise InputError(
            f"a frame labelled {label!r} exists already; every frame needs a label of its own."
        )
    return label
