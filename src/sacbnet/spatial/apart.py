"""How far two grids are apart, in words."""

from __future__ import annotations

import numpy as np

from .grid import Grid

_SAME_SPACING = 1e-4  # relative
_SAME_DIRECTION = 0.01  # degrees
_SAME_PLACE = 1e-3  # mm


def apart(grid: Grid, other: Grid) -> str:
    """Say by how much a grid differs from another one.

    Parameters
    ----------
    grid : Grid
        The grid at hand.
    other : Grid
        The grid that was expected.

    Returns
    -------
    str
        What differs: shape, spacing, direction of the axes (as an angle), centre (in mm).

    Examples
    --------
    >>> import numpy as np
    >>> one = Grid((10, 10, 10), np.eye(4))
    >>> apart(one.cropped([0, 0, 2], [10, 10, 10]), one)
    'shape 10 x 10 x 8 instead of 10 x 10 x 10, centre 1 mm off'
    """
    said = []
    if grid.shape != other.shape:
        said.append(f"shape {_times(grid.shape)} instead of {_times(other.shape)}")
    if not np.allclose(grid.spacing, other.spacing, rtol=_SAME_SPACING, atol=0):
        said.append(f"spacing {_times(grid.spacing)} mm instead of {_times(other.spacing)} mm")
    u, _, vt = np.linalg.svd(grid.direction @ np.linalg.inv(other.direction))
    turn = u @ vt
    if np.linalg.det(turn) < 0:
        said.append("axes mirrored")
    angle = float(np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))))
    if np.linalg.det(turn) > 0 and angle > _SAME_DIRECTION:
        said.append(f"axes turned by {angle:.3g} degrees")
    shift = float(np.linalg.norm(grid.centre - other.centre))
    if shift > _SAME_PLACE:
        said.append(f"centre {shift:.3g} mm off")
    if not said:
        corners = np.linalg.norm(grid.corners - other.corners, axis=1).max()
        said.append(f"corners up to {corners:.2g} mm off")
    return ", ".join(said)


def _times(numbers: object) -> str:
    return " x ".join(f"{n:.4g}" for n in np.asarray(numbers))
