"""The page shows the middle of the body, and the place that fits worst."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sacbnet.registration.uncertainty import ErrorMap
from sacbnet.reporting.page.places import layout_of, unexplained


def test_what_a_linear_fit_explains_is_zero_whatever_the_contrast() -> None:
    fixed = np.random.default_rng(0).normal(size=(24, 24, 24))
    left = unexplained(fixed, 7 - 3 * fixed)
    assert np.abs(left).max() < 1e-8 * fixed.var() * 100
    broken = fixed.copy()
    broken[14:20, 4:10, 9:15] = 0
    worst = np.unravel_index(np.argmax(unexplained(fixed, broken)), fixed.shape)
    assert np.abs(np.array(worst) - (16.5, 6.5, 11.5)).max() < 4
    assert np.isfinite(unexplained(fixed, np.zeros_like(fixed))).all()


def test_the_middle_lies_in_the_body(registered) -> None:
    layout = layout_of(registered)
    at = layout.frame.grid.world(layout.middle.at)
    fixed = registered.inputs.fixed
    body = fixed.grid.world(np.argwhere(fixed.data > 0.3 * fixed.data.max()))
    assert np.linalg.norm(at - body.mean(0)) < 6
    assert layout.fixed_ends[0] < np.median(fixed.data[fixed.data > 100]) < layout.fixed_ends[1]


def test_the_shown_part_holds_the_labels_of_the_body(registered) -> None:
    frame = layout_of(registered).frame
    labels = frame.upright(registered.inputs.fixed_labels.data)
    found = np.argwhere(labels > 0)
    assert (found.min(0) >= frame.low).all() and (found.max(0) < frame.high).all()


def test_the_doubtful_place_is_the_largest_value_of_the_map_inside_the_body(registered) -> None:
    fixed = registered.inputs.fixed
    inside = tuple(np.argwhere(fixed.data > 0.5 * fixed.data.max())[1000])
    values = np.zeros(fixed.data.shape, np.float32)
    values[inside] = 4.0
    values[0, 0, 0] = 9.0  # in air
    told = layout_of(replace(registered, errors=ErrorMap(values, fixed.grid, values > 0)))
    assert told.frame.stored(told.doubtful.at) == inside
    assert "expected error" in told.doubtful.why and "expected error" in told.doubtful.title


def test_without_expected_errors_the_doubtful_place_is_where_the_images_differ(registered) -> None:
    fixed = registered.inputs.fixed
    at = np.array(np.argwhere(fixed.data > 0.5 * fixed.data.max())[4000])
    data = fixed.data.copy()
    noise = np.random.default_rng(1).uniform(0, fixed.data.max(), data.shape)
    hole = tuple(slice(max(a - 5, 0), a + 6) for a in at)
    data[hole] = noise[hole]
    moved = replace(registered.moved, data=data)
    told = layout_of(replace(registered, moved=moved, errors=None))
    found = np.array(told.frame.stored(told.doubtful.at))
    assert np.abs(found - at).max() <= 8
    assert "The expected error is not known." in told.doubtful.why


@pytest.mark.parametrize("flip", [False, True])
def test_large_volumes_are_looked_at_every_few_voxels_and_the_index_is_true(
    registered, flip
) -> None:
    """Along a reversed axis too, whose first looked-at voxel is the last one of the frame."""
    fixed = registered.inputs.fixed
    data = fixed.data.repeat(3, 2)[:, :, : 3 * fixed.data.shape[2] - 1]  # more than 96 voxels
    affine = fixed.grid.affine.copy()
    affine[:3, 2] /= 3
    if flip:
        data = data[:, :, ::-1].copy()
        affine[:3, 3] += affine[:3, 2] * (data.shape[2] - 1)
        affine[:3, 2] *= -1
    image = replace(fixed, data=data, grid=type(fixed.grid)(data.shape, affine))
    bright = np.zeros(data.shape, np.float32)
    result = replace(
        registered,
        moved=image,
        fixed_grid=image.grid,
        inputs=replace(registered.inputs, fixed=image),
        errors=ErrorMap(bright, image.grid, bright > 0),
    )
    step = -(-data.shape[2] // 96)
    assert step == 2
    looked = np.argwhere(data > 0.5 * data.max())
    at = tuple(looked[looked[:, 2] % step == 0][2000])
    bright[at] = 1
    told = layout_of(result)
    assert told.frame.stored(told.doubtful.at) == at
