"""Independent random streams, each named by a seed and what it is for."""

import random
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def stream(device: torch.device | str, seed: int, *names: int | str) -> torch.Generator:
    """Return a generator on `device` whose draws depend on the seed and the names alone.

    Equal arguments give equal draws in any process, whatever was drawn before, so that batch 1000
    of a run can be drawn without the 999 before it. The draws of a CPU and of a GPU generator
    differ.
    """
    return restart(torch.Generator(device), seed, *names)


def restart(generator: torch.Generator, seed: int, *names: int | str) -> torch.Generator:
    """Put a generator at the beginning of a `stream`, and return it."""
    words = [zlib.crc32(name.encode()) if isinstance(name, str) else name for name in names]
    state = np.random.SeedSequence([seed, *words]).generate_state(2, np.uint32)
    return generator.manual_seed(int(state[0]) << 31 ^ int(state[1]))


@contextmanager
def isolated(seed: int) -> Iterator[None]:
    """Give a block global random states of its own, and put the former ones back after it.

    Parameters
    ----------
    seed : int
        Of Python's, NumPy's and PyTorch's generators inside the block, on CPU and GPUs.

    Yields
    ------
    None
        While the block runs.

    Examples
    --------
    >>> with isolated(0):
    ...     first = torch.rand(3)
    >>> with isolated(0):
    ...     bool((torch.rand(3) == first).all())
    True
    """
    python, array = random.getstate(), np.random.get_state()  # noqa: NPY002
    # A GPU that is not in use yet must not be woken: its generator would be seeded for training.
    gpus = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(gpus):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002  (the global state is what other people's code uses)
        torch.default_generator.manual_seed(seed)
        if gpus:
            torch.cuda.manual_seed_all(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(array)  # noqa: NPY002
