"""The mean of maps: no image pulls the template towards itself."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import expm

from sacbnet.cohort.template.shape import Shape, mean_affine, mean_shape, mirror_of
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine, DisplacementField, chain

GRID = Grid((24, 20, 22), np.array([[2.0, 0, 0, -23], [0, 2, 0, 7], [0, 0, 2, -30], [0, 0, 0, 1]]))


def turn(degrees, shift=(0, 0, 0)):
    """A rotation about the first axis."""
    t = np.radians(degrees)
    matrix = np.eye(4)
    matrix[1:3, 1:3] = [[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]]
    matrix[:3, 3] = shift
    return Affine(matrix)


def bump(grid, mm, centre):
    points = grid.world(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1))
    weight = np.exp(-np.sum((points - centre) ** 2, axis=-1) / (2 * 8.0**2))
    return DisplacementField(grid, (weight[..., None] * np.array(mm)).astype(np.float32))


def test_the_mean_of_turns_is_the_turn_between_them_and_stays_rigid():
    mean = mean_affine([turn(-10), turn(50), turn(80)])
    np.testing.assert_allclose(mean.matrix, turn(40).matrix, atol=1e-6)
    rng = np.random.default_rng(0)
    rigid = [turn(a, rng.normal(0, 20, 3)) for a in (-30, 5, 60, 100)]
    linear = mean_affine(rigid).matrix[:3, :3]
    np.testing.assert_allclose(linear @ linear.T, np.eye(3), atol=1e-9)


def test_the_mean_of_sizes_is_geometric():
    mean = mean_affine([Affine(np.diag([x, x, x, 1])) for x in (0.5, 2.0, 8.0)])
    np.testing.assert_allclose(np.diag(mean.matrix), [2, 2, 2, 1], rtol=1e-6)


def test_from_the_mean_the_logarithms_sum_to_zero_in_any_order():
    rng = np.random.default_rng(1)
    made = [rng.normal(0, 0.2, (3, 4)) for _ in range(5)]
    affines = [Affine(expm(np.vstack([m, np.zeros(4)]))) for m in made]
    mean = mean_affine(affines)
    np.testing.assert_allclose(mean_affine(affines[::-1]).matrix, mean.matrix, atol=1e-7)
    np.testing.assert_allclose(  # of a map and its inverse
        mean_affine([affines[0], affines[0].inverse]).matrix, np.eye(4), atol=1e-7
    )


def test_after_the_correction_the_mean_map_is_the_identity():
    """Three images that are the template, moved by known maps whose mean is not the identity."""
    maps = [
        (chain(a, bump(GRID, mm, GRID.centre + off)), a)
        for a, mm, off in (
            (turn(4, (3, 0, 1)), (4, 0, 0), (5, 0, 0)),
            (turn(-1, (1, 2, 0)), (0, 5, -2), (0, 4, 0)),
            (turn(2, (2, 1, -4)), (3, 1, 0), (0, 0, -6)),
        )
    ]
    fields = [(DisplacementField.from_map(m, GRID), a) for m, a in maps]
    shape = mean_shape(fields, GRID)
    assert shape.size_mm > 2
    back = shape.inverse()
    inner = GRID.cropped((5, 5, 5), np.array(GRID.shape) - 5)
    moved = [DisplacementField.from_map(chain(f, back), inner) for f, _ in fields]
    left = np.mean([m.displacement_mm for m in moved], axis=0)
    # not exactly: displacements are averaged behind each image's own affine
    assert np.sqrt(np.mean(np.sum(left**2, axis=-1))) < 0.15


def test_affines_alone_have_no_displacement():
    shape = mean_shape([(None, turn(10)), (None, turn(20))], GRID)
    np.testing.assert_allclose(shape.affine.matrix, turn(15).matrix, atol=1e-7)
    assert not shape.field.displacement_mm.any()


def test_with_mirror_images_the_mean_is_its_own_mirror_image():
    mirror = mirror_of(GRID)
    np.testing.assert_allclose(mirror(GRID.centre), GRID.centre)
    np.testing.assert_allclose((mirror @ mirror).matrix, np.eye(4), atol=1e-12)
    affine = Affine.translation((6, 1, 2)) @ turn(7)
    whole = DisplacementField.from_map(
        chain(affine, bump(GRID, (3, 2, 1), GRID.centre + np.array((9.0, 0, 0)))), GRID
    )
    shape = mean_shape([(whole, affine)], GRID, symmetric=True)
    points = GRID.world(np.random.default_rng(2).uniform(4, 15, (50, 3)))
    np.testing.assert_allclose(mirror(shape(mirror(points))), shape(points), atol=1e-4)
    assert isinstance(shape, Shape) and shape.affine.matrix[0, 3] == pytest.approx(0, abs=1e-6)
