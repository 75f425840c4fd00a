"""A small picture shows the pair at its middle, and what was drawn over it."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as Pillow

from sacbnet.reporting.page.thumbnail import data_uri, thumbnail, thumbnail_of
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine


def seen(jpeg: bytes) -> np.ndarray:
    return np.asarray(Pillow.open(io.BytesIO(jpeg))).astype(int)


def coloured(picture: np.ndarray) -> np.ndarray:
    """Pixels that are not grey."""
    return np.ptp(picture, axis=-1) > 60


def test_it_shows_three_planes_and_outlines(registered) -> None:
    jpeg = thumbnail_of(registered)
    picture = seen(jpeg)
    assert picture.shape[0] == 150 and picture.shape[1] > 300 and len(jpeg) < 40_000
    assert coloured(picture).mean() > 0.005
    low = seen(thumbnail_of(registered, both=True))
    assert low.shape[0] == 303
    np.testing.assert_array_less(abs(low[:150] - picture).mean(), 6)
    assert coloured(low[160:]).mean() < 0.002  # the moved image alone is grey
    assert thumbnail_of(replace(registered, inputs=None)) is None
    assert data_uri(jpeg).startswith("data:image/jpeg;base64,/9j/")


def test_without_labels_the_edges_of_the_moved_image_are_drawn(registered) -> None:
    inputs = replace(registered.inputs, fixed_labels=None, moving_labels=None)
    picture = seen(thumbnail_of(replace(registered, inputs=inputs)))
    red, _, blue = (picture[..., n][coloured(picture)].mean() for n in range(3))
    assert red > 150 > blue


def test_a_wrong_transform_is_seen(registered) -> None:
    """The moved image lies elsewhere: the lower row differs from the upper one."""
    inputs = registered.inputs
    given = {"fixed": inputs.fixed, "moving": inputs.moving, "both": True}

    def apart(transform) -> float:
        picture = seen(thumbnail(transform=transform, **given))
        return float(abs(picture[:150] - picture[153:]).mean())

    shift = Affine.translation([15.0, 0, 0])
    assert apart(shift) > 2 * apart(registered.transform)


@pytest.mark.parametrize("shape", [(200, 4, 6), (3, 40, 40)])
def test_odd_shapes_and_empty_images_have_pictures(registered, shape) -> None:
    image = replace(
        registered.inputs.fixed, data=np.ones(shape, np.float32), grid=Grid(shape, np.eye(4))
    )
    picture = seen(thumbnail(fixed=image, moving=image, transform=Affine()))
    assert picture.shape[0] <= 200 and picture.shape[1] <= 1000
