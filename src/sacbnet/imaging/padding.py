"""Images that were padded by repeating their edges: where the image ends and the padding begins.

Such padding (numpy's mode "edge"; the crops of Learn2Reg's hippocampus) shows streaks that are not
anatomy, but that correlate well with other streaks. Padding with one value has no structure, so it
needs no care.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Box = tuple[slice, slice, slice]
_LEAST = 2  # repeated slices: one may be chance


def box_between(
    data: NDArray[np.generic], ends: Callable[[NDArray[np.generic]], int]
) -> Box | None:
    """Find the box that is left without the slices at both ends of each axis.

    Parameters
    ----------
    data : ndarray, shape (i, j, k)
        The image.
    ends : callable
        Counts how many of the first slices, along the first axis of an array, are left out.

    Returns
    -------
    tuple of slice, or None
        The box along the three axes; None if nothing is left out.
    """
    sides = []
    for axis in range(3):
        slices = np.moveaxis(data, axis, 0)
        n = len(slices)
        low = ends(slices)
        high = n - ends(slices[::-1]) if low < n - 1 else n
        sides.append(slice(low, high))
    whole = all(side == slice(0, n) for side, n in zip(sides, data.shape, strict=True))
    return None if whole else (sides[0], sides[1], sides[2])


def own_box(data: NDArray[np.generic]) -> Box | None:
    """Find the box that is not padding.

    Padding is, from each face inwards, the slices that repeat the next slice exactly and that are
    not of one value.

    Parameters
    ----------
    data : ndarray, shape (i, j, k)
        The image.

    Returns
    -------
    tuple of slice, or None
        The box along the three axes; None if nothing is padded.
    """
    return box_between(data, _repeated)


def own_mask(data: NDArray[np.generic]) -> NDArray[np.bool_] | None:
    """Find the voxels that are not padding.

    Parameters
    ----------
    data : ndarray, shape (i, j, k)
        The image.

    Returns
    -------
    ndarray of bool, shape (i, j, k), or None
        True inside the box of `own_box`; None if nothing is padded.
    """
    box = own_box(data)
    if box is None:
        return None
    mask = np.zeros(data.shape, dtype=bool)
    mask[box] = True
    return mask


def _repeated(slices: NDArray[np.generic]) -> int:
    """How many of the first slices repeat the one after them."""
    count = 0
    while count + 1 < len(slices) and np.array_equal(slices[count], slices[count + 1]):
        count += 1
    padded = _LEAST <= count < len(slices) - 1 and slices[0].min() < slices[0].max()
    return count if padded else 0
