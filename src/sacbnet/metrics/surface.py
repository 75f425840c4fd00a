"""Distances between the surfaces of labels, in mm."""

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
    """Compute the 95th percentile of the Hausdorff distance of each label of two label maps.

    A border voxel belongs to the label, and one of its six neighbours does not or lies outside the
    image. From each border voxel of one map the distance to the nearest border voxel of the other
    map is measured, between centres. The result is the larger of the 95th percentiles (linear
    between ranks) of both directions.

    Parameters
    ----------
    moved, fixed : array of int, shape (i, j, k)
        The label maps, on one grid.
    labels : sequence of int, optional
        Labels to score. None means all labels of either map but the background 0.
    spacing_mm : sequence of 3 float, default (1, 1, 1)
        Voxel size along each axis, in mm.

    Returns
    -------
    dict
        Label -> distance in mm; NaN for a label that either map lacks. The caller counts these
        labels.

    Raises
    ------
    GridError
        For unequal shapes.
    InputError
        For a spacing that is not three positive numbers.
    """
    if moved.shape != fixed.shape:
        raise GridError(
            f"label maps of shapes {moved.shape} and {fixed.shape} were given; one shape was"
            " expected"
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
    """The distance of two masks in a box that holds both; nothing outside it counts."""
    of_a, of_b = _border(a), _border(b)
    directed = [
        np.percentile(ndimage.distance_transform_edt(~to, sampling=spacing)[start], 95)
        for start, to in ((of_a, of_b), (of_b, of_a))
    ]
    return float(max(directed))


def _border(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(mask & ~ndimage.binary_erosion(mask))
