"""Independent random streams, each named by a seed and what it is for."""

import zlib

import numpy as np
import torch


def stream(device: torch.device | str, seed: int, *names: int | str) -> torch.Generator:
    """Return a generator on `device` whose draws depend on the seed and the names alone.

    Equal arguments give equal draws in any process, whatever was drawn before, so that batch 1000
    of a run can be drawn without the 999 before it. The draws of a CPU and of a GPU generator
    differ.
    """
    words = [zlib.crc32(name.encode()) if isinstance(name, str) else name for name in names]
    state = np.random.SeedSequence([seed, *words]).generate_state(2, np.uint32)
    return torch.Generator(device).manual_seed(int(state[0]) << 31 ^ int(state[1]))
