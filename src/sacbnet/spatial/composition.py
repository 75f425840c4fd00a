"""Transforms that consist of several maps: their parts, and one field or affine that is the same.

A transform is an affine, a displacement field, or a chain of these. Parts are written outermost
first, as in `sacbnet.spatial.transforms.chain`.
"""

from __future__ import annotations

import numpy as np

from sacbnet.errors import InputError

from .grid import Grid
from .transforms import Affine, Chain, DisplacementField, PointMap, Transform

AnyTransform = Affine | DisplacementField | Chain


def parts_of(point_map: PointMap) -> tuple[Transform, ...]:
    """List the affines and fields of a transform.

    Parameters
    ----------
    point_map : Affine, DisplacementField or Chain
        The transform.

    Returns
    -------
    tuple of Affine or DisplacementField
        Its parts, outermost first. Neighbouring affines are one part; an affine that changes
        nothing is left out.

    Raises
    ------
    InputError
        If the transform holds anything else.

    Examples
    --------
    >>> shift = Affine.translation([1, 0, 0])
    >>> len(parts_of(Chain((shift, Chain((shift, shift)))))), len(parts_of(Affine()))
    (1, 0)
    """
    if isinstance(point_map, Chain):
        found: list[Transform] = []
        for part in (part for m in point_map.maps for part in parts_of(m)):
            last = found[-1] if found else None
            if isinstance(last, Affine) and isinstance(part, Affine):
                found[-1] = last @ part
            else:
                found.append(part)
        return tuple(part for part in found if not _still(part))
    if isinstance(point_map, (Affine, DisplacementField)):
        return () if _still(point_map) else (point_map,)
    raise InputError(
        f"a {type(point_map).__name__} is no transform; affines and displacement fields were"
        " expected"
    )


def composed(*maps: PointMap) -> AnyTransform:
    """Compose transforms into the simplest form.

    Parameters
    ----------
    *maps : Affine, DisplacementField or Chain
        The transforms, outermost first.

    Returns
    -------
    Affine, DisplacementField or Chain
        An affine if all parts are affine, a field if it is the only part, else a chain.

    Raises
    ------
    InputError
        If a map is none of these.
    """
    parts = parts_of(Chain(maps))
    if not parts:
        return Affine()
    return parts[0] if len(parts) == 1 else Chain(parts)


def densely(point_map: PointMap, grid: Grid) -> DisplacementField:
    """Give any transform as one displacement field.

    Parameters
    ----------
    point_map : callable
        The transform.
    grid : Grid
        Where the field is wanted. A sheared grid, which ITK cannot hold, is covered by an upright
        one.

    Returns
    -------
    DisplacementField
        The transform itself if it lies on this grid, else the transform at the grid's voxels.
    """
    grid = grid.orthogonal()
    if isinstance(point_map, DisplacementField) and point_map.grid == grid:
        return point_map
    return DisplacementField.from_map(point_map, grid)


def linear_fit(point_map: PointMap, points: np.ndarray) -> Affine:
    """Find the affine that is nearest to a transform over some points.

    Parameters
    ----------
    point_map : callable
        The transform.
    points : ndarray, shape (n, 3)
        World points, mm; they must not lie in one plane.

    Returns
    -------
    Affine
        The affine with the least squared distance. The transform itself if it is affine.
    """
    if isinstance(point_map, Affine):
        return point_map
    centre = points.mean(axis=0)
    design = np.column_stack([points - centre, np.ones(len(points))])
    found, *_ = np.linalg.lstsq(design, point_map(points), rcond=None)
    matrix = np.eye(4)
    matrix[:3, :3] = found[:3].T
    matrix[:3, 3] = found[3] - found[:3].T @ centre
    return Affine(matrix)


def _still(part: Transform) -> bool:
    return isinstance(part, Affine) and bool((part.matrix == np.eye(4)).all())
