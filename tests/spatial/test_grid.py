"""Where voxels lie: world and voxels, and the grids made from a grid."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from sacbnet.errors import GridError
from sacbnet.spatial.grid import Grid, slabs
from sacbnet.spatial.matrix import as_affine

# the 48 ways to store a volume
ORIENTATIONS = list(product(permutations(range(3)), product((1, -1), repeat=3)))


def all_voxels(shape) -> np.ndarray:
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)


# -- world and voxels ------------------------------------------------------------------------------
def test_world_and_voxels_are_each_others_inverse(grid):
    points = np.random.default_rng(0).normal(scale=200, size=(4, 5, 3))
    np.testing.assert_allclose(grid.world(grid.voxels(points)), points, atol=1e-9)
    np.testing.assert_allclose(grid.voxels(grid.world(points)), points, atol=1e-9)


def test_world_is_the_affine_times_the_homogeneous_index(grid):
    for index in ([0, 0, 0], [3, 1, 2], [-4.5, 0.25, 100]):
        np.testing.assert_allclose(grid.world(index), (grid.affine @ [*index, 1])[:3], atol=1e-12)


def test_numbers_of_a_known_grid():
    affine = np.array([[0, 0, 3.0, 10], [-2, 0, 0, 20], [0, 1.5, 0, 30], [0, 0, 0, 1]])
    grid = Grid((3, 5, 7), affine)
    assert grid.spacing.tolist() == [2, 1.5, 3]
    assert grid.direction.tolist() == [[0, 0, 1], [-1, 0, 0], [0, 1, 0]]
    assert grid.voxel_volume == pytest.approx(9)
    assert grid.centre.tolist() == [10 + 3 * 3, 20 - 2 * 1, 30 + 1.5 * 2]
    assert grid.is_orthogonal
    assert {tuple(c) for c in grid.corners} == set(
        product((10.0, 28.0), (20.0, 16.0), (30.0, 36.0))
    )


def test_contains_up_to_the_outer_faces(grid):
    last = np.array(grid.shape) - 1
    inside = [[0, 0, 0], last, [-0.49, -0.49, -0.49], last + 0.49, last / 2]
    assert grid.contains(grid.world(inside)).all()
    for axis, far in product(range(3), (True, False)):
        out = last / 2
        out[axis] = last[axis] + 0.51 if far else -0.51
        assert not grid.contains(grid.world(out))
    assert not grid.contains(grid.world([-0.25, 0, 0]), margin_voxels=0.0)


# -- immutable values ------------------------------------------------------------------------------
def test_a_grid_does_not_change():
    affine = np.eye(4)
    grid = Grid((2, 3, 4), affine)
    affine[0, 3] = 99  # the caller's array is his own
    assert grid.affine[0, 3] == 0
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 0] = 2
    with pytest.raises(AttributeError):
        grid.shape = (1, 1, 1)  # type: ignore[misc]
    assert grid.cropped([0, 0, 0], [1, 1, 1]).affine.flags.writeable is False


def test_equal_and_hash():
    a, b = Grid((2, 3, 4), np.diag([1, 2, 3, 1])), Grid((2, 3, 4), np.diag([1.0, 2, 3, 1]))
    assert a == b and hash(a) == hash(b)
    assert (
        a != Grid((2, 3, 5), a.affine)
        and a != Grid((2, 3, 4), np.diag([1, 2, 3.0001, 1]))
        and a != "grid"
    )


def test_equal_grids_have_one_hash():
    negative_zero = np.eye(4)
    negative_zero[0, 1] = -0.0  # as a product of matrices leaves it
    a, b = Grid((2, 3, 4), np.eye(4)), Grid((2, 3, 4), negative_zero)
    assert a == b
    assert hash(a) == hash(b)


def test_spacing_along_an_axis_of_one_voxel_counts():
    thin, thick = Grid((5, 5, 1), np.eye(4)), Grid((5, 5, 1), np.diag([1, 1, 7.0, 1]))
    assert thin != thick
    assert not thin.matches(thick)


def test_the_worst_corner_decides_whether_grids_match():
    """A spacing that differs by 1e-5 moves the last corner by 2e-3 mm, and the first one not."""
    one, other = (Grid((200, 4, 4), np.diag([s, 1.0, 1.0, 1.0])) for s in (1.0, 1.00001))
    ends = np.array([[-0.5, 0, 0], [199.5, 0, 0]])
    apart = np.abs(one.world(ends) - other.world(ends)).max(1)
    assert apart[0] < 1e-5 and apart[1] > 1.9e-3
    assert not one.matches(other) and one.matches(other, tolerance_mm=2.1e-3)


def test_matches_within_a_tolerance(grid):
    shifted = Grid(grid.shape, np.array(grid.affine) + 5e-4 * np.eye(4, k=3))
    assert grid.matches(shifted) and not grid.matches(shifted, tolerance_mm=4e-4)
    larger = grid.cropped([0, 0, 0], np.add(grid.shape, [1, 0, 0]))
    assert not grid.matches(larger, tolerance_mm=1e9)
    # a direction that differs by 1e-3 rad moves the far corner by more than the tolerance, the
    # origin not at all
    turned = np.array(grid.affine)
    turned[:3, :3] = Rotation.from_rotvec([0, 0, 1e-3]).as_matrix() @ turned[:3, :3]
    assert not grid.matches(Grid(grid.shape, turned))


@pytest.mark.parametrize(
    "matrix, words",
    [
        (np.eye(3), r"shape \(3, 3\)"),
        (np.diag([1, 1, np.nan, 1]), "NaN or infinite"),
        (np.diag([1, np.inf, 1, 1]), "NaN or infinite"),
        (np.diag([1, 0, 1, 1]), "singular"),
        (np.diag([1, 1, 1, 2]), r"\[0, 0, 0, 1\] was expected"),
        (np.eye(4) + np.eye(4, k=-3), r"\[0, 0, 0, 1\] was expected"),
        (np.array([[1, 2, 0, 0], [1, 2, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "singular"),
    ],
)
def test_as_affine_refuses(matrix, words):
    with pytest.raises(GridError, match=words):
        as_affine(matrix)
    with pytest.raises(GridError):
        Grid((2, 2, 2), matrix)


def test_as_affine_takes_small_and_large_voxels():
    for size in (1e-4, 1e4):  # a tenth of a micrometre, ten metres
        assert as_affine(np.diag([size, size, size, 1]))[0, 0] == size
    assert as_affine(np.eye(4, dtype=np.float32)).dtype == np.float64


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 0), (2, -3, 4), (2, 3, 4, 5)])
def test_shapes_refused(shape):
    with pytest.raises(GridError, match="three positive sizes"):
        Grid(shape, np.eye(4))


# -- canonical -------------------------------------------------------------------------------------
def carried(data: np.ndarray, axes, signs) -> np.ndarray:
    """As `canonical` documents it."""
    return np.flip(data.transpose(axes), [r for r, s in enumerate(signs) if s < 0])


@pytest.mark.parametrize("axes, signs", ORIENTATIONS)
@pytest.mark.parametrize("turn", [0, 20])
def test_canonical_carries_the_data_along(axes, signs, turn):
    affine = np.eye(4)
    rotation = Rotation.from_euler("xyz", [turn, -turn / 2, turn], degrees=True).as_matrix()
    affine[:3, :3] = (rotation @ (np.eye(3) * signs))[:, list(axes)] * [1, 2, 3]
    affine[:3, 3] = [7, -8, 9]
    grid = Grid((2, 3, 4), affine)
    # the data is its own position, so any wrong flip, order or origin shows
    positions = grid.world(all_voxels(grid.shape))
    canonical, order, flips = grid.canonical()
    moved = np.stack([carried(positions[..., c], order, flips) for c in range(3)], axis=-1)
    np.testing.assert_allclose(moved, canonical.world(all_voxels(canonical.shape)), atol=1e-12)
    assert (np.diag(canonical.direction) > 0.5).all()  # towards R, A, S
    again = canonical.canonical()
    assert again[0] == canonical and again[1:] == ((0, 1, 2), (1, 1, 1))
    assert canonical.voxel_volume == pytest.approx(grid.voxel_volume)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: sum(x * x for x in q) > 0.01), st.booleans()
)
def test_canonical_of_any_rotation_is_a_permutation(quaternion, mirrored):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_quat(quaternion).as_matrix() * ([-1, 1, 1] if mirrored else 1)
    grid = Grid((2, 3, 4), affine)
    canonical, axes, _ = grid.canonical()
    assert sorted(axes) == [0, 1, 2] and sorted(canonical.shape) == [2, 3, 4]
    assert {tuple(c) for c in canonical.corners.round(6) + 0.0} == {
        tuple(c) for c in grid.corners.round(6) + 0.0
    }
    assert (np.diag(canonical.direction) >= 0).all()
    assert canonical.canonical()[0] == canonical


# -- other grids -----------------------------------------------------------------------------------
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.tuples(*[st.integers(1, 40)] * 3),
    st.tuples(*[st.floats(0.1, 6)] * 3),
    st.tuples(*[st.floats(0.1, 6)] * 3),
)
def test_with_spacing_keeps_the_centre_and_covers(shape, old, new):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [10, 20, 30], degrees=True).as_matrix() * old
    affine[:3, 3] = [5, 6, 7]
    grid = Grid(shape, affine)
    other = grid.with_spacing(new)
    np.testing.assert_allclose(other.spacing, new, rtol=1e-12)
    np.testing.assert_allclose(other.direction, grid.direction, atol=1e-12)
    np.testing.assert_allclose(other.centre, grid.centre, atol=1e-9)
    extent, covered = np.array(shape) * old, np.array(other.shape) * new
    # 1e-3 of a voxel is let go at either face for rounding
    assert (covered >= extent - 2e-3 * np.array(new)).all()
    assert (np.array(other.shape) >= 1).all() and (covered - extent < np.array(new) + 1e-9).all()


def test_with_its_own_spacing_nothing_moves(grid):
    assert grid.with_spacing(grid.spacing).matches(grid, tolerance_mm=1e-9)


def test_cropped_keeps_the_lattice(grid):
    small = grid.cropped([2, 3, 1], [5, 4, 9])
    assert small.shape == (3, 1, 8)
    np.testing.assert_allclose(
        small.world(all_voxels(small.shape)),
        grid.world(all_voxels(grid.shape))[2:5, 3:4, 1:9],
        atol=1e-9,
    )
    assert small.cropped([-2, -3, -1], np.array(grid.shape) - [2, 3, 1]).matches(
        grid, tolerance_mm=1e-9
    )
    with pytest.raises(GridError):
        grid.cropped([3, 0, 0], [3, 4, 5])


def test_covering_keeps_the_lattice_and_is_no_larger_than_needed(grid):
    points = grid.world(np.random.default_rng(1).uniform(-7.5, 20.5, size=(30, 3)))
    large = grid.covering(points)
    assert (
        large.contains(points, margin_voxels=1e-5).all()
        and large.contains(grid.corners, margin_voxels=1e-5).all()
    )
    offset = large.voxels(grid.world([0, 0, 0]))
    np.testing.assert_allclose(offset, offset.round(), atol=1e-6)
    np.testing.assert_allclose(large.affine[:3, :3], grid.affine[:3, :3])
    inner = large.cropped([1, 1, 1], np.array(large.shape) - 1)  # a shell of voxels less
    everything = np.concatenate([points, grid.corners])
    v = inner.voxels(everything)
    assert (v.min(axis=0) < 0).all() and (v.max(axis=0) > np.array(inner.shape) - 1).all()
    assert grid.covering(grid.corners).matches(grid, tolerance_mm=1e-9)


def test_orthogonal_covers_a_sheared_box(grids):
    sheared = grids["sheared"]
    assert not sheared.is_orthogonal
    square = sheared.orthogonal()
    assert square.is_orthogonal
    np.testing.assert_allclose(square.spacing, sheared.spacing)
    assert square.contains(sheared.world(all_voxels(sheared.shape)), margin_voxels=1e-5).all()
    # the axes run as before
    assert (np.sum(square.direction * sheared.direction, axis=0) > 0.98).all()
    assert np.linalg.det(square.direction) * np.linalg.det(sheared.direction) > 0
    volume = square.voxel_volume * np.prod(square.shape)
    assert volume < 3 * sheared.voxel_volume * np.prod(sheared.shape)
    for name in grids.keys() - {"sheared"}:
        assert grids[name].orthogonal() is grids[name]


@pytest.mark.parametrize("at_once", [1, 250, 1 << 19])
def test_slabs_walk_over_all_voxels_once(grid, at_once):
    found = list(slabs(grid, at_once))
    assert [low for low, _ in found] == np.cumsum([0] + [len(p) for _, p in found[:-1]]).tolist()
    np.testing.assert_allclose(
        np.concatenate([p for _, p in found]), grid.world(all_voxels(grid.shape)), atol=1e-9
    )
    if at_once == 250:
        assert len(found) == 5  # two rows of 110 at once
