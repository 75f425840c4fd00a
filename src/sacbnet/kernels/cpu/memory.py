"""Memory for the kernels' results, used again and again: a fresh page costs more than a convolution's share of it.

The C library returns every large block to the system at once, and each next one is faulted in page by page: that was
half the time of a full forward pass. Here blocks that no tensor uses any more wait for the next request.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import threading
import weakref
from typing import NamedTuple

import torch
from torch import Tensor

SMALLEST = 1 << 20  # bytes; below, the C library does it well
KEPT = 1 << 30  # bytes that may lie idle
PRIVATE = getattr(mmap, "MAP_PRIVATE", 0) | getattr(
    mmap, "MAP_ANONYMOUS", 0
)  # a forked process has its own


class Block(NamedTuple):
    """Bytes start..stop of a mapping."""

    mapping: mmap.mmap
    start: int
    stop: int


class _Store:
    """Idle blocks: the smallest that fits is taken and its rest kept; neighbours are joined again."""

    def __init__(self) -> None:
        self.idle: list[Block] = []
        self.lock = (
            threading.RLock()
        )  # tensors may die in any thread, and while a block is being taken

    def take(self, size: int) -> Block:
        with self.lock:
            fitting = [block for block in self.idle if block.stop - block.start >= size]
            if not fitting:
                return Block(mmap.mmap(-1, size, flags=PRIVATE), 0, size)
            block = min(fitting, key=lambda b: b.stop - b.start)
            self._remove(block)
            taken = Block(block.mapping, block.start, block.start + size)
            if taken.stop < block.stop:
                self.idle.append(Block(block.mapping, taken.stop, block.stop))
            return taken

    def put(self, block: Block) -> None:
        with self.lock:
            for other in [b for b in self.idle if b.mapping is block.mapping]:
                if other.stop == block.start or block.stop == other.start:
                    self._remove(other)
                    block = Block(
                        block.mapping, min(block.start, other.start), max(block.stop, other.stop)
                    )
            self.idle.append(block)
            if sum(b.stop - b.start for b in self.idle) > KEPT:
                self.release()

    def release(self) -> None:
        with self.lock:
            self.idle = [b for b in self.idle if b.stop - b.start < len(b.mapping)]

    def _remove(self, block: Block) -> None:
        self.idle = [b for b in self.idle if b is not block]


_STORE = _Store()


def empty(
    shape: tuple[int, ...], dtype: torch.dtype = torch.float32, *, planar: bool = False
) -> Tensor:
    """(b, c, i, j, k), not initialised, its channels side by side in memory; planar: one after the other."""
    b, c, i, j, k = shape
    count = math.prod(shape)
    size = count * dtype.itemsize
    if size < SMALLEST:
        form = torch.contiguous_format if planar else torch.channels_last_3d
        return torch.empty(shape, dtype=dtype, memory_format=form)
    block = _STORE.take(-(-size // mmap.PAGESIZE) * mmap.PAGESIZE)
    view = (ctypes.c_char * size).from_buffer(block.mapping, block.start)
    flat = torch.frombuffer(
        view, dtype=dtype, count=count
    )  # keeps the view, and the view the mapping
    weakref.finalize(view, _STORE.put, block).atexit = False
    return flat.view(shape) if planar else flat.view(b, i, j, k, c).permute(0, 4, 1, 2, 3)


def release_memory() -> None:
    """Return to the system what lies idle (of each mapping, all or nothing)."""
    _STORE.release()
