"""Distances between the surfaces of labels, in mm (docs/metrics.md)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sacbnet.errors import GridError, InputError
from sacbnet.imaging.labels import counts, numbered


def hausdorff95(
    moved: NDArray[np.integer],
    fixed: NDArray[np.integer],
    labels: Sequence[int] | None = None,
    spacing_mm: Sequence[float] = (1.0, 1.0, 1.0),
) -> dict[int, float]:
    """95th percentile of the Hausdorff distance per label of two label maps of one shape (i, j, k), in mm.

    A border voxel belongs to the label and has one of the six next to it that does not, or lies at the edge of the
    image. From each border voxel of one map the distance to the nearest of the other, between centres; the 95th
    percentile (linear between ranks) of each direction, and of the two the larger. NaN for a label that either map
    lacks: the caller counts them. labels: which to score; None scores every label found in either, without background
    0. Raises GridError for unequal shapes, InputError for a spacing that is not three positive numbers.
    """
    if moved.shape != fixed.shape:
        raise GridError(
            f"label maps of shapes {moved.shape} and {fixed.shape} were given; one shape was expected"
        )
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    if spacing.shape != (moved.ndim,) or not (np.isfinite(spacing) & (spacing > 0)).all():
        raise InputError(
            f"the spacing is {spacing_mm}; {moved.ndim} positive numbers in mm were expected"
        )
    asked = (
        sorted((counts(moved).keys() | counts(fixed).keys()) - {0})
        if labels is None
        else list(labels)
    )
    out = {}
    boxes = (ndimage.find_objects(numbered(x, asked), max_label=len(asked)) for x in (moved, fixed))
    for label, a, b in zip(asked, *boxes, strict=True):
        out[int(label)] = float("nan")
        if a is not None and b is not None:
            box = tuple(
                slice(min(s.start, t.start), max(s.stop, t.stop)) for s, t in zip(a, b, strict=True)
            )
            out[int(label)] = _between(moved[box] == label, fixed[box] == label, spacing)
    return out


def _between(a: NDArray[np.bool_], b: NDArray[np.bool_], spacing: NDArray[np.float64]) -> float:
    """Of two masks in a box that holds both: all that counts is inside it."""
    of_a, of_b = _border(a), _border(b)
    directed = [
        np.percentile(ndimage.distance_transform_edt(~to, sampling=spacing)[start], 95)
        for start, to in ((of_a, of_b), (of_b, of_a))
    ]
    return float(max(directed))


def _border(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return mask & ~ndimage.binary_erosion(mask)
