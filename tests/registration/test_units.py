"""The same pair in another unit gives the same result, and sizes that cannot be are told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sacbnet import register
from sacbnet.errors import InputError
from sacbnet.imaging.image import Image
from sacbnet.registration.inputs import Inputs
from sacbnet.registration.landmarks import Landmarks
from sacbnet.registration.units import Size, Units, network_spacing, units_of
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine

AT = np.indices((40, 44, 36)).transpose(1, 2, 3, 0) - (19.5, 21.5, 17.5)


def ball(spacing: float = 1.0, voxels: float = 15.0, shift: float = 0.0) -> Image:
    near = np.linalg.norm(AT + shift, axis=-1) < voxels
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -19.5 * spacing
    texture = 60 + 30 * np.sin(AT[..., 0] / 2) * np.cos(AT[..., 1] / 3)
    return Image((near * texture).astype(np.float32), Grid(AT.shape[:3], affine))


def test_the_size_of_a_ball():
    found = Size.of(ball(0.5))
    assert found.body == pytest.approx(15, rel=0.05) and found.voxel == pytest.approx(0.5)
    assert found.length == pytest.approx(15, rel=0.1)


@pytest.mark.parametrize(
    ("body", "voxel", "decade"),
    [
        *((140, 1, 0), (77, 1, 0), (177, 1.8, 0), (400, 4, 0), (1000, 3, 0), (55, 1, 0)),
        *((20, 1, 0), (30, 1, 0)),  # small crops at a human's resolution
        *((11, 0.1, -1), (11, 0.05, -1), (17.7, 0.18, -1), (7.7, 0.1, -1), (16, 0.025, -1)),
        *((0.055, 0.001, -3), (177e3, 1800, 3), (1400, 10, 1)),
    ],
)
def test_the_unit_of_a_body(body, voxel, decade):
    assert Size(body, voxel).decade == decade
    for power in (-6, 4):  # whatever the header says
        scaled = Size(body * 10.0**power, voxel * 10.0**power)
        assert scaled.decade == decade + power or body < 32 * voxel or body == 1000


def test_a_network_sees_as_many_voxels_as_in_training():
    human, mouse = Units(length_mm=170), Units(-1, -1, length_mm=12)
    assert network_spacing(2.0, human, 1.0) == network_spacing(2.0, Units(), 1.0) == 2
    assert network_spacing(2.0, mouse, 0.8) * mouse.fixed_mm == pytest.approx(0.1)
    assert network_spacing(2.0, mouse, 1.8) == 2  # the image has no more to show
    assert network_spacing(0.1, mouse, 0.8) * mouse.fixed_mm == pytest.approx(0.1)  # mice
    assert network_spacing(2.0, Units(length_mm=60), 0.4) == 0.5


@pytest.mark.parametrize("factor", [0.1, 1000.0])
def test_another_unit_changes_nothing(factor):
    options = {"weights": "none", "affine": "none", "refine": 2}
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
    assert b.landmarks.final.mean_mm == pytest.approx(a.landmarks.final.mean_mm * factor, 1e-3)
    assert b.similarity.final.local_correlation == pytest.approx(
        a.similarity.final.local_correlation, abs=1e-4
    )


def test_a_header_that_is_ten_times_too_large_is_found_and_told():
    small, large = ball(0.1), ball(1.0, shift=1.0)
    found = register(fixed=small, moving=large, weights="none", refine=0)
    assert any("voxel size in one header" in w for w in found.report.warnings)
    assert np.linalg.det(found.affine.matrix) ** (1 / 3) == pytest.approx(10, rel=0.1)
    there = found.transform(small.grid.centre[None])[0]
    assert np.linalg.norm(there - large.grid.centre) < 3
    assert np.linalg.norm(found.inverse(there[None])[0] - small.grid.centre) < 0.02
    units, _ = units_of(Inputs(large, small), "affine")
    assert (units.fixed, units.moving) == (0, -1)


def test_sizes_that_differ_tenfold_are_refused_where_nothing_may_be_scaled():
    inputs = Inputs(ball(0.1), ball(1.0))
    with pytest.raises(InputError, match="voxel size in one header is probably wrong; correct it"):
        units_of(inputs, "rigid")
    units, warning = units_of(inputs, "none")
    assert units.fixed == units.moving and warning is not None
    assert units_of(Inputs(ball(), ball(voxels=4)), "rigid")[1] is None  # a part of the body
    assert units_of(Inputs(ball(), ball(1.3)), "rigid")[0].plain


def test_units_of_landmarks_and_affines():
    units = Units(-1, 0)
    marks = Landmarks(np.ones((2, 3)), np.full((2, 3), 7.0))
    inputs = units.inputs(Inputs(ball(0.1), ball(), landmarks=marks))
    assert inputs.fixed.grid.spacing[0] == pytest.approx(1) and inputs.fixed_mask is None
    assert inputs.landmarks.fixed[0, 0] == 10 and inputs.landmarks.moving[0, 0] == 7
    whole = units.affine(Affine.translation([1, 2, 3]))
    np.testing.assert_allclose(whole(np.array([0.1, 0.1, 0.1])), [2, 3, 4])
