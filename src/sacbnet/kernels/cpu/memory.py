"""Memory for the results of the kernels, which is used again and again.

The C library returns every large block to the system at once, and the next block is mapped again
page by page. A fresh page costs more time than the share of a convolution that fills it: half the
time of a full forward pass went there. Here a block that no tensor uses waits for the next request.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import threading
import weakref
from typing import Any, NamedTuple

import torch
from torch import Tensor

SMALLEST = 1 << 20  # bytes; the C library serves smaller blocks well
KEPT = 1 << 30  # bytes that may lie idle
# a forked process has its own copy; Windows has neither forks nor flags
_FLAGS = getattr(mmap, "MAP_PRIVATE", 0) | getattr(mmap, "MAP_ANONYMOUS", 0)
PRIVATE: dict[str, Any] = {"flags": _FLAGS} if _FLAGS else {}


class _Block(NamedTuple):
    """Bytes start..stop of a mapping."""

    mapping: mmap.mmap
    start: int
    stop: int


class _Store:
    """Idle blocks. A request takes the smallest block that fits; the rest stays idle.

    Neighbouring idle blocks are joined.
    """

    def __init__(self) -> None:
        self.idle: list[_Block] = []
        # tensors may be freed in any thread, also while a block is taken
        self.lock = threading.RLock()

    def take(self, size: int) -> _Block:
        with self.lock:
            fitting = [block for block in self.idle if block.stop - block.start >= size]
            if not fitting:
                return _Block(self._mapped(size), 0, size)
            block = min(fitting, key=lambda b: b.stop - b.start)
            self._remove(block)
            taken = _Block(block.mapping, block.start, block.start + size)
            if taken.stop < block.stop:
                self.idle.append(_Block(block.mapping, taken.stop, block.stop))
            return taken

    def put(self, block: _Block) -> None:
        with self.lock:
            for other in [b for b in self.idle if b.mapping is block.mapping]:
                if other.stop == block.start or block.stop == other.start:
                    self._remove(other)
                    block = _Block(
                        block.mapping, min(block.start, other.start), max(block.stop, other.stop)
                    )
            self.idle.append(block)
            if sum(b.stop - b.start for b in self.idle) > KEPT:
                self.release()

    def release(self) -> None:
        with self.lock:
            self.idle = [b for b in self.idle if b.stop - b.start < len(b.mapping)]

    def _mapped(self, size: int) -> mmap.mmap:
        """New memory from the system, if need be after idle memory has been returned to it."""
        try:
            return mmap.mmap(-1, size, **PRIVATE)
        except OSError:
            self.release()
        try:
            return mmap.mmap(-1, size, **PRIVATE)
        except OSError as error:
            raise MemoryError(
                f"the system has no {size / 2**20:.0f} MiB of memory for the result of a kernel; "
                "close other programs, or use smaller images"
            ) from error

    def _remove(self, block: _Block) -> None:
        self.idle = [b for b in self.idle if b is not block]


_STORE = _Store()


def empty(
    shape: tuple[int, ...], dtype: torch.dtype = torch.float32, *, planar: bool = False
) -> Tensor:
    """Memory for a volume, not initialised.

    Parameters
    ----------
    shape : tuple of 5 int
        (b, c, i, j, k).
    dtype : torch.dtype, default torch.float32
        Type of the values.
    planar : bool, default False
        False: the channels of a voxel lie side by side (torch.channels_last_3d). True: the channels
        lie one after the other (contiguous).

    Returns
    -------
    Tensor, shape (b, c, i, j, k)
        The volume. Its memory is reused after the last tensor that uses it has gone.

    Raises
    ------
    MemoryError
        If the system has no memory for a volume of 1 MiB or more. torch raises its own RuntimeError
        for a smaller one.
    """
    b, c, i, j, k = shape
    count = math.prod(shape)
    size = count * dtype.itemsize
    if size < SMALLEST:
        form = torch.contiguous_format if planar else torch.channels_last_3d
        return torch.empty(shape, dtype=dtype, memory_format=form)
    block = _STORE.take(-(-size // mmap.PAGESIZE) * mmap.PAGESIZE)
    view = (ctypes.c_char * size).from_buffer(block.mapping, block.start)
    # the tensor keeps the view, and the view keeps the mapping
    flat = torch.frombuffer(view, dtype=dtype, count=count)
    weakref.finalize(view, _STORE.put, block).atexit = False
    return flat.view(shape) if planar else flat.view(b, i, j, k, c).permute(0, 4, 1, 2, 3)


def release_memory() -> None:
    """Return idle memory to the system; of each mapping, all or nothing."""
    _STORE.release()
