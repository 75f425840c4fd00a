"""What the engine sees of an image, however it is stored."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from sacbnet.imaging.image import Image
from sacbnet.imaging.intensities import foreground, to_unit
from sacbnet.imaging.resampling import antialias, mask_on_grid, on_grid
from sacbnet.registration.working_grid import foreground_grid, spacings, working_spacing
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine


def blob(shape=(30, 36, 40), low=(8, 5, 11), high=(20, 30, 33), seed=0) -> np.ndarray:
    """Smooth texture in a box, exactly 0 outside it."""
    rng = np.random.default_rng(seed)
    data = np.zeros(shape, dtype=np.float32)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    data[box] = 100 + 30 * gaussian_filter(rng.normal(size=shape), 2)[box] * 8
    return data


def turned(spacing=(1.0, 1, 1), degrees=(0, 0, 0), origin=(0, 0, 0)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() * spacing
    affine[:3, 3] = origin
    return affine


def stored(image: Image, axes, signs) -> Image:
    """The same voxels in the same places of the world, in another order in memory."""
    data = np.flip(image.data.transpose(axes), [n for n, s in enumerate(signs) if s < 0])
    matrix = np.zeros((4, 4))  # new index -> old index
    matrix[3, 3] = 1
    for n, (a, s) in enumerate(zip(axes, signs, strict=True)):
        matrix[a, n] = s
        matrix[a, 3] = 0 if s > 0 else image.grid.shape[a] - 1
    return Image(np.ascontiguousarray(data), Grid(data.shape, image.grid.affine @ matrix))


# -- spacing ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "spacing, expected",
    [
        ((1, 1, 1), 1.0),
        ((0.8, 0.8, 0.8), 1.0),
        ((1.5, 1.5, 3), 1.0),
        ((0.46, 0.46, 5), 1.0),
        ((2.5, 2.5, 2.5), 2.5),
        ((0.1, 0.1, 0.3), 0.1),
        ((4, 5, 6), 4),
    ],
)
def test_working_spacing(spacing, expected):
    assert working_spacing(Grid((60, 50, 40), turned(spacing))) == pytest.approx(expected)


def test_working_spacing_asked_for():
    assert working_spacing(Grid((60, 50, 40), turned((0.1, 0.1, 0.1))), asked=2) == 2.0


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.tuples(*[st.integers(10, 1000)] * 3), st.tuples(*[st.floats(0.05, 5)] * 3))
def test_never_much_more_than_twelve_million_voxels(shape, spacing):
    grid = Grid(shape, turned(spacing))
    found = working_spacing(grid)
    extent = np.array(shape) * spacing
    assert np.prod(extent / found) <= 12e6 * (1 + 1e-9)
    assert found >= min(1.0, *spacing) * (1 - 1e-9)
    assert found <= max(1.0, min(spacing), np.prod(extent / 12e6 ** (1 / 3)) ** (1 / 3)) * (
        1 + 1e-9
    )


# -- the grid --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "degrees, origin", [((0, 0, 0), (0, 0, 0)), ((12, -20, 7), (-33, 81, 5.5))]
)
def test_own_voxels_are_taken_where_the_spacing_agrees(degrees, origin):
    image = Image(blob(), Grid((30, 36, 40), turned(degrees=degrees, origin=origin)))
    grid = foreground_grid(image, 1.0)
    corner = image.grid.voxels(grid.world([0, 0, 0]))
    # the box of the blob, 12 voxels around
    np.testing.assert_allclose(corner, [8 - 12, 5 - 12, 11 - 12], atol=1e-9)
    assert grid.shape == (12 + 24, 25 + 24, 22 + 24)
    seen = on_grid(image.data, image.grid, grid)[0, 0].numpy()
    expected = np.zeros(grid.shape, dtype=np.float32)
    expected[12:-12, 12:-12, 12:-12] = image.data[8:20, 5:30, 11:33]
    # float32 rounding of the lattice, of values near 100
    np.testing.assert_allclose(seen, expected, rtol=0, atol=1e-3)
    # no visible interpolation
    assert np.abs(seen - expected).max() < 1e-4 * np.abs(np.diff(image.data, axis=0)).max()


@pytest.mark.parametrize(
    "axes, signs", list(product(permutations(range(3)), [(1, 1, 1), (-1, 1, -1), (-1, -1, -1)]))
)
@pytest.mark.parametrize("spacing", [1.0, 1.3])
def test_storage_does_not_matter(axes, signs, spacing):
    image = Image(blob(), Grid((30, 36, 40), turned((1, 1, 1), (12, -20, 7), (-33, 81, 5.5))))
    other = stored(image, axes, signs)
    grid, again = foreground_grid(image, spacing), foreground_grid(other, spacing)
    assert again.matches(grid, tolerance_mm=1e-6)
    assert (np.diag(again.direction) > 0.5).all()
    seen, same = (on_grid(to_unit(i.data), i.grid, g) for i, g in ((image, grid), (other, again)))
    np.testing.assert_allclose(seen, same, atol=2e-5)


@pytest.mark.parametrize("spacing", [0.7, 1.0, 1.9])
@pytest.mark.parametrize(
    "affine", [turned((1, 1, 1)), turned((0.9, 1.2, 3), (5, -30, 9)), "sheared"], ids=str
)
def test_the_crop_keeps_all_foreground(spacing, affine):
    if isinstance(affine, str):
        affine = turned((1, 1.5, 2), (20, 10, 5)) @ (
            np.eye(4) + 0.15 * np.eye(4, k=1) * [0, 1, 1, 0]
        )
    image = Image(blob(), Grid((30, 36, 40), affine))
    grid = foreground_grid(image, spacing, margin=2)
    np.testing.assert_allclose(grid.spacing, spacing, rtol=2e-3)
    assert grid.is_orthogonal
    kept = image.grid.world(np.argwhere(foreground(image.data)))
    assert len(kept) == 12 * 25 * 22
    assert grid.contains(kept, margin_voxels=-1).all()  # within the margin of two voxels
    if image.grid.is_orthogonal:  # and hardly more than that
        size = np.sort(np.array([12, 25, 22]) * image.grid.spacing)
        assert (np.sort(np.array(grid.shape) * spacing) <= size + 6 * spacing).all()


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1)])
@pytest.mark.parametrize("spacing", [1.0, 2.0])
def test_no_margin_beyond_a_face_that_cuts_the_anatomy(signs, spacing):
    data = blob(low=(0, 0, 11), high=(20, 36, 33))  # cut at the low face of i and both of j
    data[:, :, :2] = 0
    image = stored(Image(data, Grid(data.shape, np.eye(4))), (0, 1, 2), signs)
    grid = foreground_grid(image, spacing)
    m = 12 * spacing
    outer = (grid.world([-0.5] * 3), grid.world(np.array(grid.shape) - 0.5))
    np.testing.assert_allclose(outer[0], [-0.5, -0.5, 10.5 - m], atol=spacing)
    np.testing.assert_allclose(outer[1], [19.5 + m, 35.5, 32.5 + m], atol=spacing)
    if spacing == 1:
        assert grid.shape == (20 + 12, 36, 22 + 24)


def test_a_tight_box_is_not_cut():
    ball = np.linalg.norm(np.argwhere(np.ones((21, 21, 21))) - 10, axis=1).reshape(21, 21, 21) <= 10
    grid = foreground_grid(
        Image(ball.astype(np.float32), Grid(ball.shape, np.eye(4))), 1.0, margin=5
    )
    assert grid.shape == (31, 31, 31)


def test_within_the_image_the_margin_stays_where_a_face_is_cut():
    data = np.ones((40, 40, 40), dtype=np.float32)
    data[20, 20, 20] = 2.0
    mask = np.zeros(data.shape, dtype=bool)
    mask[3:30, 10:30, 10:30] = True
    data += np.random.default_rng(0).random(data.shape, dtype=np.float32)
    grid = foreground_grid(Image(data, Grid(data.shape, np.eye(4))), 1.0, mask, margin=8)
    assert grid.affine[:3, 3].tolist() == [0, 2, 2] and grid.shape == (38, 36, 36)


def test_the_crop_follows_the_mask():
    image = Image(blob(), Grid((30, 36, 40), np.eye(4)))
    mask = np.zeros(image.data.shape, dtype=bool)
    mask[10:13, 12, 14:20] = True
    grid = foreground_grid(image, 1.0, mask, margin=3)
    assert grid.shape == (9, 7, 12) and grid.affine[:3, 3].tolist() == [7, 9, 11]
    mask[10:13, 1, 14:20] = True
    # and ends with the image
    assert foreground_grid(image, 1.0, mask, margin=3).affine[:3, 3].tolist() == [7, 0, 11]


def test_a_faint_object_in_one_corner():
    data = np.full((20, 20, 20), -1000, dtype=np.float32)  # air of a CT
    data[0, 0, 0], data[19, 10:, 3] = 0, 400
    assert foreground(data).sum() == 11
    assert foreground_grid(Image(data, Grid(data.shape, np.eye(4))), 1.0, margin=0).shape == (
        20,
        20,
        4,
    )


def test_foreground_of_a_flat_image_is_everything():
    assert foreground(np.full((3, 4, 5), 7.0, dtype=np.float32)).all()


# -- intensities -----------------------------------------------------------------------------------
@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.floats(0.01, 1000), st.floats(-1000, 1000))
def test_to_unit_forgets_scale_and_offset(scale, offset):
    data = blob()
    out = to_unit(data)
    assert out.dtype == np.float32 and out.min() == 0 and out.max() == 1
    again = to_unit((scale * data + offset).astype(np.float32))
    # what float32 keeps of the values themselves
    rounding = np.finfo(np.float32).eps * (abs(offset) / (scale * float(np.ptp(data))) + 1) * 8
    np.testing.assert_allclose(again, out, atol=rounding)


def test_a_few_bright_voxels_do_not_darken_the_rest():
    data = blob()
    bright = data.copy()
    bright[10, 10, 12:15] = 1e5
    np.testing.assert_allclose(
        to_unit(bright)[data > 0].mean(), to_unit(data)[data > 0].mean(), rtol=0.1
    )


def test_to_unit_keeps_the_order_and_the_argument():
    data = blob()
    before = data.copy()
    out = to_unit(data)
    np.testing.assert_array_equal(data, before)
    order = np.argsort(data, axis=None)
    assert (np.diff(out.ravel()[order]) >= 0).all()
    assert set(np.unique(to_unit((data > 0).astype(np.float32)))) == {0, 1}
    assert (to_unit(np.full((3, 3, 3), 5.0, np.float32)) == 0).all()


# -- resampling ------------------------------------------------------------------------------------
@pytest.mark.parametrize("spacing", [1.0, 2.0, 4.0])
def test_antialias_keeps_the_mean(spacing):
    # far enough from the faces that nothing runs over them
    data = blob(low=(12, 15, 11), high=(18, 22, 33))
    grid = Grid((30, 36, 40), turned((1.0, 0.5, 3.0)))
    out = antialias(data, grid, spacing)
    assert out.dtype == np.float32 and out.shape == data.shape
    assert out.mean(dtype=np.float64) == pytest.approx(data.mean(dtype=np.float64), rel=0.01)
    flat = np.full(data.shape, 7.0, np.float32)
    np.testing.assert_allclose(antialias(flat, grid, spacing), 7.0, rtol=1e-5)


def test_antialias_only_along_the_finer_axes():
    data = np.zeros((21, 21, 21), np.float32)
    data[10, 10, 10] = 1
    out = antialias(data, Grid(data.shape, turned((3.0, 0.5, 1.0))), 1.0)
    assert set(np.argwhere(out > 0)[:, 0]) == {10} and set(np.argwhere(out > 0)[:, 2]) == {10}
    assert len(np.argwhere(out > 0)) > 3  # spread along j
    same = antialias(data, Grid(data.shape, np.eye(4)), 1.0)
    np.testing.assert_array_equal(same, data)


def test_antialias_removes_what_the_lattice_cannot_show():
    """Stripes one voxel wide, sampled at every fourth voxel, become grey."""
    data = np.indices((40, 40, 40))[0] % 2 * np.float32(1)
    grid = Grid(data.shape, np.eye(4))
    seen = on_grid(data, grid, grid.with_spacing(4.0))[0, 0, 2:-2, 2:-2, 2:-2]
    assert float((seen - 0.5).abs().max()) < 0.02


@pytest.mark.parametrize("spacing", [1.0, 2.0])
def test_an_image_on_another_grid_stays_in_its_place(spacing):
    """The centre of mass moves by less than 0.1 mm in the world; the mass hardly changes."""
    image = Image(blob(), Grid((30, 36, 40), turned((1, 1.2, 1.5), (9, -14, 21), (5, 6, 7))))
    grid = foreground_grid(image, spacing)
    seen = on_grid(image.data, image.grid, grid)[0, 0].numpy().astype(np.float64)
    data = image.data.astype(np.float64)

    def mass(values, lattice):
        points = lattice.world(np.moveaxis(np.indices(values.shape), 0, -1))
        return (points * values[..., None]).sum(
            (0, 1, 2)
        ) / values.sum(), values.sum() * lattice.voxel_volume

    (centre, total), (expected, whole) = mass(seen, grid), mass(data, image.grid)
    np.testing.assert_allclose(centre, expected, atol=0.1)
    assert total == pytest.approx(whole, rel=0.02)


def test_on_grid_through_a_map():
    image = Image(blob(), Grid((30, 36, 40), np.eye(4)))
    shifted = on_grid(image.data, image.grid, image.grid, Affine.translation([3, 0, -2]))
    assert shifted.shape == (1, 1, 30, 36, 40)
    np.testing.assert_allclose(shifted[0, 0, :27, :, 2:], image.data[3:, :, :-2], atol=1e-3)
    # no field of view
    assert float(shifted[0, 0, 27:].abs().max()) == 0 and float(shifted[..., :2].abs().max()) == 0


def test_a_mask_stays_of_zeros_and_ones():
    mask = blob() > 0
    grid = Grid(mask.shape, np.eye(4))
    seen = mask_on_grid(mask, grid, grid.with_spacing(1.7))
    assert seen.shape[:2] == (1, 1) and set(seen.unique().tolist()) == {0, 1}
    np.testing.assert_array_equal(mask_on_grid(mask, grid, grid)[0, 0].numpy(), mask)


@pytest.mark.parametrize(
    ("own", "asked", "of_network", "refined", "expected"),
    [
        (1.0, None, None, True, (1.0, 1)),
        (1.0, None, 2.0, False, (2.0, 1)),  # a network alone: at its own spacing
        (1.0, None, 2.0, True, (1.0, 2)),  # refinement: at the image's
        (1.3, None, 2.0, True, (1.0, 2)),  # a human's: 1 mm
        (3.0, None, 2.0, True, (2.0, 1)),
        (3.0, None, 1.0, True, (1.0, 1)),
        (2.0, None, 3.0, True, (1.5, 2)),  # the nearest of which the network's is a multiple
        (1.0, 0.7, 2.0, False, (0.7, 3)),
        (1.0, 3.0, 2.0, True, (3.0, 1)),
    ],
)
def test_network_and_refinement_have_their_spacings(
    own, asked, of_network, refined, expected
) -> None:
    fixed = Grid((60, 70, 80), np.diag([own, own, own, 1.0]))
    spacing, factor = spacings(fixed, asked, of_network, refined)
    assert (pytest.approx(spacing), factor) == expected
