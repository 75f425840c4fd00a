"""Counting and numbering the labels of a map: by table where they lie close together, which no sorting can match."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

TABLE = 1 << 16  # span of labels up to which a table is made


def counts(labels: NDArray[np.integer]) -> dict[int, int]:
    """Label -> number of its voxels, for those found, in ascending order; any shape, any whole-number type or bool."""
    above, low, high = _above_lowest(labels)
    if above is None:
        values, numbers = np.unique(labels, return_counts=True)
        return dict(zip(values.tolist(), numbers.tolist(), strict=True))
    numbers = np.bincount(above, minlength=high - low + 1)
    return {low + int(n): int(numbers[n]) for n in np.flatnonzero(numbers)}


def numbered(labels: NDArray[np.integer], asked: Sequence[int]) -> NDArray[np.int32]:
    """1, 2, ... for the first, second, ... label asked for, 0 for all others; of the shape of `labels`."""
    above, low, high = _above_lowest(labels)
    if above is None:
        values, where = np.unique(labels, return_inverse=True)
        table = _table(values.tolist(), asked)
        return table[where].reshape(labels.shape)
    return _table(range(low, high + 1), asked)[above].reshape(labels.shape)


def _table(values: Sequence[int], asked: Sequence[int]) -> NDArray[np.int32]:
    number = {label: n for n, label in enumerate(asked, start=1)}
    return np.array([number.get(v, 0) for v in values], dtype=np.int32)


def _above_lowest(labels: NDArray[np.integer]) -> tuple[NDArray[np.integer] | None, int, int]:
    """Labels less the lowest (or less 0 where that is near), flat, or None where they span too much; what was taken
    off; the highest."""
    flat = labels.ravel()
    if flat.dtype == bool:
        flat = flat.view(np.uint8)
    if not flat.size:
        return None, 0, 0
    low, high = int(flat.min()), int(flat.max())
    if flat.dtype.kind not in "iu" or high - low >= TABLE:
        return None, low, high
    if low >= 0 and high < TABLE:  # no number has to be lowered, and what takes them widens them
        return flat if flat.dtype.itemsize < 8 else flat.astype(np.intp, copy=False), 0, high
    # in types of fewer bits the difference could overflow; in 64 it cannot, for the span is small
    wide = flat.astype(np.uint64 if flat.dtype.kind == "u" else np.int64, copy=False)
    return (wide - wide.dtype.type(low)).astype(np.intp, copy=False), low, high
