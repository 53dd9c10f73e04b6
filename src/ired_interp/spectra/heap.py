"""Memory that a product frees and the next one takes again, on a CPU."""

import numpy as np
import torch

_BLOCK = 31 << 20  # bytes; glibc learns from blocks of up to 32 MiB


def keep_freed_memory(device: torch.device) -> None:
    """Let glibc keep what is freed, up to 62 MiB, in place of giving it back to the system.

    What it gives back comes again page by page, each of them cleared: up to a fifth of a product of
    a small model. How much glibc keeps follows from the largest block that was ever freed: one is,
    of which no page was touched. Other allocators take no notice.

    Parameters
    ----------
    device : torch.device
        Of products; nothing is done for a GPU, whose allocator keeps all.
    """
    if device.type == "cpu":
        np.empty(_BLOCK, np.uint8)
