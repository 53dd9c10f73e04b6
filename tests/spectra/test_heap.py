"""What a product frees stays with the process."""

import platform
import subprocess
import sys

import pytest

# In a process of its own, for glibc learns from whatever was freed before.
PAGES = """
import resource, torch
from ired_interp.spectra.heap import keep_freed_memory
keep_freed_memory(torch.device("cpu"))
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.ones(1 << 18) for _ in range(16)]  # 1 MiB each
    del blocks
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.process
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc's allocator")
def test_blocks_freed_and_taken_again_bring_no_new_pages() -> None:
    run = subprocess.run([sys.executable, "-c", PAGES], capture_output=True, text=True, check=True)
    pages = [int(line) for line in run.stdout.split()]
    assert len(pages) == 3
    assert min(pages) < 16 * 256 / 4
