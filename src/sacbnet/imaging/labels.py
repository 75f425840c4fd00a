"""Count and renumber the labels of a map.

If the labels lie close together, a table gives the answer, much faster than sorting.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_TABLE = 1 << 16  # a table is made if the labels span less than this


def counts(labels: NDArray[np.integer]) -> dict[int, int]:
    """Count the voxels of each label.

    Parameters
    ----------
    labels : ndarray of integers or bool
        A label map of any shape.

    Returns
    -------
    dict of int to int
        Label to number of voxels, for the labels that occur, in ascending order.

    Examples
    --------
    >>> import numpy as np
    >>> counts(np.array([0, 3, 3, 7]))
    {0: 1, 3: 2, 7: 1}
    """
    above, low, high = _above_lowest(labels)
    if above is None:
        values, numbers = np.unique(labels, return_counts=True)
        return dict(zip(values.tolist(), numbers.tolist(), strict=True))
    numbers = np.bincount(above, minlength=high - low + 1)
    return {low + int(n): int(numbers[n]) for n in np.flatnonzero(numbers)}


def numbered(labels: NDArray[np.integer], asked: Sequence[int]) -> NDArray[np.int32]:
    """Renumber labels.

    Parameters
    ----------
    labels : ndarray of integers or bool
        A label map of any shape.
    asked : sequence of int
        The labels that become 1, 2, ... in this order.

    Returns
    -------
    ndarray of int32, shape of `labels`
        The numbers; 0 for all other labels.

    Examples
    --------
    >>> import numpy as np
    >>> numbered(np.array([0, 3, 3, 7]), (7, 3)).tolist()
    [0, 2, 2, 1]
    """
    above, low, high = _above_lowest(labels)
    if above is None:
        values, where = np.unique(labels, return_inverse=True)
        table = _table(values.tolist(), asked)
        return table[where].reshape(labels.shape)
    found: NDArray[np.int32] = _table(range(low, high + 1), asked)[above]
    return found.reshape(labels.shape)


def _table(values: Sequence[int], asked: Sequence[int]) -> NDArray[np.int32]:
    number = {label: n for n, label in enumerate(asked, start=1)}
    return np.array([number.get(v, 0) for v in values], dtype=np.int32)


def _above_lowest(labels: NDArray[np.integer]) -> tuple[NDArray[np.integer] | None, int, int]:
    """Labels minus an offset, flat; the offset; the highest label.

    The offset is the lowest label, or 0 if that is near. None instead of the labels if they span
    too much for a table.
    """
    flat = labels.ravel()
    if flat.dtype == bool:
        flat = flat.view(np.uint8)
    if not flat.size:
        return None, 0, 0
    low, high = int(flat.min()), int(flat.max())
    if flat.dtype.kind not in "iu" or high - low >= _TABLE:
        return None, low, high
    if low >= 0 and high < _TABLE:  # no offset is needed, and indexing accepts small types
        return flat if flat.dtype.itemsize < 8 else flat.astype(np.intp, copy=False), 0, high
    # in types of fewer bits the difference could overflow; in 64 it cannot, for the span is small
    wide = flat.astype(np.uint64 if flat.dtype.kind == "u" else np.int64, copy=False)
    return (wide - wide.dtype.type(low)).astype(np.intp, copy=False), low, high
