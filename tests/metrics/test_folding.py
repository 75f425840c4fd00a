"""Folding of maps whose Jacobians are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sacbnet.metrics.folding import folding
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import DisplacementField


def field(u: np.ndarray, affine=None) -> DisplacementField:
    return DisplacementField.from_voxels(
        Grid(u.shape[:3], np.eye(4) if affine is None else affine), u
    )


def stretched(factors, shape=(8, 9, 10)) -> np.ndarray:
    return np.moveaxis(np.indices(shape), 0, -1) * (np.asarray(factors) - 1.0)


def test_folding_of_a_uniform_stretch():
    found = folding(field(stretched([1.5, 0.8, 1.0])))
    assert (
        found.folded_voxels == 0
        and found.folded_percent == 0
        and found.non_diffeomorphic_percent == 0
    )
    assert found.jacobian_min == pytest.approx(
        1.2, abs=1e-4
    ) and found.jacobian_max == pytest.approx(1.2, abs=1e-4)
    assert found.sd_log_jacobian == pytest.approx(0, abs=1e-4)


def test_sd_log_jacobian_of_two_halves():
    """x runs twice as fast in one half of the volume, half as fast in the other; equal counts."""
    steps = np.concatenate([np.full(8, 2.0), np.full(8, 0.5)])
    x = np.concatenate([[0], np.cumsum(steps)])  # 17 planes
    u = np.zeros((17, 4, 4, 3))
    u[..., 0] = (x - np.arange(17))[:, None, None]
    found = folding(field(u))
    log = np.log([2.0] * 8 + [1.25] + [0.5] * 8)  # the plane between sees the mean of both
    assert found.sd_log_jacobian == pytest.approx(log.std(), abs=1e-5)
    assert (found.jacobian_min, found.jacobian_max) == (pytest.approx(0.5), pytest.approx(2))


def test_folded_voxels_are_counted():
    """Planes at x = 0 1 2 3 | 2.5 2 1.5 | 2.5 4 5 6 7.

    Central differences are <= 0 where the neighbours change their order.
    """
    x = np.array([0, 1, 2, 3, 2.5, 2, 1.5, 2.5, 4, 5, 6, 7])
    u = np.zeros((12, 5, 6, 3))
    u[..., 0] = (x - np.arange(12))[:, None, None]
    planes = int((np.gradient(x) <= 0).sum())
    found = folding(field(u))
    assert planes == 2 and found.folded_voxels == planes * 30
    assert found.folded_percent == pytest.approx(100 * planes / 12)
    assert found.non_diffeomorphic_percent == pytest.approx(100 * 1.5 / 11)
    assert found.jacobian_min == pytest.approx(-0.5)
    positive = np.gradient(x)[np.gradient(x) > 0]
    # over the unfolded voxels only
    assert found.sd_log_jacobian == pytest.approx(np.log(positive).std(), abs=1e-5)


def test_folding_does_not_depend_on_how_the_grid_lies():
    rng = np.random.default_rng(0)
    u = rng.normal(scale=0.4, size=(8, 9, 10, 3))
    affine = np.array([[0, -3.0, 0.5, 7], [2, 0.3, 0, 8], [0, 0, -1.5, 9], [0, 0, 0, 1]])
    plain, oblique = folding(field(u)), folding(field(u, affine))
    assert plain.folded_voxels == oblique.folded_voxels > 0
    assert plain.non_diffeomorphic_percent == pytest.approx(
        oblique.non_diffeomorphic_percent, rel=1e-4
    )
    assert plain.sd_log_jacobian == pytest.approx(oblique.sd_log_jacobian, rel=1e-3)


def test_mask_limits_the_statistics_not_the_count():
    u = np.zeros((12, 6, 6, 3))
    u[8, 3, 3, 0] = 3.0  # a fold, outside the mask
    mask = np.zeros((12, 6, 6), dtype=bool)
    mask[:5] = True
    found = folding(field(u), mask)
    assert found.folded_voxels > 0 and found.non_diffeomorphic_percent > 0
    assert found.jacobian_min == found.jacobian_max == 1 and found.sd_log_jacobian == 0


def test_an_empty_mask_has_no_statistics():
    """No crash at the end of a long run over a mask that was cropped away."""
    found = folding(field(np.zeros((4, 4, 4, 3))), np.zeros((4, 4, 4), dtype=bool))
    assert found.folded_voxels == 0
    assert (
        math.isnan(found.jacobian_min)
        and math.isnan(found.jacobian_max)
        and math.isnan(found.sd_log_jacobian)
    )


def test_a_volume_of_exactly_0_is_folded():
    """All planes fall on one: det J is 0 everywhere, and no logarithm of it exists."""
    found = folding(field(stretched([0, 1, 1])))
    assert found.folded_percent == 100 and found.folded_voxels == 8 * 9 * 10
    assert found.jacobian_min == found.jacobian_max == 0 and math.isnan(found.sd_log_jacobian)
