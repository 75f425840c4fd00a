"""What the engine gets: both images on one grid, where the moving one ends, what does not count."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from sacbnet.imaging.image import Image
from sacbnet.registration import prepare as module
from sacbnet.registration.affine import AffineOptions, align
from sacbnet.registration.inputs import Inputs
from sacbnet.registration.prepare import Layer, Pair, _View, prepare
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine

SHAPE = (20, 22, 18)
MOVING = Grid(SHAPE, np.diag([2.0, 2, 2, 1]))
STILL = Affine()


def working(beyond: int = 6) -> Grid:
    """The moving image's lattice, and so many voxels more on each side."""
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = -2.0 * beyond
    return Grid(tuple(n + 2 * beyond for n in SHAPE), affine)


def body(low: bool, high: bool, axis: int = 2) -> np.ndarray:
    """A body along one axis that goes on beyond its low face, its high face, or both."""
    shape = np.moveaxis(np.empty(SHAPE, bool), axis, -1).shape
    i, j, k = np.indices(shape, dtype=float)
    across = np.hypot(i - (shape[0] - 1) / 2, j - (shape[1] - 1) / 2)
    radius = np.full(shape, 7.0)
    middle = (shape[2] - 1) / 2
    radius *= np.sqrt(np.clip(1 - ((k - middle) / (middle - 2)) ** 2, 0, 1))
    for cut, side in ((low, k <= middle), (high, k >= middle)):
        radius = np.where(cut & side, 7.0, radius)
    waves = 0.6 + 0.3 * np.sin(0.7 * i + 0.4 * j + 0.5 * k)
    return np.moveaxis(np.where(across < radius, waves, 0), -1, axis).astype(np.float32)


def view(moving: np.ndarray, affine: Affine = STILL, grid: Grid | None = None) -> _View:
    return _View.of(Layer(moving, MOVING), grid or working(), affine)


def seen_by_hand(grid: Grid, affine: Affine, axis: int, low: bool, high: bool) -> np.ndarray:
    """Voxels of the grid that the affine does not put beyond the cut faces."""
    points = grid.world(np.moveaxis(np.indices(grid.shape), 0, -1))
    at = MOVING.voxels(affine(points))[..., axis]
    return ((at >= -0.5) | (not low)) & ((at <= SHAPE[axis] - 0.5) | (not high))


TURNED = np.eye(4)
TURNED[:3, :3] = Rotation.from_euler("xyz", (7, -5, 11), degrees=True).as_matrix() * (1.1, 0.9, 1)
TURNED[:3, 3] = (2.3, -1.7, 3.1)


@pytest.mark.parametrize("low, high", [(True, False), (False, True), (True, True), (False, False)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_beyond_faces_that_cut_the_body_nothing_is_known(axis, low, high):
    moving = body(low, high, axis)
    for affine in (STILL, Affine(TURNED)):
        found = view(moving, affine)
        expected = [[low and a == axis for a in range(3)], [high and a == axis for a in range(3)]]
        np.testing.assert_array_equal(found.cut, expected)
        inside = found.inside()
        if not (low or high):
            assert inside is None  # everything counts: beyond the other faces there is background
            continue
        by_hand = seen_by_hand(working(), affine, axis, low, high)
        assert not by_hand.all() and inside.shape == (1, 1, *working().shape)
        np.testing.assert_array_equal(inside[0, 0].numpy(), by_hand.astype(np.float32))


def test_a_grid_within_the_field_of_view_sees_all_of_it():
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = 8.0
    assert view(body(True, True), grid=Grid((8, 8, 8), affine)).inside() is None


def test_points_beyond_a_cut_face_are_read_on_that_face_and_no_others():
    """Voxels along k: -3 and 2.5 beyond the last one; the low face is cut, the high one is not."""
    found = view(body(True, False))
    points = MOVING.world(np.array([[5, 6, -3.0], [5, 6, 4.2], [-4, 30, -0.2], [5, 6, 19.5]]))
    np.testing.assert_allclose(
        MOVING.voxels(found(points)), [[5, 6, 0], [5, 6, 4.2], [-4, 30, 0], [5, 6, 19.5]]
    )
    high = view(body(False, True))
    np.testing.assert_allclose(
        MOVING.voxels(high(points)), [[5, 6, -3], [5, 6, 4.2], [-4, 30, -0.2], [5, 6, 17]]
    )
    shifted = np.eye(4)
    shifted[:3, 3] = (0, 0, -10.0)
    through = view(body(True, False), Affine(shifted))
    np.testing.assert_allclose(MOVING.voxels(through(points))[1], [5, 6, 0], atol=1e-12)


def tensors(moving: Layer, affine: Affine = STILL):
    grid = working()
    fixed = Layer(np.zeros(grid.shape, np.float32), grid)
    return Pair(grid, 2.0, fixed, moving).tensors(affine, torch.device("cpu"))


def test_the_engine_gets_the_face_repeated_and_its_mask():
    """No edge where the image ends: beyond the cut face stands what the face shows."""
    data = body(True, False)
    _, moved, fixed_mask, moving_mask = tensors(Layer(data, MOVING))
    assert fixed_mask is None and moving_mask is not None
    there = moved[0, 0].numpy()[6:-6, 6:-6]
    np.testing.assert_allclose(there[:, :, 6:-6], data, atol=1e-6)
    for beyond in range(6):
        np.testing.assert_allclose(there[:, :, beyond], data[:, :, 0], atol=1e-6)
    assert (there[:, :, -6:] == 0).all()
    np.testing.assert_array_equal(moving_mask[0, 0, 6:-6, 6:-6, :6], 0)
    np.testing.assert_array_equal(moving_mask[0, 0, :, :, 6:], 1)


def test_a_mask_of_the_moving_image_takes_the_place_of_its_field_of_view():
    data, mask = body(True, False), np.zeros(SHAPE, bool)
    mask[4:12, 5:15, :9] = True
    _, moved, _, moving_mask = tensors(Layer(data, MOVING, mask))
    np.testing.assert_array_equal(moving_mask[0, 0, 6:-6, 6:-6, 6:-6], mask)
    assert float(moving_mask.sum()) == mask.sum()
    assert float(moved[0, 0, 16, 16, 0]) > 0  # the image still goes on beyond the face


def test_without_a_cut_the_image_ends_in_background_and_there_is_no_mask():
    data = body(False, False)
    _, moved, _, moving_mask = tensors(Layer(data, MOVING))
    assert moving_mask is None
    np.testing.assert_allclose(moved[0, 0, 6:-6, 6:-6, 6:-6], data, atol=1e-6)
    assert float(moved.sum()) == pytest.approx(float(data.sum()), rel=1e-5)


ACQUIRED_F, ACQUIRED_M = slice(7, 40), slice(0, 36)


def scan(acquired: slice, shift: float = 0.0) -> Image:
    """A long body in air; slices of one value where nothing was acquired."""
    i, j, k = np.indices((36, 38, 44)) - np.reshape((17.5 + shift, 18.5, 21.5), (3, 1, 1, 1))
    body = 40 + 300 * np.sin(i / 3) * np.cos(j / 4) * np.sin(k / 3 + 1)
    data = np.where((i / 12) ** 2 + (j / 14) ** 2 < 1, body, -1000.0)
    data[:, :, : acquired.start] = data[:, :, acquired.stop :] = -1000
    return Image(data.astype(np.float32), Grid(data.shape, np.eye(4)))


def slices(mask: np.ndarray | None) -> slice:
    assert mask is not None
    shown = np.flatnonzero(mask.any(axis=(0, 1)))
    assert (mask == mask[:1, :1]).all()
    return slice(int(shown[0]), int(shown[-1]) + 1)


def whole(fixed: Image, moving: Image, **masks: Image) -> Pair:
    return prepare(Inputs(fixed, moving, **masks), spacing=1.0, box="whole")


def test_the_whole_box_shows_slices_that_were_not_acquired_and_does_not_count_them() -> None:
    pair = whole(scan(ACQUIRED_F), scan(ACQUIRED_M))
    assert pair.grid.shape == pair.moving.data.shape == (36, 38, 44)
    assert slices(pair.fixed.mask) == ACQUIRED_F and slices(pair.moving.mask) == ACQUIRED_M
    _, _, fixed_mask, moving_mask = pair.tensors(Affine(), torch.device("cpu"))
    assert slices(fixed_mask[0, 0].numpy() > 0) == ACQUIRED_F
    assert slices(moving_mask[0, 0].numpy() > 0) == ACQUIRED_M
    complete = whole(scan(slice(0, 44)), scan(slice(0, 44)))
    assert complete.fixed.mask is None and complete.moving.mask is None


def test_in_the_whole_box_a_mask_stays_what_it_is_within_the_slices_acquired() -> None:
    fixed = scan(ACQUIRED_F)
    given = np.random.default_rng(0).random(fixed.data.shape) > 0.5
    found = whole(fixed, scan(ACQUIRED_M), fixed_mask=Image(given, fixed.grid)).fixed.mask
    assert found is not None
    np.testing.assert_array_equal(found[:, :, ACQUIRED_F], given[:, :, ACQUIRED_F])
    assert not found[:, :, : ACQUIRED_F.start].any() and not found[:, :, ACQUIRED_F.stop :].any()


@pytest.mark.parametrize("kind", ["rigid", "none"])
def test_cut_faces_are_found_once_for_each_image(kind, monkeypatch) -> None:
    pair = prepare(Inputs(scan(slice(0, 44)), scan(slice(0, 44), 1.0)), spacing=2.0)
    looked = []
    real = module.cut_faces
    monkeypatch.setattr(module, "cut_faces", lambda shown: looked.append(shown) or real(shown))
    brief = AffineOptions(
        samples=(500, 500, 500), turns_deg=(0.0,), tried=1, glanced=2, kept=1, iterations=3
    )
    pair.tensors(align(pair.fixed, pair.moving, kind, brief), torch.device("cpu"))
    assert len(looked) == (1 if kind == "none" else 2)
    np.testing.assert_array_equal(pair.moving.cut, [[False, False, True]] * 2)
