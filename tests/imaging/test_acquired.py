"""Slices that were not acquired, and faces that cut through anatomy."""

from __future__ import annotations

import numpy as np
import pytest

from sacbnet.imaging.acquired import acquired_box, cut_faces


def body(shape=(40, 44, 48), radii=(14, 16, 200)) -> np.ndarray:
    """A textured body in air (-1000), long along the last axis by default."""
    p = np.indices(shape) - (np.array(shape)[:, None, None, None] - 1) / 2
    inside = sum((x / r) ** 2 for x, r in zip(p, radii, strict=True)) < 1
    texture = np.random.default_rng(0).normal(40, 30, shape)
    return np.where(inside, texture, -1000).astype(np.float32)


@pytest.mark.parametrize("fill", [-1000.0, -3024.0, 0.0])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slabs_of_one_value_at_cut_anatomy_are_left_out(fill, axis):
    data = body()
    data[:, :, :9] = fill
    data[:, :, 37:] = fill
    found = acquired_box(np.moveaxis(data, 2, axis))
    assert found is not None
    assert found[axis] == slice(9, 37)
    assert [s for a, s in enumerate(found) if a != axis] == [
        slice(0, n) for a, n in enumerate(np.moveaxis(data, 2, axis).shape) if a != axis
    ]


def test_remnants_of_a_structure_do_not_hide_the_cut():
    data = body()
    data[:, :, 30:] = -1000
    data[18:21, 20:24, 30:44] = 35.0  # a cord that was drawn beyond the scan
    assert acquired_box(data) == (slice(0, 40), slice(0, 44), slice(0, 30))


@pytest.mark.parametrize("radii", [(14, 16, 18), (6, 8, 5), (17, 19, 21), (15, 15, 9)])
def test_a_body_that_ends_by_itself_is_acquired_as_a_whole(radii):
    assert acquired_box(body(radii=radii)) is None


def test_a_body_of_one_value_is_a_shape_and_no_cut_anatomy():
    data = np.zeros((20, 20, 20), dtype=np.float32)
    data[5:15, 5:15, 5:15] = 1
    assert acquired_box(data) is None
    assert acquired_box(np.zeros((8, 8, 8), dtype=np.float32)) is None


def test_air_with_noise_was_acquired():
    data = body()
    data[:, :, :9] = -1000
    data += np.random.default_rng(1).normal(0, 5, data.shape).astype(np.float32)
    assert acquired_box(data) is None


def test_faces_cut_a_long_body_and_not_a_short_one():
    np.testing.assert_array_equal(cut_faces(body() > -500), [[False, False, True]] * 2)
    assert not cut_faces(body(radii=(14, 16, 18)) > -500).any()


def test_a_small_cut_in_a_wide_box_is_found_and_a_tight_box_is_not_cut():
    wide = np.full((120, 120, 30), -1000.0)
    wide[40:80, 38:82] = body()[:, :, :30]
    assert (wide[:, :, 0] > -500).mean() < 0.1
    np.testing.assert_array_equal(cut_faces(wide > -500), [[False, False, True]] * 2)
    ball = body((29, 33, 37), (14.2, 16.2, 18.2)) > -500  # touches all faces
    assert ball[:, :, 0].any() and not cut_faces(ball).any()
