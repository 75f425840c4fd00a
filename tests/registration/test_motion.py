"""Shifts far below a voxel are measured between images on unlike lattices."""

from __future__ import annotations

import numpy as np
import pytest

from sacbnet.imaging.image import Image
from sacbnet.registration.motion import motion_between
from sacbnet.spatial.grid import Grid


def image(
    shape=(40, 36, 33), spacing: float = 1.0, moved=(0.0, 0.0, 0.0), local: float = 0.0
) -> Image:
    """A smooth body, known at every point, so that nothing is interpolated."""
    at = np.indices(shape).transpose(1, 2, 3, 0) * spacing - (19, 17, 16) - np.asarray(moved)
    x, y, z = np.moveaxis(at, -1, 0)
    x = x - local * np.exp(-((x - 5) ** 2 + y**2 + z**2) / 18)
    body = 1 / (1 + np.exp(np.sqrt(x**2 + y**2 + z**2) - 13))
    data = 100 * body * (1 + 0.4 * np.sin(x / 3) * np.cos(y / 4) * np.sin(z / 3.5 + 1))
    return Image(data.astype(np.float32), Grid(shape, np.diag([spacing] * 3 + [1.0])))


@pytest.mark.parametrize("moved", [(0.0, 0.0, 0.0), (0.03, 0, 0), (0, 0.1, -0.1), (0.2, 0.2, 0.2)])
@pytest.mark.parametrize("spacing", [0.8, 1.25])
def test_a_shift_is_measured(moved, spacing):
    shape = tuple(round(n / spacing) for n in (40, 36, 33))
    found = motion_between(image(), image(shape, spacing, moved))
    assert found is not None
    assert found.mean == pytest.approx(np.linalg.norm(moved), abs=0.08)  # interpolation
    assert found.explained > 0.99 and found.least_explained > 0.99


def test_a_local_shift_is_the_largest_one():
    still, found = (
        motion_between(image(), image((50, 45, 41), 0.8, local=local)) for local in (0.0, 2.0)
    )
    assert still is not None and found is not None
    assert found.largest > 2 * still.largest and found.mean < 2 * still.mean


def test_other_images_are_not_explained():
    other = image((50, 45, 41), 0.8)
    rng = np.random.default_rng(0)
    found = motion_between(image(), Image(rng.random(other.data.shape, np.float32), other.grid))
    assert found is None or found.explained < 0.5
    empty = Image(np.zeros((20, 20, 20), np.float32), Grid((20, 20, 20), np.eye(4)))
    assert motion_between(empty, other) is None
