"""How alike two images are: noise that interpolation smooths is no difference."""

from __future__ import annotations

import numpy as np
import pytest

from sacbnet.registration.measure import calm_likeness_of, likeness_of
from sacbnet.registration.prepare import Layer, Pair
from sacbnet.registration.verdict import TOLERANCE
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine, DisplacementField

SIZE = 32
GRID = Grid((SIZE,) * 3, np.diag([2.0, 2, 2, 1]))
AT = np.moveaxis(np.indices((SIZE,) * 3), 0, -1) - (SIZE - 1) / 2


def body() -> np.ndarray:
    """A ball of smooth waves, dark outside."""
    waves = 0.5 + 0.2 * np.sin(AT @ [0.3, 0.1, 0.2]) + 0.2 * np.cos(AT @ [0.1, -0.25, 0.2])
    return (waves * (np.linalg.norm(AT, axis=-1) < 8)).astype(np.float32)


def pair(fixed: np.ndarray, moving: np.ndarray, mask: np.ndarray | None = None) -> Pair:
    return Pair(GRID, 2.0, Layer(fixed, GRID, mask), Layer(moving, GRID))


def shifted(mm: float) -> DisplacementField:
    return DisplacementField(GRID, np.full((*GRID.shape, 3), mm, dtype=np.float32))


def test_noise_that_a_shift_smooths_counts_only_before_smoothing():
    noise = np.random.default_rng(0).normal(0, 0.1, body().shape)
    noisy = (body() + noise * (body() > 0)).astype(np.float32)
    images, half_a_voxel = pair(noisy, noisy), shifted(1.0)
    before, calm = (of(images, Affine(), half_a_voxel) for of in (likeness_of, calm_likeness_of))
    lost = before.start.local_correlation - before.final.local_correlation
    kept = calm.start.local_correlation - calm.final.local_correlation
    assert lost > 0.05 and lost > 5 * kept and lost > 4 * TOLERANCE > kept


def test_a_shift_by_many_voxels_stays_worse_when_smoothed():
    found = calm_likeness_of(pair(body(), body()), Affine(), shifted(10.0))
    assert found.final.local_correlation < found.start.local_correlation - 20 * TOLERANCE


def test_smoothed_images_are_compared_where_the_fixed_image_shows_something():
    """Far from the body the moving image may hold anything, also within the fixed mask."""
    moving, outside = body(), np.zeros(body().shape, bool)
    outside[0], outside[-1] = True, True  # smoothing does not reach the body from there
    moving[outside] = np.random.default_rng(1).random(int(outside.sum()), dtype=np.float32)
    still = shifted(0.0)
    for mask in (None, np.ones(body().shape, bool)):
        clean = calm_likeness_of(pair(body(), body(), mask), Affine(), still)
        spoilt = calm_likeness_of(pair(body(), moving, mask), Affine(), still)
        assert spoilt.final.mutual_information == clean.final.mutual_information
        raw = likeness_of(pair(body(), moving, mask), Affine(), still).final
        good = likeness_of(pair(body(), body(), mask), Affine(), still).final
        assert raw.mutual_information < good.mutual_information - 0.05
    half = AT[..., 0] > 0
    masked = calm_likeness_of(pair(body(), body()[::-1].copy(), half), Affine(), still)
    whole = calm_likeness_of(pair(body(), body()[::-1].copy()), Affine(), still)
    assert masked.final.mutual_information != whole.final.mutual_information


def test_each_step_is_measured_through_its_own_map():
    """The headers alone, the affine, the whole transform: only the last one is right here."""
    matrix = np.eye(4)
    matrix[:3, 3] = 6.0
    moving = np.roll(body(), (4, 4, 4), (0, 1, 2))  # by 8 mm
    found = likeness_of(pair(body(), moving), Affine(matrix), shifted(8.0))
    start, affine, final = (x.local_correlation for x in (found.start, found.affine, found.final))
    same = likeness_of(pair(body(), body()), Affine(), shifted(0.0)).final.local_correlation
    assert start < affine < final and final == pytest.approx(same, abs=1e-3)
