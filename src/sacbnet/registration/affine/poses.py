"""Where the search begins: poses spread over all turns, scored at a glance, the best of them far enough apart."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from .models import Frame

Array = NDArray[np.float64]
SAME_MM = 1.0  # a shift nearer to an earlier one would only double the work


def spread(
    frame: Frame, images: Sequence[Array], turns_deg: Sequence[float], scales: Sequence[float]
) -> list[Array]:
    """4x4 of every turn (by each of the angles about each axis), scale, and image (3,) of the object's centre."""
    from scipy.spatial.transform import Rotation  # not for those who align nothing

    apart = [
        s for n, s in enumerate(images) if all(np.linalg.norm(s - t) > SAME_MM for t in images[:n])
    ]
    turns = [
        Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
        for angles in product(turns_deg, repeat=3)
    ]
    return [
        frame.about(scale * turn, image) for image, scale, turn in product(apart, scales, turns)
    ]


def best_apart(
    scored: Sequence[tuple[float, Array]], count: int, distance: float, frame: Frame
) -> list[Array]:
    """The `count` of largest score of which none is within `distance` (mm) of a better one; best first."""
    kept: list[Array] = []
    for _, matrix in sorted(scored, key=lambda s: -s[0]):
        if all(frame.apart(matrix, k) > distance for k in kept):
            kept.append(matrix)
            if len(kept) == count:
                break
    return kept
