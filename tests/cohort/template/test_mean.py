"""The mean of intensities, and the grid of a template."""

from __future__ import annotations

import numpy as np
import pytest

from sacbnet.cohort.template.mean import (
    common_range,
    look_at,
    mean_image,
    sharpened,
    sharpness,
    template_grid,
)
from sacbnet.errors import InputError
from sacbnet.imaging.image import Image
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine


def ball(shape=(30, 26, 28), at=(0, 0, 0), gain=1.0, offset=0.0, spacing=2.0, radius=14.0):
    """A ball of mm around `at`, on a grid around the origin."""
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -spacing * (np.array(shape) - 1) / 2
    grid = Grid(shape, affine)
    points = grid.world(np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1))
    distance = np.linalg.norm(points - at, axis=-1)
    data = 100 / (1 + np.exp((distance - radius) / 1.5)) + 30 * (distance < radius / 3)
    return Image((gain * data + offset).astype(np.float32), grid)


def test_the_grid_lies_around_the_mean_of_the_centres_and_holds_every_image():
    images = [ball(at=(6, 0, 0)), ball(at=(-2, 4, 0)), ball(at=(2, -1, 3))]
    looks = [look_at(image) for image in images]
    np.testing.assert_allclose(looks[0].centre, (6, 0, 0), atol=0.2)
    grid = template_grid(looks)
    np.testing.assert_allclose(grid.spacing, 2)
    np.testing.assert_allclose(grid.centre, (2, 1, 1), atol=0.2)
    assert (np.array(grid.shape) * 2 > 2 * 14).all() and (np.array(grid.shape) * 2 < 70).all()
    assert np.allclose(grid.affine[:3, :3], 2 * np.eye(3))
    np.testing.assert_allclose(template_grid(looks, 1.0).spacing, 1)
    with pytest.raises(InputError, match="choose a coarser --spacing"):
        template_grid(looks, 0.01)


def test_images_of_other_scales_count_alike():
    images = [ball(), ball(gain=50, offset=1000), ball(gain=0.01, offset=-3)]
    looks = [look_at(image) for image in images]
    onto = common_range(looks)
    grid = images[0].grid
    mean = mean_image([(i, k, Affine()) for i, k in zip(images, looks, strict=True)], grid, onto)
    span = onto[1] - onto[0]
    want = onto[0] + (images[0].data - looks[0].low) * span / (looks[0].high - looks[0].low)
    assert np.abs(mean - want).max() < 0.02 * span
    assert onto[2] == pytest.approx(onto[0], abs=0.02 * span)  # the background is the low end


def test_each_image_goes_through_its_own_map():
    images = [ball(at=(6, 0, 0)), ball(at=(-4, 2, 0))]
    looks = [look_at(i) for i in images]
    maps = [Affine.translation((6, 0, 0)), Affine.translation((-4, 2, 0))]
    grid = ball().grid
    mean = mean_image(list(zip(images, looks, maps, strict=True)), grid, common_range(looks))
    blurred = mean_image(
        [(i, k, Affine()) for i, k in zip(images, looks, strict=True)], grid, common_range(looks)
    )
    wanted = ball().data

    def alike(data):
        return np.corrcoef(data.ravel(), wanted.ravel())[0, 1]

    assert alike(mean) > 0.995 > 0.97 > alike(blurred)


def test_where_few_images_reach_the_mean_has_the_background():
    images = [
        ball(shape=(10, 26, 28), offset=7),
        ball(offset=7),
        ball(shape=(10, 26, 28), offset=7),
    ]
    looks = [look_at(i) for i in images]
    onto = (0.0, 100.0, -5.0)
    mean = mean_image(
        [(i, k, Affine()) for i, k in zip(images, looks, strict=True)], images[1].grid, onto
    )
    assert (mean[:9] == -5).all() and (mean[11:19] != -5).all()


def test_with_mirror_images_the_mean_is_even():
    image = ball(at=(8, 3, 0))
    look = look_at(image)
    mean = mean_image([(image, look, Affine())], image.grid, common_range([look]), symmetric=True)
    np.testing.assert_array_equal(mean, mean[::-1])
    assert mean.max() > 40


def test_a_bright_background_stays_one():
    image = ball(gain=-1, offset=150)
    look = look_at(image)
    assert look.high > look.low and look.empty == pytest.approx(150, abs=5)


def test_sharpening_steepens_edges_and_keeps_the_range_and_even_parts():
    image = ball()
    grid = image.grid
    sharp = sharpened(image.data, 0.5)
    assert sharpness(sharp, grid) > 1.05 * sharpness(image.data, grid)
    assert sharp.min() == image.data.min() and sharp.max() <= image.data.max()
    even = np.full((9, 9, 9), 3.0, np.float32)
    np.testing.assert_array_equal(sharpened(even, 0.75), even)
    assert sharpened(image.data, 0.0) is image.data
