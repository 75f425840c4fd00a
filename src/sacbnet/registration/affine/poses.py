"""The start of the search: poses in all directions, and a choice of the best ones."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from sacbnet.spatial.matrix import rotation

from .models import Frame

Array = NDArray[np.float64]
# Two places of the centre that are nearer than this, in mm, count as one place. A second search
# there would only double the work.
_SAME_MM = 1.0


def spread(
    frame: Frame, images: Sequence[Array], turns_deg: Sequence[float], scales: Sequence[float]
) -> list[Array]:
    """List the poses of every combination of turn, scale and place.

    Parameters
    ----------
    frame : Frame
        Position and size of the fixed object.
    images : sequence of array, shape (3,)
        Places to which the object's centre goes (mm, RAS). A place within 1 mm of an earlier one is
        left out.
    turns_deg : sequence of float
        Angles about each of the three axes, in degrees; all combinations are used.
    scales : sequence of float
        Scales.

    Returns
    -------
    list of array, shape (4, 4)
        The poses, as affines from points of the fixed image to points of the moving image.
    """
    x, y, z = np.eye(3)
    apart = [
        s for n, s in enumerate(images) if all(np.linalg.norm(s - t) > _SAME_MM for t in images[:n])
    ]
    turns = [
        rotation(c * z) @ rotation(b * y) @ rotation(a * x)
        for a, b, c in product(np.deg2rad(turns_deg), repeat=3)
    ]
    return [
        frame.about(scale * turn, image) for image, scale, turn in product(apart, scales, turns)
    ]


def best_apart(
    scored: Sequence[tuple[float, Array]], count: int, distance: float, frame: Frame
) -> list[Array]:
    """Choose the best poses that are not too near to each other.

    Parameters
    ----------
    scored : sequence of (float, array of shape (4, 4))
        Scores and poses.
    count : int
        Largest number of poses to choose.
    distance : float
        Least distance in mm, in the sense of `Frame.apart`, from every better pose.
    frame : Frame
        Position and size of the fixed object.

    Returns
    -------
    list of array, shape (4, 4)
        The chosen poses, the best first.
    """
    kept: list[Array] = []
    for _, matrix in sorted(scored, key=lambda s: -s[0]):
        if all(frame.apart(matrix, k) > distance for k in kept):
            kept.append(matrix)
            if len(kept) == count:
                break
    return kept
