"""Pictures of analytic planes, and what their compressed form holds."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image as Pillow

from sacbnet.reporting.page import pictures as p

ROWS, COLUMNS = np.indices((80, 100)).astype(np.float32)
DISC = np.hypot(ROWS - 40, COLUMNS - 50)  # distance from the centre


def decoded(uri: str, mode: str) -> np.ndarray:
    kind, _, data = uri.partition(";base64,")
    assert kind in ("data:image/png", "data:image/jpeg")
    return np.asarray(Pillow.open(io.BytesIO(base64.b64decode(data))).convert(mode))


def test_a_window_clips() -> None:
    np.testing.assert_allclose(p.windowed(np.array([-5.0, 0, 5, 10, 20]), 0, 10), [0, 0, 0.5, 1, 1])
    assert (p.windowed(np.ones((2, 2)), 1, 1) == 0).all()  # an even image is black


def test_stretching_keeps_a_ramp_and_its_place() -> None:
    ramp = np.tile(np.arange(10, dtype=np.float32), (5, 1))
    fine = p.stretched(ramp, (20, 80))  # 8 pixels a voxel across, 4 down
    assert fine.shape == (20, 80)
    centres = (np.arange(80) + 0.5) / 8 - 0.5
    np.testing.assert_allclose(fine[3, 4:-4], centres[4:-4], atol=1e-4)
    np.testing.assert_allclose(p.stretched(ramp, (5, 5))[0, 1:-1], [2.5, 4.5, 6.5], atol=0.2)


def test_labels_are_repeated_and_never_mixed() -> None:
    labels = np.array([[0, 7], [300, 2]], dtype=np.int16)
    big = p.repeated(labels, (4, 6))
    assert big.dtype == np.int16
    np.testing.assert_array_equal(big, labels.repeat(2, 0).repeat(3, 1))


def test_edges_of_a_disc_are_its_rim() -> None:
    found = p.edges((DISC < 25).astype(np.float32))
    assert np.abs(DISC[found] - 24.5).max() < 1.6
    angles = np.arctan2(ROWS - 40, COLUMNS - 50)[found]
    assert np.histogram(angles, 24, (-np.pi, np.pi))[0].min() >= 3  # all around
    assert found.sum() < 1.3 * 2 * np.pi * 25  # about one pixel wide


def test_edges_of_an_even_picture_are_none() -> None:
    assert not p.edges(np.full((20, 20), 0.5, np.float32)).any()
    assert not p.edges(np.zeros((1, 9), np.float32)).any()


def test_outlines_are_the_border_pixels_of_labels() -> None:
    labels = np.zeros((8, 8), int)
    labels[2:6, 2:6] = 3
    expected = labels > 0
    expected[3:5, 3:5] = False
    np.testing.assert_array_equal(p.outlines(labels), expected)
    halves = np.repeat([[1] * 4 + [2] * 4], 8, 0)
    np.testing.assert_array_equal(np.flatnonzero(p.outlines(halves)[0]), [3, 4])


def test_lines_stand_where_a_coordinate_is_a_whole_step() -> None:
    ink = p.lines(COLUMNS, ROWS, 20.0)  # one mm a pixel
    assert (ink[:, ::20] == 1).all() and (ink[::20] == 1).all()
    away = np.minimum(*(np.abs(x - 20 * np.round(x / 20)) for x in (COLUMNS, ROWS)))
    assert (ink[away > 1.5] == 0).all()


def test_lines_keep_their_width_where_the_grid_is_stretched() -> None:
    stretched = p.lines(COLUMNS / 4, np.full_like(ROWS, 0.5), 10.0)
    assert (stretched[5] > 0.1).sum() == 3 * 3 - 1  # lines at 0, 40 and 80; the first at the rim


def test_colours_run_from_the_first_to_the_last_and_folds_have_their_own() -> None:
    drawing = p.coloured(np.array([[-9.0, 0, 1, 9, np.nan]]), 0, 1, p.SEQUENTIAL)
    rgb = drawing.rgba()[0, :, :3].tolist()
    assert rgb[0] == rgb[1] == list(p.SEQUENTIAL[0]) and rgb[2] == rgb[3] == list(p.SEQUENTIAL[-1])
    assert rgb[4] == list(p.FOLDED)
    middle = p.coloured(np.zeros((1, 1)), -1, 1, p.DIVERGING).rgba()[0, 0, :3]
    assert np.abs(middle.astype(int) - p.DIVERGING[3]).max() <= 4  # 0 is the pale middle


def test_labels_have_colours_of_their_own_and_the_background_none() -> None:
    rgba = p.regions(np.arange(8)[None]).rgba()[0]
    assert rgba[0, 3] == 0 and (rgba[1:, 3] == 255).all()
    assert len({tuple(x) for x in rgba.tolist()}) == 8


def test_outlines_of_both_maps_are_white_where_they_agree() -> None:
    first, second = np.array([[True, True, False, False]]), np.array([[True, False, True, False]])
    rgba = p.two_outlines(first, second).rgba()[0].tolist()
    expected = [[*p.BOTH, 255], [*p.FIRST, 255], [*p.SECOND, 255]]
    assert rgba[:3] == expected and rgba[3][3] == 0


def test_a_drawing_is_compressed_without_loss() -> None:
    drawing = p.drawn(np.linspace(0, 1, 64).reshape(8, 8), (255, 150, 30))
    np.testing.assert_array_equal(decoded(drawing.uri(), "RGBA"), drawing.rgba())
    opaque = p.coloured(DISC, 0, 60, p.SEQUENTIAL)
    np.testing.assert_array_equal(decoded(opaque.uri(), "RGBA"), opaque.rgba())


def test_a_photo_is_nearly_the_image() -> None:
    grey = (0.5 + 0.5 * np.sin(DISC / 6)).astype(np.float32)
    error = decoded(p.photo(grey), "L") / 255 - grey
    assert np.abs(error).mean() < 0.01 and decoded(p.photo(grey), "L").shape == (80, 100)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1)])
def test_thin_planes_have_pictures_too(shape) -> None:
    plane = np.linspace(0, 1, max(shape), dtype=np.float32).reshape(shape)
    assert p.photo(p.stretched(plane, (7, 9))) and p.edges(plane).shape == shape
    assert p.lines(plane, plane, 1.0).shape == shape
