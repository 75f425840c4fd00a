"""No single value decides how intensities become [0, 1]: padding, outliers, background, noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from sacbnet.imaging.canonical import canonical
from sacbnet.imaging.image import Image
from sacbnet.imaging.intensities import to_unit
from sacbnet.imaging.scaling import Scaling, scaling_of
from sacbnet.io.images import load_image
from sacbnet.registration.inputs import Inputs
from sacbnet.registration.prepare import prepare
from sacbnet.spatial.grid import Grid

Array = NDArray[np.float32]
SHAPE = (40, 42, 38)
AT = np.stack(np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in SHAPE], indexing="ij"), -1)
RADIUS = np.linalg.norm(AT / (1, 1.1, 0.9), axis=-1)
IN_PLANE = np.hypot(AT[..., 0], AT[..., 1])
RNG = np.random.default_rng(0)
NOISE = RNG.normal(size=SHAPE)


def head() -> Array:
    """0 to about 120: a shell, a brain with waves, noise in air."""
    brain = 70 + 25 * np.sin(AT[..., 0] / 3) * np.cos(AT[..., 1] / 4)
    v = np.where(RADIUS < 12, brain, np.where(RADIUS < 15, 120.0, 0.0))
    return np.abs(v + NOISE).astype(np.float32)


def ct() -> Array:
    return (np.where(RADIUS < 15, head() * 12 - 300, -1000) + 10 * NOISE).round().astype(np.float32)


def changed(data: Array, where: NDArray[np.bool_], value: object) -> Array:
    out = data.copy()
    out[where] = value
    return out


def likeness(a: Array, b: Array, where: NDArray[np.bool_]) -> float:
    return float(np.abs(a[where].astype(float) - b[where]).mean())


@pytest.mark.parametrize("data", [head(), ct(), np.where(RADIUS < 12, head(), 0)])
def test_an_ordinary_image_follows_the_ordinary_rule_to_the_last_bit(data):
    data = data.astype(np.float32)
    found = scaling_of(data)
    assert found.unit(data).tobytes() == to_unit(data).tobytes()
    assert found.outside is None and found.empty is None and not found.notes


@pytest.mark.parametrize("step", [1.0, 2.4, 5.0])
def test_noise_over_a_few_values_of_an_image_with_few_values_is_no_padding(step):
    data = (np.round((head() - 1.5 * np.abs(NOISE)) / step) * step).astype(np.float32)
    found = scaling_of(data)
    assert found.outside is None and found.empty is None and not found.negated
    assert likeness(found.unit(data), to_unit(head()), RADIUS < 12) < 0.06


@pytest.mark.parametrize("value", [-2000, -2048, -3024, -32768, 32767])
def test_padding_around_the_circle_of_a_ct_changes_nothing_inside(value):
    plain, corner = ct(), IN_PLANE > 19
    padded = changed(plain, corner, value)
    found = scaling_of(padded)
    assert found.outside is None and np.array_equal(found.empty, corner)
    assert np.array_equal(found.foreground(padded), found.foreground(plain) & ~corner)
    assert likeness(found.unit(padded), to_unit(plain), ~corner) < 0.005
    assert (found.unit(padded)[corner] == 0).all() and "padding" in found.notes[0]


@pytest.mark.parametrize("value", [-2000, 0])
def test_padding_that_cuts_the_anatomy_has_no_say(value):
    corner = AT[..., 0] + AT[..., 1] > 9
    padded = changed(ct(), corner, value)
    assert np.array_equal(scaling_of(padded).outside, padded == value)
    image = Image(padded, Grid(SHAPE, np.eye(4)))
    pair = prepare(Inputs(image, image), spacing=1.0)
    assert not pair.moving.mask[corner].any() and pair.moving.mask[~corner].mean() > 0.99
    assert pair.fixed.mask is not None


def test_two_values_of_padding():
    data = changed(changed(ct(), IN_PLANE > 19, -3024), AT[..., 2] > 17, -2000)
    empty = scaling_of(data).empty
    assert np.array_equal(empty, (IN_PLANE > 19) | (AT[..., 2] > 17))


def test_an_mr_scan_with_noise_in_air_and_padding_far_below():
    data = changed(head(), IN_PLANE > 19, -9999)
    found = scaling_of(data)
    assert np.array_equal(found.empty, IN_PLANE > 19)
    assert likeness(found.unit(data), to_unit(head()), IN_PLANE <= 19) < 0.005


@pytest.mark.parametrize("value", [1e7, -30000])
@pytest.mark.parametrize("share", [2e-5, 4e-3])
def test_a_few_voxels_far_off_do_not_set_the_range(value, share):
    where = np.random.default_rng(1).random(SHAPE) < share
    data = changed(head(), where, value)
    assert where.any() and likeness(scaling_of(data).unit(data), to_unit(head()), ~where) < 0.02


def test_metal_does_not_darken_the_tissue_but_vessels_are_no_metal():
    rod = (np.abs(AT[..., 0]) < 1) & (np.abs(AT[..., 1]) < 1) & (np.abs(AT[..., 2]) < 9)
    metal = changed(ct(), rod, 12000)
    found = scaling_of(metal)
    assert likeness(found.unit(metal), to_unit(ct()), ~rod) < 0.02 and "brighter" in found.notes[0]
    vessels = changed(head(), rod, 250)
    assert scaling_of(vessels).unit(vessels).tobytes() == to_unit(vessels).tobytes()


def test_bright_spots_alone_in_noise_are_the_anatomy():
    beads = (RNG.random(SHAPE) < 0.004) * 1000 + np.abs(NOISE) * 10
    assert scaling_of(beads).high == pytest.approx(1000, rel=0.1)


def test_a_background_that_is_the_brightest_value():
    stripped = np.where(RADIUS < 12, head(), 0).astype(np.float32)
    for data in (200 - stripped, 200 - head()):
        found = scaling_of(data)
        assert found.negated and found.foreground(data)[20, 21, 19]
        assert not found.foreground(data, 0.1)[0].any()
        assert likeness(found.unit(data), to_unit(200 - data), RADIUS < 40) < 0.01


def test_a_background_within_the_range_is_darker_than_all_tissue():
    inside = RADIUS < 12
    data = np.where(inside, head() - 70, 0).astype(np.float32)  # tissue from -25 to 25
    found = scaling_of(data)
    assert np.array_equal(found.foreground(data), inside) and found.outside is None
    unit = found.unit(data)
    assert (unit[~inside] == 0).all() and unit[inside].min() >= 0.1 - 1e-6
    order = np.argsort(data[inside])
    assert (np.diff(unit[inside][order]) >= 0).all()


def test_undershoots_of_a_resampling_count_as_background():
    inside = RADIUS < 12
    ring = (RADIUS > 12) & (RADIUS < 12.2)
    data = np.where(inside, head(), np.where(ring, -20, 0)).astype(np.float32)
    assert scaling_of(data).low == 0 and np.array_equal(scaling_of(data).foreground(data), inside)


def test_noise_in_air_as_bright_as_tissue_is_background():
    tissue = RADIUS < 15
    data = np.where(tissue, head() * 18 + 500, RNG.uniform(0, 4095, SHAPE)).astype(np.float32)
    found = scaling_of(data)
    assert np.mean(found.empty == ~tissue) > 0.95 and "mask" in found.warnings[0]
    assert found.foreground(data)[20, 21, 19]


def test_an_image_of_noise_alone_is_told():
    data = RNG.uniform(0, 1, SHAPE).astype(np.float32)
    found = scaling_of(data)
    assert found.empty is None and "no anatomy stands out" in found.warnings[0]
    assert len(found.warnings[0]) <= 300


def test_label_maps_and_masks_stay_as_they_are():
    for data in ((RADIUS < 12) * 1.0, (RADIUS < 12) * 2.0 + (RADIUS < 15) * 3.0):
        assert scaling_of(data).unit(data).tobytes() == to_unit(data).tobytes()


def test_an_image_that_its_makers_scaled_keeps_its_values():
    data = (head() / 130).astype(np.float32)
    image = Image(data, Grid(SHAPE, np.eye(4)), scaled=True)
    assert image.unit().tobytes() == np.clip(data, 0, 1).tobytes()
    assert isinstance(image.scaling, Scaling) and image.scaling is image.scaling


# -- NaN -------------------------------------------------------------------------------------------
def turned(data: Array) -> Image:
    return load_image((data[::-1].transpose(1, 0, 2).copy(), np.diag([-1.0, 1, 1, 1])))


@pytest.mark.parametrize("make", [lambda d: load_image((d, np.eye(4))), turned])
def test_nan_is_outside_the_image(make: Callable[[Array], Image]):
    data = changed(head(), RADIUS > 15, np.nan)
    data[0, 0, 0] = np.inf
    image = canonical(make(data))
    assert np.isfinite(image.data).all() and image.missing is not None
    assert np.array_equal(image.missing, image.data == 0)
    pair = prepare(Inputs(image, image), spacing=1.0)
    assert np.array_equal(pair.moving.mask, ~image.missing) and pair.fixed.mask is not None
    assert "NaN" in image.scaling.notes[0]


def test_outside_a_ct_nan_becomes_air():
    image = load_image((changed(ct(), RADIUS > 18, np.nan), np.eye(4)))
    assert image.data[0, 0, 0] == image.data.min() < -1000


def test_a_few_nan_are_filled_from_their_neighbours():
    data = head()
    data[20, 21, 19:21] = np.nan
    image = load_image((data, np.eye(4)))
    assert image.missing is None and "2 voxels" in image.warnings[0]
    assert np.abs(image.data - head()).max() < 15
