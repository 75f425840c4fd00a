"""How much memory a file may ask for: no more than its own size can hold, and than is free."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sacbnet.environment import free_memory_bytes
from sacbnet.errors import InputError

DEFLATE = 1032  # the largest ratio of deflate (gzip, zlib), by its definition
_SLACK = 1 << 16  # bytes; below this a promise does no harm, and the reader says more of it


def check_promise(path: Path, stored: int, loaded: int, ratio: int = 1) -> None:
    """Check what a header promises before anything is allocated for it.

    Parameters
    ----------
    path : Path
        The file that holds the voxels.
    stored : int
        Bytes of the voxels as the file stores them, after unpacking.
    loaded : int
        Bytes of the voxels in memory.
    ratio : int, default 1
        Largest ratio of unpacked to stored bytes.

    Raises
    ------
    InputError
        If the file is too short to hold the voxels, or if they do not fit into the free memory.
    """
    size = path.stat().st_size
    if stored > size * ratio + _SLACK:
        raise InputError(
            f"{path} cannot be read: damaged, cut short or not an image (its header promises"
            f" {stored} bytes of voxels, the file has {size})"
        )
    free = free_memory_bytes()
    if loaded > free:
        raise InputError(
            f"{path} does not fit into the memory: its voxels need {loaded / 2**30:.1f} GiB,"
            f" {free / 2**30:.1f} GiB are free; use a machine with more memory, or crop the image"
        )


def count_of(shape: NDArray[np.generic] | tuple[int, ...]) -> int:
    """Multiply the sizes of a shape without overflow.

    Parameters
    ----------
    shape : ndarray or tuple of int
        Sizes.

    Returns
    -------
    int
        Number of voxels; negative sizes count as 0.
    """
    found = 1
    for size in shape:
        found *= max(int(size), 0)
    return found
