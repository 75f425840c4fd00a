"""What an image shows where it shows nothing."""

from __future__ import annotations

import numpy as np
import pytest

from sacbnet.imaging.background import background, fill_value, filling_of

SHAPE = (40, 44, 36)


def noise(sd: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, sd, SHAPE)


def ball(radius: float) -> np.ndarray:
    at = np.stack(np.meshgrid(*[np.arange(n) - n / 2 for n in SHAPE], indexing="ij"))
    return np.linalg.norm(at, axis=0) < radius


BODY, CIRCLE = ball(14), np.linalg.norm(np.indices(SHAPE)[:2].T - [20, 22], axis=-1).T < 20


def scan() -> np.ndarray:
    return np.where(BODY, 40, -1000) + np.rint(noise(12)).astype(np.int16)


@pytest.mark.parametrize("padding", [-2000, -3024])
def test_air_of_ct_also_behind_padding(padding):
    assert background(scan()) == pytest.approx(-1000, abs=2)
    assert background(np.where(CIRCLE, scan(), padding)) == pytest.approx(-1000, abs=2)
    assert background(np.where(BODY, scan(), -1000)) == -1000
    # without air the padding is all that there is
    assert background(np.where(BODY, scan(), padding)) == padding


def test_the_bed_of_ct_is_not_its_background():
    with_bed = scan()
    with_bed[:, -4:] = 200 + noise(30)[:, -4:]
    assert background(with_bed) == pytest.approx(-1000, abs=2)


def test_0_where_0_is_the_background():
    mr = np.where(BODY, 500 + noise(50), 0)
    assert background(mr) == 0
    assert background(mr + noise(3, 1)) == 0
    assert background(np.abs(mr + 1j * noise(3, 1) + noise(3, 2))) == 0  # magnitudes


def test_a_background_that_is_not_the_smallest_value():
    scaled = np.where(BODY, noise(1), 0)  # zero mean inside a mask
    assert background(scaled) == 0
    jacobian = np.where(BODY, 1 + 0.2 * noise(1), 1)
    assert background(jacobian) == 1
    assert background(np.where(BODY, 60, 250) + noise(3)) == pytest.approx(250, abs=1)
    assert background(np.where(BODY, 100, -3.5) + noise(0.4)) == pytest.approx(-3.5, abs=0.1)


def test_images_that_show_no_background():
    inside = 500 + 100 * noise(1)
    assert background(np.maximum(inside, 1)) == 0
    assert background(inside - 500) < -250  # dark, as far as the image goes
    ratio = np.random.default_rng(0).uniform(0, 4095, SHAPE)  # noise of the full range in air
    assert background(np.where(BODY, 3000, ratio)) == 0


def test_values_that_are_not_finite_do_not_count():
    assert background(np.where(BODY, scan(), np.nan)) == 0
    holes = np.where(noise(1) > 1, np.nan, scan())
    assert background(holes) == pytest.approx(-1000, abs=2)


def test_a_value_that_was_chosen():
    assert fill_value(scan(), -7) == -7 and fill_value(scan(), "auto") == background(scan())


def test_padding_of_one_value_is_no_background():
    """Scaling and filling agree on what padding is: a rotated CT, whose corners hold 0 or NaN."""
    i, j, _ = np.indices(SHAPE)
    corner = i + j < 24
    air = pytest.approx(-1000, abs=2)
    assert background(np.where(corner, 0, scan())) == air
    assert background(np.where(corner, 0, scan()), corner) == air
    assert background(np.where(corner, np.nan, scan())) == air
    mr = np.abs(np.where(BODY, 500 + noise(50), 0) + 1j * noise(3, 1))
    assert background(np.where(corner, -9999, mr)) == pytest.approx(0, abs=5)
    found = filling_of(np.where(corner, -9999, mr))
    assert found.padding == (-9999.0,) and found.value is None and found.sample.min() >= 0


def test_the_value_that_fills_the_faces_and_its_share():
    found = filling_of(np.where(BODY, 40.0, 7.0))
    assert found.value == 7 and found.share == 1 and not found.padding and not found.varied
    half = np.where(np.indices(SHAPE)[0] < 20, 7.0, 500 + noise(50))
    found = filling_of(half)
    assert found.value == 7 and found.share == pytest.approx(0.5, abs=0.05) and found.varied
    assert filling_of(noise(1)).value is None


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32])
def test_integers(kind):
    assert background(np.where(BODY, 90, 7).astype(kind)) == 7
