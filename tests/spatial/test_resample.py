"""Resampling in the world against SimpleITK, and labels against their definition.

The rim, half a voxel wide around the outermost centres, counts as inside: "linear" and "nearest"
take the nearest centre's value there, and so does "onehot". Beyond the outer faces every result
is 0, label 0 for label maps.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from sacbnet.kernels.cpu import native
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.resample import Interpolation, resample_counted
from sacbnet.spatial.resample import resample as _resample
from sacbnet.spatial.transforms import Affine, DisplacementField, PointMap

SHAPE = (9, 10, 11)


def resample(
    data: Any, source: Grid, target: Grid, point_map: PointMap, kind: Interpolation = "linear"
) -> Any:
    """Typed loosely, to be compared with whatever NumPy takes."""
    return _resample(data, source, target, point_map, kind)


def pose(source: Grid, target: Grid, seed: int) -> Affine:
    """A random affine that carries most of the target's box onto the source's."""
    rng = np.random.default_rng(seed)
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_rotvec(rng.normal(scale=0.4, size=3)).as_matrix() @ np.diag(
        rng.uniform(0.8, 1.25, 3)
    )
    shift = rng.uniform(-2, 2, 3)
    return (
        Affine.translation(source.centre + shift)
        @ Affine(turn)
        @ Affine.translation(-target.centre)
    )


def volume(shape=SHAPE, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(100, 1100, size=shape).astype(np.float32)


def around(source: Grid, shape=(13, 14, 15)) -> Grid:
    """A target that reaches beyond the source on all sides."""
    return source.cropped([-2, -2, -2], np.array(shape) - 2)


@pytest.mark.parametrize(
    "kind, interpolator", [("linear", sitk.sitkLinear), ("nearest", sitk.sitkNearestNeighbor)]
)
@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_simpleitk(
    orthogonal_grid, grids, itk_image, itk_affine, kind, interpolator, seed
):
    source = orthogonal_grid
    target = around(grids["oblique"])
    affine, data = pose(source, target, seed), volume()
    found = resample(data, source, target, affine, kind)
    like = itk_image(np.zeros(target.shape, np.float32), target)
    theirs = sitk.Resample(
        itk_image(data, source), like, itk_affine(affine.matrix), interpolator, 0.0
    )
    expected = np.swapaxes(sitk.GetArrayFromImage(theirs), 0, 2)
    inside = source.contains(affine(target.world(np.moveaxis(np.indices(target.shape), 0, -1))))
    rim = inside & ~source.contains(
        affine(target.world(np.moveaxis(np.indices(target.shape), 0, -1))), margin_voxels=0
    )
    assert 0.05 < inside.mean() < 0.99 and rim.sum() > 20  # all three regions are in the test
    np.testing.assert_allclose(found, expected, atol=1e-4 * 1000)
    assert (found[~inside] == 0).all() and (found[inside] >= 99.9).all()


def test_through_a_displacement_agrees_with_simpleitk(orthogonal_grid, itk_image):
    """Inside the field's grid; ITK takes the displacement as zero outside it."""
    target, data = orthogonal_grid, volume()
    u = np.random.default_rng(3).normal(scale=1.5, size=(*target.shape, 3)).astype(np.float32)
    found = resample(data, target, target, DisplacementField(target, u))
    itk = sitk.DisplacementFieldTransform(itk_image(u.astype(np.float64) * [-1, -1, 1], target))
    image = itk_image(data, target)
    expected = np.swapaxes(
        sitk.GetArrayFromImage(sitk.Resample(image, image, itk, sitk.sitkLinear, 0.0)), 0, 2
    )
    # the voxels at the faces are read in ITK's own rounding
    np.testing.assert_allclose(found, expected, atol=0.3)


def test_onto_itself_nothing_changes(grid):
    data = volume()
    np.testing.assert_allclose(resample(data, grid, grid, Affine()), data, rtol=1e-5)
    labels = np.random.default_rng(0).integers(0, 9, SHAPE)
    for kind in ("nearest", "onehot"):
        np.testing.assert_array_equal(resample(labels, grid, grid, Affine(), kind), labels)


def test_the_rim_to_a_hair(grids):
    source = Grid((4, 4, 4), np.eye(4))
    data = np.full(source.shape, 7, dtype=np.int16)
    for kind in ("linear", "nearest", "onehot"):
        for shift, value in ((-0.499, 7), (-0.501, 0), (3.499, 7), (3.501, 0)):
            one = Grid((1, 1, 1), Affine.translation([shift, 1, 1]).matrix)
            assert resample(data, source, one, Affine(), kind).item() == pytest.approx(value), (
                kind,
                shift,
            )


def naive_onehot(
    labels: np.ndarray, source: Grid, target: Grid, affine: Affine
) -> tuple[np.ndarray, np.ndarray]:
    """Each label as an image of its own, warped linearly in float64; the largest value wins.

    Of equal values the smallest label wins.

    Also returns the lead of the winner over the second, to tell ties that rounding decides.
    """
    at = source.voxels(affine(target.world(np.moveaxis(np.indices(target.shape), 0, -1))))
    values = np.unique(labels)
    votes = np.stack(
        [
            map_coordinates(
                (labels == v).astype(float), np.moveaxis(at, -1, 0), order=1, mode="nearest"
            )
            for v in values
        ]
    )
    best = values[votes.round(9).argmax(axis=0)]
    ranked = np.sort(votes, axis=0)
    inside = np.all((at >= -0.5) & (at <= np.array(source.shape) - 0.5), axis=-1)
    return np.where(inside, best, 0), ranked[-1] - ranked[-2]


@pytest.mark.parametrize("seed", range(3))
def test_onehot_equals_its_definition(grid, grids, seed):
    target = around(grids["left-handed"])
    labels = np.random.default_rng(seed).choice([0, 2, 3, 17, 1035], size=SHAPE).astype(np.int32)
    affine = pose(grid, target, seed)
    expected, lead = naive_onehot(labels, grid, target, affine)
    found = resample(labels, grid, target, affine, "onehot")
    assert found.dtype == labels.dtype
    np.testing.assert_array_equal(found[lead > 1e-6], expected[lead > 1e-6])
    assert (lead > 1e-6).mean() > 0.95 and len(np.unique(found)) == 5


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    st.integers(0, 10_000),
    st.tuples(*[st.sampled_from([-1.5, -0.5, 0, 0.5, 1])] * 3),
    st.integers(2, 4),
)
def test_onehot_ties_go_to_the_smallest_label(seed, shift, most):
    """Half-voxel shifts make ties of 1:1, 2:2, 2:2:2:2, 1:..:1 everywhere."""
    labels = np.random.default_rng(seed).integers(-1, most, (4, 5, 4))
    grid = Grid(labels.shape, np.eye(4))
    expected, _ = naive_onehot(labels, grid, around(grid), Affine.translation(shift))
    found = resample(labels, grid, around(grid), Affine.translation(shift), "onehot")
    np.testing.assert_array_equal(found, expected)
    with native.plain_kernels():
        plain = resample(labels, grid, around(grid), Affine.translation(shift), "onehot")
    np.testing.assert_array_equal(plain, expected)


def test_onehot_of_one_voxel_thick_volumes():
    labels = np.random.default_rng(2).integers(0, 4, (6, 1, 5))
    grid = Grid(labels.shape, np.eye(4))
    shift = Affine.translation([0.3, 0.2, 0.4])
    expected, _ = naive_onehot(labels, grid, around(grid), shift)
    np.testing.assert_array_equal(resample(labels, grid, around(grid), shift, "onehot"), expected)


@pytest.mark.parametrize(
    "dtype", [np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]
)
@pytest.mark.parametrize("kind", ["nearest", "onehot"])
def test_labels_keep_their_type_and_every_value(dtype, kind):
    most = np.iinfo(dtype).max
    values = np.array(
        [0, 1, most - 1, most, *([2**24 + 1, 2**24 + 3] if most > 2**25 else [])], dtype=dtype
    )
    labels = np.random.default_rng(0).choice(values, size=(6, 7, 8))
    grid = Grid(labels.shape, np.diag([1.5, 1, 2, 1]))
    found = resample(labels, grid, grid, Affine.translation([0.4, 0.1, -0.3]), kind)
    assert found.dtype == dtype and set(np.unique(found)) == set(values)
    # no two of them are confused by going through float32
    np.testing.assert_array_equal(resample(labels, grid, grid, Affine(), kind), labels)


def test_masks_stay_bool_and_linear_is_float32():
    grid = Grid((4, 5, 6), np.eye(4))
    mask = np.random.default_rng(0).random(grid.shape) > 0.5
    assert resample(mask, grid, grid, Affine(), "nearest").dtype == bool
    for dtype in (np.int16, np.float64, np.uint8, ">i2"):
        data = np.random.default_rng(0).integers(0, 100, grid.shape).astype(dtype)
        found = resample(data, grid, grid, Affine(), "linear")
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, data, atol=1e-3)


@pytest.mark.parametrize("order", ["C", "F", "flipped"])
def test_layout_in_memory_does_not_matter(order):
    grid, data = Grid(SHAPE, np.eye(4)), volume()
    stored = {
        "C": data,
        "F": np.asfortranarray(data),
        "flipped": np.ascontiguousarray(data[::-1])[::-1],
    }[order]
    affine = pose(grid, grid, 4)
    for kind in ("linear", "nearest", "onehot"):
        found = resample(stored, grid, grid, affine, kind)
        np.testing.assert_array_equal(found, resample(data, grid, grid, affine, kind))


@pytest.mark.parametrize("kind", ["linear", "nearest", "onehot"])
def test_large_targets_are_made_in_slabs_that_do_not_show(kind):
    """13 planes of 256² are several slabs; each plane by itself is one."""
    data = np.random.default_rng(0).integers(0, 50, (12, 20, 20)).astype(np.int16)
    source = Grid(data.shape, np.diag([1.0, 12, 12, 1]))
    target = Grid((13, 256, 256), np.eye(4))
    affine = Affine.translation([-0.37, -3.21, 1.3])
    whole = resample(data, source, target, affine, kind)
    planes = [
        resample(data, source, target.cropped([n, 0, 0], [n + 1, 256, 256]), affine, kind)
        for n in range(13)
    ]
    assert whole.any() and not whole[-1].all()
    np.testing.assert_allclose(whole, np.concatenate(planes), atol=1e-3)


def test_points_far_away_are_outside():
    grid, data = Grid((4, 4, 4), np.eye(4)), np.ones((4, 4, 4), np.float32)
    for value in (1e6, 1e12, -1e12):
        for kind in ("linear", "nearest", "onehot"):
            assert (resample(data, grid, grid, Affine.translation([value, 0, 0]), kind) == 0).all()


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("kind, fill", [("linear", -1000.5), ("nearest", 0), ("onehot", 0)])
def test_voxels_outside_are_filled_and_counted(grid, kind, fill, plain):
    target, affine = around(grid), pose(grid, around(grid), 1)
    data = np.random.default_rng(0).integers(1, 9, SHAPE).astype(np.int16)
    at = grid.voxels(affine(target.world(np.moveaxis(np.indices(target.shape), 0, -1))))
    outside = ~np.all((at >= -0.5) & (at <= np.array(SHAPE) - 0.5), axis=-1)
    with native.plain_kernels() if plain else nullcontext():
        found, count = resample_counted(data, grid, target, affine, kind, fill)
    assert count == outside.sum() and 0.05 < outside.mean() < 0.95
    assert (found[outside] == fill).all() and (found[~outside] > 0).all()
