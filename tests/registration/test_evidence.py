"""The evidence behind a verdict, on images whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from sacbnet.imaging.image import Image
from sacbnet.registration.evidence import evidence_of, mask_doubts
from sacbnet.registration.inputs import Inputs
from sacbnet.registration.prepare import prepare
from sacbnet.registration.verdict import judge
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine, DisplacementField

GRID = Grid((36, 40, 38), np.diag([2.0, 2.0, 2.0, 1.0]))


def body(seed: int = 0) -> Image:
    """A ball of tissue with structure inside, in air."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=GRID.shape), 1.5)
    x = np.indices(GRID.shape).T - (np.array(GRID.shape) - 1) / 2
    ball = (np.linalg.norm(x, axis=-1) < 15).T
    return Image(np.where(ball, 100 + 300 * noise, 0).clip(0).astype(np.float32), GRID)


def field(u: np.ndarray | float = 0.0) -> DisplacementField:
    return DisplacementField(GRID, (np.zeros((*GRID.shape, 3)) + u).astype(np.float32))


def found(moving: Image, transform: DisplacementField | None = None, affine: Affine | None = None):
    pair = prepare(Inputs(body(), moving))
    return evidence_of(pair, affine or Affine(), transform or field())


def test_an_image_onto_itself_is_far_beyond_chance():
    e = found(body())
    assert e.likeness > 0.95 and e.likeness - e.chance > 0.6
    assert e.overlap > 0.99 and e.shared == 1.0
    assert e.stretch < 1e-6 and e.bend < 1e-6
    assert judge(e, None).word == "good"


@pytest.mark.parametrize(
    "moving",
    [
        Image(np.random.default_rng(1).normal(100, 20, GRID.shape).astype(np.float32), GRID),
        Image(np.roll(body().data, (9, 9, 9), (0, 1, 2)), GRID),
    ],
    ids=["noise", "elsewhere"],
)
def test_what_does_not_lie_together_is_no_better_than_chance(moving):
    e = found(moving)
    assert e.likeness - e.chance < 0.12
    assert judge(e, None).word == "failed"


def test_another_inside_within_the_same_outline_is_less_alike():
    assert found(body(7)).likeness < 0.6 < found(body()).likeness


def test_stretch_and_bend_are_those_of_the_field_beyond_the_affine():
    affine = Affine(np.diag([1.1, 0.95, 1.0, 1.0]))
    points = GRID.world(np.argwhere(np.ones(GRID.shape, bool))).reshape(*GRID.shape, 3)
    beyond = points.copy()
    beyond[..., 0] += 0.2 * (points[..., 0] - 35)  # volumes grow by 1.2
    whole = field(affine(beyond.reshape(-1, 3)).reshape(points.shape) - points)
    e = found(body(), whole, affine)
    assert e.stretch == pytest.approx(np.log(1.2), rel=0.02)
    # a ball of radius R has a root mean square of R / sqrt(5) along one axis, sqrt(3) that in all
    assert e.bend == pytest.approx(0.2 / np.sqrt(3), rel=0.05)
    assert (
        found(
            body(), field(affine(points.reshape(-1, 3)).reshape(points.shape) - points), affine
        ).bend
        < 0.01
    )


def test_the_share_that_the_moving_image_shows():
    image = body()
    half = Image(
        np.ascontiguousarray(image.data[:18]), GRID.cropped((0, 0, 0), (18, *GRID.shape[1:]))
    )
    mask = Image(np.ones(half.data.shape, np.uint8), half.grid)
    pair = prepare(Inputs(image, half, moving_mask=mask))
    e = evidence_of(pair, Affine(), field())
    assert e.shared == pytest.approx(0.5, abs=0.05)
    assert "50 % of the fixed body" in str(judge(e, None)) or e.shared >= 0.5


def test_a_mask_that_lies_in_the_background_is_told():
    image = body()
    own = Image((image.data > 0).astype(np.uint8), GRID)
    shifted = Image(np.roll(own.data, 12, 0), GRID)
    assert not mask_doubts(Inputs(image, image, fixed_mask=own, moving_mask=own))
    (sentence,) = mask_doubts(Inputs(image, image, fixed_mask=own, moving_mask=shifted))
    assert "of the moving mask lie in the background" in sentence
