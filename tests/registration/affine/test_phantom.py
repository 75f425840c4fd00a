"""A whole head at the ends of the range of poses, prepared as `register` does it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sacbnet.data.phantom import PhantomPair, make_pair
from sacbnet.imaging.image import Image
from sacbnet.registration.affine import align
from sacbnet.registration.inputs import Inputs
from sacbnet.registration.prepare import prepare
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine


@cache
def phantom() -> PhantomPair:
    return make_pair(1, peak_mm=0)


def posed(image: Image, angles, shift, scale) -> tuple[Image, Affine]:
    """The image with its header turned (degrees) and scaled about its centre, and shifted (mm)."""
    matrix, centre = np.eye(4), image.grid.centre
    matrix[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * scale
    matrix[:3, 3] = centre + shift - matrix[:3, :3] @ centre
    pose = Affine(matrix)
    return replace(
        image, grid=Grid(image.grid.shape, (pose @ Affine(image.grid.affine)).matrix)
    ), pose


def error_mm(moving: Image, pose: Affine) -> float:
    pair = prepare(Inputs(phantom().fixed, moving).canonical(), spacing=2.0)
    points = phantom().landmarks
    found = align(pair.fixed, pair.moving, "affine")
    return float(np.linalg.norm(found(points) - pose(phantom().true_map(points)), axis=-1).mean())


@pytest.mark.parametrize(
    "angles, shift, scale",
    [
        ((30, 30, 30), (40, -40, 40), 0.85),
        ((-30, 30, -30), (-40, -40, -40), 1.15),
        ((30, -30, -30), (-40, 40, 40), 1.15),
    ],
)
def test_the_ends_of_the_range(angles, shift, scale):
    assert error_mm(*posed(phantom().moving, angles, shift, scale)) < 1.5


def test_another_contrast_at_the_end_of_the_range():
    moving, pose = posed(phantom().moving, (-30, -30, 30), (40, 40, -40), 0.85)
    data, top = moving.data, float(moving.data.max())
    inverted = np.where(data > 0.1 * top, 1.1 * top - data, 0).astype(np.float32)
    assert error_mm(replace(moving, data=inverted), pose) < 2


def test_a_part_of_the_head():
    """The moving image lacks the upper third of the head.

    Its upper face cuts through the head, and the space beyond that face does not count.
    """
    grid = phantom().moving.grid
    up = int(np.abs(grid.direction[2]).argmax())
    cut = [slice(None)] * 3
    n = grid.shape[up]
    cut[up] = slice(0, 2 * n // 3) if grid.direction[2, up] > 0 else slice(n // 3, n)
    data = np.ascontiguousarray(phantom().moving.data[tuple(cut)])
    low = [s.start or 0 for s in cut]
    part = Image(data, grid.cropped(low, np.array(low) + data.shape), "part")
    assert error_mm(*posed(part, (20, -20, 20), (30, 30, -30), 1.1)) < 2
