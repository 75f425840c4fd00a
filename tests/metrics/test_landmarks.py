"""The error at landmarks, for maps that are known."""

from __future__ import annotations

import numpy as np
import pytest

from sacbnet.errors import InputError
from sacbnet.metrics.landmarks import target_registration_error
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine, DisplacementField


def test_error_at_landmarks_is_in_mm_of_the_moving_world():
    fixed = np.random.default_rng(0).uniform(-50, 50, (9, 3))
    affine = Affine(np.array([[2, 0, 0, 5], [0, 0, -1, 0], [0, 1, 0, -7], [0, 0, 0, 1]], float))
    np.testing.assert_allclose(
        target_registration_error(affine, fixed, affine(fixed)), 0, atol=1e-12
    )
    off = np.array([3.0, 0.0, -4.0])
    np.testing.assert_allclose(target_registration_error(affine, fixed, affine(fixed) + off), 5)
    np.testing.assert_allclose(target_registration_error(Affine(), fixed, fixed - [0, 2, 0]), 2)


def test_error_at_landmarks_through_a_displacement():
    """Linear in space, so that interpolation is exact; voxels of 2, 1 and 1.5 mm."""
    grid = Grid(
        (8, 9, 10), np.array([[-2, 0, 0, 7], [0, 1, 0, -3], [0, 0, 1.5, 2], [0, 0, 0, 1]], float)
    )
    points = grid.world(np.random.default_rng(1).uniform(0, 7, (20, 3)))
    transform = DisplacementField.from_map(lambda p: 1.1 * p + [1, -2, 0.5], grid)
    errors = target_registration_error(transform, points, 1.1 * points + [1, -2, 0.5 + 0.25])
    np.testing.assert_allclose(errors, 0.25, atol=1e-4)


def test_landmarks_come_in_pairs():
    for fixed, moving in (((4, 3), (5, 3)), ((3,), (3,)), ((4, 2), (4, 2))):
        with pytest.raises(InputError, match="same landmark"):
            target_registration_error(Affine(), np.zeros(fixed), np.zeros(moving))
