"""How far two grids are apart, in words."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sacbnet.spatial.apart import apart
from sacbnet.spatial.grid import Grid

ONE = Grid((20, 30, 10), np.diag([1.0, 1.5, 2, 1]))


def moved(turn=(0, 0, 0), scale=(1, 1, 1), shift=(0, 0, 0)) -> Grid:
    """The grid turned by degrees and scaled about its centre, and shifted."""
    affine = np.eye(4)
    affine[:3, :3] = (
        Rotation.from_euler("xyz", turn, degrees=True).as_matrix()
        @ ONE.affine[:3, :3]
        @ np.diag(scale)
    )
    affine[:3, 3] = ONE.centre + shift - affine[:3, :3] @ ((np.array(ONE.shape) - 1) / 2)
    return Grid(ONE.shape, affine)


@pytest.mark.parametrize(
    "other, words",
    [
        (moved(shift=(3, 0, 4)), "centre 5 mm off"),
        (moved(turn=(0, 0, 12.5)), "axes turned by 12.5 degrees"),
        (moved(turn=(0, 180, 0)), "axes turned by 180 degrees"),
        (moved(scale=(1, 1, 1.1)), "spacing 1 x 1.5 x 2.2 mm instead of 1 x 1.5 x 2 mm"),
        (moved(scale=(-1, 1, 1)), "axes mirrored"),
        (
            moved((0, 5, 0), (1, 2, 1), (0, 7, 0)),
            "spacing 1 x 3 x 2 mm instead of 1 x 1.5 x 2 mm,"
            " axes turned by 5 degrees, centre 7 mm off",
        ),
        (
            Grid((20, 30, 9), ONE.affine),
            "shape 20 x 30 x 9 instead of 20 x 30 x 10, centre 1 mm off",
        ),
        (moved(turn=(0, 0.005, 0)), "corners up to 0.0011 mm off"),
    ],
)
def test_what_differs_is_said(other, words):
    assert apart(other, ONE) == words
