"""Images that were padded by repeating their edges: where the image ends and the padding begins.

Such padding (numpy's mode "edge"; the crops of Learn2Reg's hippocampus) shows streaks that are in no anatomy, but that
correlate well with other streaks. Padding with one value needs no care: it has no structure.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Box = tuple[slice, slice, slice]
LEAST = 2  # repeated slices: one may be chance


def own_box(data: NDArray[np.generic]) -> Box | None:
    """The box of `data` (i, j, k) that is not padding; None where nothing is padded.

    From each face, slices that repeat the next one inwards exactly, and that are not of one value, are padding.
    """
    sides = []
    for axis in range(3):
        slices = np.moveaxis(data, axis, 0)
        n = len(slices)
        low = _repeated(slices)
        high = n - _repeated(slices[::-1]) if low < n - 1 else n
        sides.append(slice(low, high))
    whole = all(side == slice(0, n) for side, n in zip(sides, data.shape, strict=True))
    return None if whole else (sides[0], sides[1], sides[2])


def own_mask(data: NDArray[np.generic]) -> NDArray[np.bool_] | None:
    """(i, j, k) bool, the box of `own_box`; None where nothing is padded."""
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
    padded = LEAST <= count < len(slices) - 1 and slices[0].min() < slices[0].max()
    return count if padded else 0
