"""The same pair in another unit gives the same result."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sacbnet import register
from sacbnet.registration.inputs import Inputs
from sacbnet.registration.landmarks import Landmarks
from sacbnet.registration.units import Units
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine

from .conftest import ball


@pytest.mark.parametrize("factor", [0.1, 1000.0])
def test_another_unit_changes_nothing(factor):
    options = {
        "weights": "none",
        "affine": "none",
        "refine": 2,
        "save": ("uncertainty", "jacobian", "grid"),
    }
    images = {"fixed": ball(), "moving": ball(shift=1.5)}
    marks = np.array([[0.0, 0, 0], [5, 5, 5]])
    plain = register(**images, **options, fixed_points=marks, moving_points=marks + 1)
    scale = np.diag([factor] * 3 + [1.0])
    scaled = {
        name: replace(i, grid=Grid(i.grid.shape, scale @ i.grid.affine))
        for name, i in images.items()
    }
    points = {"fixed_points": marks * factor, "moving_points": (marks + 1) * factor}
    other = register(**scaled, **options, **points)
    for a, b in ((plain.transform, other.transform), (plain.inverse, other.inverse)):
        np.testing.assert_allclose(
            b.displacement_mm, a.displacement_mm * factor, atol=1e-4 * factor
        )
        np.testing.assert_allclose(b.grid.affine[:3], a.grid.affine[:3] * factor, rtol=1e-4)
    assert other.transform.grid is scaled["fixed"].grid
    assert other.moved.grid is scaled["fixed"].grid and other.fixed_grid is scaled["fixed"].grid
    np.testing.assert_allclose(other.affine.matrix[:3, 3], plain.affine.matrix[:3, 3] * factor)
    np.testing.assert_allclose(other.moved.data, plain.moved.data, atol=0.01)
    a, b = plain.report, other.report
    assert b.working_grid.spacing_mm == pytest.approx(a.working_grid.spacing_mm * factor)
    assert b.inverse.round_trip_p95_mm == pytest.approx(a.inverse.round_trip_p95_mm * factor, 0.01)
    for name in ("mean_mm", "p95_mm"):
        expected = getattr(a.expected_error, name) * factor
        assert getattr(b.expected_error, name) == pytest.approx(expected, rel=1e-3)
    maps = (result.maps["uncertainty_mm.nii.gz"].data for result in (plain, other))
    np.testing.assert_allclose(next(maps) * factor, next(maps), rtol=0.01)
    np.testing.assert_allclose(other.errors.error_mm, plain.errors.error_mm * factor, rtol=0.01)
    for name in ("log_jacobian.nii.gz", "warped_grid.nii.gz"):  # they have no unit
        np.testing.assert_allclose(other.maps[name].data, plain.maps[name].data, atol=1e-3)
    assert b.landmarks.final.mean_mm == pytest.approx(a.landmarks.final.mean_mm * factor, 1e-3)
    assert b.similarity.final.local_correlation == pytest.approx(
        a.similarity.final.local_correlation, abs=1e-4
    )


def test_units_of_landmarks_and_affines():
    units = Units(-1, 0)
    marks = Landmarks(np.ones((2, 3)), np.full((2, 3), 7.0))
    inputs = units.inputs(Inputs(ball(0.1), ball(), landmarks=marks))
    assert inputs.fixed.grid.spacing[0] == pytest.approx(1) and inputs.fixed_mask is None
    assert inputs.landmarks.fixed[0, 0] == 10 and inputs.landmarks.moving[0, 0] == 7
    whole = units.affine(Affine.translation([1, 2, 3]))
    np.testing.assert_allclose(whole(np.array([0.1, 0.1, 0.1])), [2, 3, 4])
