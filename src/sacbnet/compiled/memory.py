"""Memory for the kernels' results, used again and again: a fresh page costs more than a convolution's share of it.

The C library returns every large block to the system at once, and each next one is faulted in page by page: of a full
forward pass that was up to half the time. Here blocks that no tensor uses any more wait for the next request.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import threading
import weakref

import torch
from torch import Tensor

SMALLEST = 1 << 20  # bytes; below, the C library does it well
KEPT = 1 << 30  # bytes that may lie idle


class _Blocks:
    """Idle blocks by size. A lock guards them: tensors may die in any thread."""

    def __init__(self) -> None:
        self.idle: dict[int, list[mmap.mmap]] = {}
        self.bytes = 0
        self.lock = threading.RLock()  # a tensor may die while a block is being taken

    def take(self, size: int) -> mmap.mmap:
        with self.lock:
            fitting = [s for s, blocks in self.idle.items() if blocks and size <= s <= size + size // 8]
            if fitting:
                self.bytes -= min(fitting)
                return self.idle[min(fitting)].pop()
        return mmap.mmap(-1, size)

    def put(self, block: mmap.mmap) -> None:
        with self.lock:
            if self.bytes + len(block) <= KEPT:
                self.idle.setdefault(len(block), []).append(block)
                self.bytes += len(block)

    def release(self) -> None:
        with self.lock:
            self.idle.clear()
            self.bytes = 0


_BLOCKS = _Blocks()


def empty(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, *, planar: bool = False) -> Tensor:
    """(b, c, i, j, k), not initialised, its channels side by side in memory; planar: one after the other."""
    b, c, i, j, k = shape
    count = math.prod(shape)
    size = count * dtype.itemsize
    if size < SMALLEST:
        form = torch.contiguous_format if planar else torch.channels_last_3d
        return torch.empty(shape, dtype=dtype, memory_format=form)
    block = _BLOCKS.take(-(-size // mmap.PAGESIZE) * mmap.PAGESIZE)
    view = (ctypes.c_char * size).from_buffer(block)
    flat = torch.frombuffer(view, dtype=dtype, count=count)  # keeps the view, and the view the block
    weakref.finalize(view, _BLOCKS.put, block).atexit = False
    return flat.view(shape) if planar else flat.view(b, i, j, k, c).permute(0, 4, 1, 2, 3)


def release_memory() -> None:
    """Return the memory that lies idle to the system."""
    _BLOCKS.release()
