"""The first poses of the search: near the headers, by turns of the cube, along cut bodies."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np

from .bounds import Array
from .lattice import Lattice
from .models import Frame
from .poses import spread

_STEP = 0.15  # step of the shifts along a body, as a share of the shorter body
_LEAST_OVERLAP = 0.25  # of the shorter body, at the end of the shifts
_WIGGLE_DEG = (-20.0, 0.0, 20.0)  # turns of the shifted poses about each axis
_PARALLEL = 0.9  # axes whose cosine is larger count as one


def cube_turns() -> list[Array]:
    """List the 24 turns that bring a cube onto itself, the identity first.

    Returns
    -------
    list of array, shape (3, 3)
        Rotation matrices of 0, 1 and -1.

    Examples
    --------
    >>> len(cube_turns())
    24
    """
    turns = []
    for axes in permutations(range(3)):
        for signs in product((1.0, -1.0), repeat=3):
            turn = np.zeros((3, 3))
            turn[range(3), axes] = signs
            if np.linalg.det(turn) > 0:
                turns.append(turn)
    return turns


def near_headers(
    frame: Frame,
    fixed: Lattice,
    moving: Lattice,
    mass: Array,
    turns_deg: tuple[float, ...],
    scales: tuple[float, ...],
) -> list[Array]:
    """List poses that turn by at most a quarter about each axis; the identity comes first.

    The centre of the fixed object goes to one of three places: where the headers put it, to the
    moving object's centre of mass, or by the shift between the centres of the two boxes. Where a
    body is cut, it also goes to places along the body.

    Parameters
    ----------
    frame : Frame
        Position and size of the fixed object.
    fixed, moving : Lattice
        The images.
    mass : array, shape (3,)
        The moving object's centre of mass (mm, RAS).
    turns_deg, scales : tuple of float
        Angles about each axis, in degrees, and scales. All are combined.

    Returns
    -------
    list of array, shape (4, 4)
        The poses.
    """
    boxes = frame.centre + moving.grid.centre - fixed.grid.centre
    poses = [np.eye(4), *spread(frame, [frame.centre, mass, boxes], turns_deg, scales)]
    for along, shifts in _shifts(fixed, moving):
        start = boxes @ along
        for across in (frame.centre, boxes):
            line = across + (start - across @ along) * along
            places = [line + s * along for s in shifts]
            poses += spread(frame, places, _WIGGLE_DEG, scales)
    return poses


def turned(
    frame: Frame, fixed: Lattice, moving: Lattice, mass: Array, scales: tuple[float, ...]
) -> list[Array]:
    """List poses by the 23 turns of a cube that turn something, for headers that are wrong.

    Parameters
    ----------
    frame : Frame
        Position and size of the fixed object.
    fixed, moving : Lattice
        The images.
    mass : array, shape (3,)
        The moving object's centre of mass (mm, RAS).
    scales : tuple of float
        Scales.

    Returns
    -------
    list of array, shape (4, 4)
        The poses.
    """
    poses = []
    lines = _shifts(fixed, moving)
    for turn in cube_turns()[1:]:
        boxes = moving.grid.centre + turn @ (frame.centre - fixed.grid.centre)
        for scale in scales:
            poses += [frame.about(scale * turn, place) for place in (mass, boxes)]
        for along, shifts in lines:
            poses += [frame.about(scales[0] * turn, boxes + s * along) for s in shifts if s]
    return poses


def _shifts(fixed: Lattice, moving: Lattice) -> list[tuple[Array, Array]]:
    """Directions in which a body is cut (world, unit), and shifts along them in mm."""
    found: list[tuple[Array, Array]] = []
    for lattice in (moving, fixed):
        for axis in np.flatnonzero(lattice.cut.any(axis=0)):
            along = lattice.grid.direction[:, axis]
            if any(abs(along @ other) > _PARALLEL for other, _ in found):
                continue
            lengths = [_length(x, along) for x in (fixed, moving)]
            reach = sum(lengths) / 2 - _LEAST_OVERLAP * min(lengths)
            count = int(np.ceil(reach / (_STEP * min(lengths))))
            found.append((along, np.linspace(-reach, reach, 2 * min(count, 12) + 1)))
    return found


def _length(lattice: Lattice, along: Array) -> float:
    size = np.array(lattice.grid.shape) * lattice.grid.spacing
    return float(np.abs(lattice.grid.direction.T @ along) @ size)
