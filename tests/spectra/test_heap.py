"""What a product frees stays with the process."""

import platform
import resource

import pytest
import torch

from ired_interp.spectra.heap import keep_freed_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc's allocator")
def test_blocks_freed_and_taken_again_bring_no_new_pages() -> None:
    keep_freed_memory(torch.device("cpu"))
    pages = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        blocks = [torch.ones(1 << 18) for _ in range(16)]  # 1 MiB each
        del blocks
        pages.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    assert min(pages) < 16 * 256 / 4
