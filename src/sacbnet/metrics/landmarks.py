"""Target registration error: distances at corresponding landmarks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sacbnet.errors import InputError
from sacbnet.spatial.transforms import PointMap


def target_registration_error(
    transform: PointMap, fixed_points: NDArray[np.floating], moving_points: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Measure the error at landmarks, ``|transform(p_fixed) - p_moving|``.

    Parameters
    ----------
    transform : callable
        World points of the fixed image (n, 3) -> world points of the moving image (n, 3), where the
        distance is taken.
    fixed_points, moving_points : array, shape (n, 3)
        World points in mm RAS; row n of both is the same landmark.

    Returns
    -------
    array, shape (n,)
        Distances in mm.

    Raises
    ------
    InputError
        For points that do not come in pairs.

    Examples
    --------
    >>> from sacbnet.spatial.transforms import Affine
    >>> float(target_registration_error(Affine(), np.zeros((1, 3)), np.array([[0, 3, 4]]))[0])
    5.0
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
            f"points of shapes {fixed_points.shape} and {moving_points.shape} were given; two of"
            " one shape (n, 3) were expected: row n of both is the same landmark"
        )
    return np.asarray(np.linalg.norm(transform(fixed_points) - moving_points, axis=1))
