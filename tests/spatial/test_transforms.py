"""Maps of world points: affine, displacement, and their chain."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from sacbnet.errors import GridError, InputError
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine, DisplacementField, chain


def some_affine(seed: int) -> Affine:
    rng = np.random.default_rng(seed)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.random(random_state=seed).as_matrix() @ np.diag(
        rng.uniform(0.7, 1.4, 3)
    )
    matrix[:3, 3] = rng.uniform(-50, 50, 3)
    return Affine(matrix)


def some_field(grid: Grid, seed: int = 0, size: float = 3.0) -> DisplacementField:
    u = np.random.default_rng(seed).normal(scale=size, size=(*grid.shape, 3))
    return DisplacementField(grid, u.astype(np.float32))


def some_points(
    grid: Grid, n: int = 200, low: float = 0.0, high: float = 0.0, seed: int = 5
) -> np.ndarray:
    """Points inside the box of voxel centres, widened by low and high voxels."""
    return grid.world(
        np.random.default_rng(seed).uniform(-low, np.array(grid.shape) - 1 + high, size=(n, 3))
    )


# -- affine ----------------------------------------------------------------------------------------
@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_affine_composes_and_inverts(a, b):
    outer, inner = some_affine(a), some_affine(b)
    points = np.random.default_rng(a).normal(scale=100, size=(7, 3))
    np.testing.assert_allclose((outer @ inner)(points), outer(inner(points)), atol=1e-9)
    np.testing.assert_allclose(outer.inverse(outer(points)), points, atol=1e-9)
    np.testing.assert_allclose((outer @ outer.inverse).matrix, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(
        (outer @ inner).inverse.matrix, (inner.inverse @ outer.inverse).matrix, atol=1e-9
    )


def test_affine_is_a_value():
    matrix = np.eye(4)
    affine = Affine(matrix)
    matrix[0, 3] = 5
    assert (
        affine.matrix[0, 3] == 0
        and not affine.matrix.flags.writeable
        and not affine.inverse.matrix.flags.writeable
    )
    assert (Affine().matrix == np.eye(4)).all()
    with pytest.raises(GridError, match="affine transform is singular"):
        Affine(np.diag([1, 1, 0, 1]))


# -- displacement ----------------------------------------------------------------------------------
def test_field_at_the_voxels(grid):
    field = some_field(grid)
    voxels = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    np.testing.assert_allclose(field.at(grid.world(voxels)), field.displacement_mm, atol=1e-4)
    np.testing.assert_allclose(
        field(grid.world(voxels)), grid.world(voxels) + field.displacement_mm, atol=1e-4
    )


def test_field_is_linear_between_voxels(grid):
    u = some_field(grid).displacement_mm
    field = DisplacementField(grid, u)
    along = 0.25 * u[3, 4, 5] + 0.75 * u[4, 4, 5]
    np.testing.assert_allclose(field.at(grid.world([3.75, 4, 5])), along, atol=1e-5)
    np.testing.assert_allclose(
        field.at(grid.world([3.5, 4.5, 5.5])), u[3:5, 4:6, 5:7].mean(axis=(0, 1, 2)), atol=1e-5
    )


def test_outside_the_nearest_edge_holds(grid):
    field = some_field(grid)
    last = np.array(grid.shape) - 1
    voxels = some_points(Grid(grid.shape, np.eye(4)), 300, low=20, high=20)
    edge = np.clip(voxels, 0, last)
    assert (voxels != edge).any(axis=1).mean() > 0.9
    np.testing.assert_allclose(field.at(grid.world(voxels)), field.at(grid.world(edge)), atol=1e-3)
    np.testing.assert_allclose(
        field.at(grid.world([-1e4, 4, 5])), field.displacement_mm[0, 4, 5], atol=1e-3
    )
    np.testing.assert_allclose(
        field.at(grid.world(last + 99)), field.displacement_mm[-1, -1, -1], atol=1e-4
    )


def test_field_agrees_with_simpleitk_inside(orthogonal_grid, itk_image):
    field = some_field(orthogonal_grid)
    lps = field.displacement_mm.astype(np.float64) * [-1, -1, 1]
    itk = sitk.DisplacementFieldTransform(itk_image(lps, orthogonal_grid))
    for point, ours in zip(p := some_points(orthogonal_grid, 100), field(p), strict=True):
        theirs = np.array(itk.TransformPoint((point * [-1, -1, 1]).tolist())) * [-1, -1, 1]
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_from_map_reproduces_an_affine(grid):
    affine = some_affine(3)
    field = DisplacementField.from_map(affine, grid)
    points = some_points(grid)
    # displacements here are some 100 mm (900 mm for the grid far from the origin) in float32
    np.testing.assert_allclose(field(points), affine(points), atol=5e-4)
    zero = DisplacementField.zeros(grid)
    assert (zero.displacement_mm == 0).all()
    np.testing.assert_array_equal(zero(points), points)


def test_voxels_and_millimetres_there_and_back(grid):
    field = some_field(grid)
    back = DisplacementField.from_voxels(grid, field.displacement_vox())
    np.testing.assert_allclose(back.displacement_mm, field.displacement_mm, atol=1e-5)
    # one voxel along k is the step from one voxel's centre to the next one's
    step = DisplacementField.from_voxels(grid, np.broadcast_to([0.0, 0.0, 1.0], (*grid.shape, 3)))
    np.testing.assert_allclose(step(grid.world([2, 3, 4])), grid.world([2, 3, 5]), atol=1e-4)


def test_displacement_in_voxels_moves_the_index(grid):
    field = some_field(grid)
    index = np.array([4, 2, 7])
    moved = grid.voxels(field(grid.world(index)))
    np.testing.assert_allclose(moved, index + field.displacement_vox()[tuple(index)], atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 6, 7), (5, 1, 7), (5, 6, 1), (1, 1, 1)])
def test_field_on_an_axis_of_one_voxel(shape):
    field = some_field(Grid(shape, np.diag([2.0, 2, 2, 1])))
    points = np.random.default_rng(0).uniform(-5, 20, (50, 3))
    single = [a for a in range(3) if shape[a] == 1]
    flat = points.copy()
    flat[:, single] = 0
    # constant along that axis
    np.testing.assert_allclose(field.at(points), field.at(flat), atol=1e-5)
    np.testing.assert_allclose(field.at(np.zeros(3)), field.displacement_mm[0, 0, 0], atol=1e-6)


def test_field_refuses():
    grid = Grid((2, 3, 4), np.eye(4))
    with pytest.raises(GridError, match=r"\(2, 3, 4, 3\) was expected"):
        DisplacementField(grid, np.zeros((3, 2, 3, 4), np.float32))
    u = np.zeros((2, 3, 4, 3), np.float32)
    u[1, 1, 1, 1] = np.nan
    with pytest.raises(InputError, match="NaN or infinite"):
        DisplacementField(grid, u)


def test_field_is_a_value():
    field = some_field(Grid((2, 3, 4), np.eye(4)))
    with pytest.raises(ValueError, match="read-only"):
        field.displacement_mm[0, 0, 0] = 1
    wide: Any = np.ones((2, 3, 4, 3))  # float64, as a careless caller has it
    field = DisplacementField(field.grid, wide)
    wide[:] = 7
    assert field.displacement_mm.dtype == np.float32 and (field.displacement_mm == 1).all()


@pytest.mark.parametrize("shape", [(3,), (1, 3), (2, 5, 3), (0, 3)])
def test_points_keep_their_shape(shape):
    points = np.zeros(shape, dtype=np.float32)
    for transform in (
        some_affine(1),
        some_field(Grid((3, 4, 5), np.eye(4))),
        chain(Affine(), Affine()),
    ):
        out = transform(points)
        assert out.shape == shape and out.dtype == np.float64


# -- chain -----------------------------------------------------------------------------------------
def test_chain_applies_the_last_first(grids):
    a, b, c = some_affine(1), some_field(grids["oblique"]), some_affine(2)
    points = some_points(grids["oblique"])
    np.testing.assert_array_equal(chain(a, b, c)(points), a(b(c(points))))
    shift, double = Affine.translation([1, 0, 0]), Affine(np.diag([2, 2, 2, 1]))
    assert chain(shift, double)(np.ones(3)).tolist() == [3, 2, 2]
    assert chain(double, shift)(np.ones(3)).tolist() == [4, 2, 2]
    np.testing.assert_array_equal(chain()(points), points)
