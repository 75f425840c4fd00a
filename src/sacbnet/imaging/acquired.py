"""Slices that were not acquired, although the file holds them: slabs of one value at cut anatomy.

Sets with one shape for all images fill the slices beyond a short scan with one value (air, zero).
The border between such a slab and the scan is a flat cut through anatomy, which is no anatomy.
A body that ends by itself, such as a skull-stripped brain in a large box, has no such border: its
slices grow from one to the next, and each has another outline.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .padding import Box, box_between

# a face is cut where more than _CUT_FACE of its voxels lie above CUT_SIGNAL of the intensity range
CUT_SIGNAL, _CUT_FACE = 0.1, 0.1
_CUT_AREA = 0.2  # or where it shows at least this share of the largest slice,
_CUT_SAME = 0.75  # and has this overlap with the outline of the next slice
_FILLED = 0.95  # least share of the fill value in an end slice
_BEGIN = 0.2  # least share of the largest slice that begins at a cut, all at once
_TIMES = 6  # and at least so many times what begins at each of the next two slices


def acquired_box(data: NDArray[np.generic]) -> Box | None:
    """Find the box of the slices that were acquired.

    Slices at the end of an axis were not acquired if they hold one value, apart from remnants of
    single structures, and a flat cut through anatomy ends them: the outline of the slice at the cut
    is that of the next slice, and the slice before it holds much less.

    Parameters
    ----------
    data : ndarray, shape (i, j, k)
        The image.

    Returns
    -------
    tuple of slice, or None
        The box along the three axes; None if all slices were acquired.
    """
    box = box_between(data, _missing)
    return None if box is None or any(side.stop - side.start < 2 for side in box) else box


def cut_faces(shown: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Find the faces of an image that cut through anatomy.

    Beyond such a face anatomy goes on, and nothing is known of it. A face of a tight box only
    touches anatomy, and the background may be noisy. A face is cut if it shows much, or if it
    shows the same outline as the next slice.

    Parameters
    ----------
    shown : bool array, shape (i, j, k)
        The voxels above `CUT_SIGNAL` of the range of intensities.

    Returns
    -------
    ndarray of bool, shape (2, 3)
        Whether the low (first row) and the high face of each axis is cut.
    """
    return np.array([[_is_cut(shown, axis, side) for axis in range(3)] for side in (1, -1)])


def _is_cut(shown: NDArray[np.bool_], axis: int, side: int) -> bool:
    slices = np.moveaxis(shown, axis, 0)[::side]
    if slices[0].mean() > _CUT_FACE:
        return True
    area, largest = slices[0].sum(), slices.reshape(len(slices), -1).sum(axis=1).max()
    if len(slices) < 2 or area < _CUT_AREA * largest:
        return False
    common, either = (slices[0] & slices[1]).sum(), (slices[0] | slices[1]).sum()
    return bool(common >= _CUT_SAME * either)


def _missing(slices: NDArray[np.generic]) -> int:
    """How many of the first slices were not acquired."""
    values, counts = np.unique(slices[0], return_counts=True)
    fill = values[counts.argmax()]
    if counts.max() < _FILLED * slices[0].size:
        return 0
    shown = (slices != fill).reshape(len(slices), -1)
    largest = shown.sum(axis=1).max()
    if not largest:
        return 0
    begins = (shown[1:] & ~shown[:-1]).sum(axis=1)
    for n in range(len(slices) // 2, 0, -1):
        now, later = begins[n - 1], begins[n : n + 2].max()
        inside = slices[n][slices[n] != fill]
        if now >= max(_BEGIN * largest, _TIMES * later) and inside.min() < inside.max():
            return n
    return 0
