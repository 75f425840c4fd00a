"""TODO-DOC sacbnet.metrics.landmarks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sacbnet.errors import InputError
from sacbnet.spatial.transforms import PointMap


def target_registration_error(
    transform: PointMap, fixed_points: NDArray[np.floating], moving_points: NDArray[np.floating]
) -> NDArray[np.float64]:
    """|transform(p_fixed) - p_moving| in mm, for each pair of landmarks: world points (n, 3), mm RAS, both -> (n,).

    transform: world of the fixed image -> world of the moving image, where the distance is taken. Raises InputError
    for points that do not come in pairs.
    """
    fixed_points, moving_points = (
        np.asarray(fixed_points, np.float64),
        np.asarray(moving_points, np.float64),
    )
    if (
        fixed_points.shape != moving_points.shape
        or fixed_points.ndim != 2
        or fixed_points.shape[1] != 3
    ):
        raise InputError(
            f"points of shapes {fixed_points.shape} and {moving_points.shape} were given; two of one shape (n, 3) were"
            " expected: row n of both is the same landmark"
        )
    return np.linalg.norm(transform(fixed_points) - moving_points, axis=1)
