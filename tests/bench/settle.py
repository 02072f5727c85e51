"""Brings the machine into the same state before each measured pass."""

import mmap
import os

MIB = 1 << 20


def settle(size):
    """Nothing waits to be written, and of a virtual machine's free memory `size` bytes are there,
    not still to be got from its host: that can take longer than to spill as much."""
    os.sync()
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_HUGEPAGE)
        for _ in range(size // MIB):
            memory.write(bytes(MIB))
