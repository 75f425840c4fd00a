"""Bodies of any size are brought to a human's, and sizes that cannot be are told."""

from __future__ import annotations

import numpy as np
import pytest

from sacbnet import register
from sacbnet.errors import InputError
from sacbnet.registration.inputs import Inputs
from sacbnet.registration.sizes import Size, network_spacing, units_of
from sacbnet.registration.units import Units

from .conftest import ball


def test_the_size_of_a_ball():
    found = Size.of(ball(0.5))
    assert found.body == pytest.approx(15, rel=0.05) and found.voxel == pytest.approx(0.5)
    assert found.length == pytest.approx(15, rel=0.1)


@pytest.mark.parametrize(
    ("body", "voxel", "decade"),
    [
        *((140, 1, 0), (77, 1, 0), (177, 1.8, 0), (400, 4, 0), (55, 1, 0), (140, 0.4, 0)),
        *((520, 2, 0), (450, 5, 0), (350, 0.8, 0)),  # trunks and whole humans
        *((20, 1, 0), (30, 1, 0), (35, 1, 0), (20, 0.6, 0)),  # small crops at a human's resolution
        *((11, 0.1, -1), (11, 0.05, -1), (17.7, 0.18, -1), (7.7, 0.1, -1), (16, 0.025, -1)),
        *((0.055, 0.001, -3), (177e3, 1800, 3), (1400, 10, 1), (1000, 3, 1)),
    ],
)
def test_the_unit_of_a_body(body, voxel, decade):
    assert Size(body, voxel).decade == decade


@pytest.mark.parametrize("voxels", [5, 20, 39, 41, 80, 150, 400])
@pytest.mark.parametrize("body", [6.0, 35, 60, 130, 300, 480, 700, 1900])
def test_a_body_in_another_unit_has_the_unit_that_follows(body, voxels):
    """Without this the same pair in centimetres or in micrometres gives another result."""
    here = Size(body, body / voxels).decade
    for power in (-6, -3, -1, 1, 3):
        factor = 10.0**power
        assert Size(body * factor, body / voxels * factor).decade == here + power


def test_a_network_sees_as_many_voxels_as_in_training():
    human, mouse = Units(length_mm=170), Units(-1, -1, length_mm=12)
    assert network_spacing(2.0, human, 1.0) == network_spacing(2.0, Units(), 1.0) == 2
    assert network_spacing(2.0, mouse, 0.8) * mouse.fixed_mm == pytest.approx(0.1)
    assert network_spacing(2.0, mouse, 1.8) == 2  # the image has no more to show
    assert network_spacing(0.1, mouse, 0.8) * mouse.fixed_mm == pytest.approx(0.1)  # mice
    assert network_spacing(2.0, Units(length_mm=60), 0.4) == 0.5
    # a trunk: no finer than its image where that is far more than a network has ever seen
    assert network_spacing(1.0, Units(length_mm=700), 5.0) == 4
    assert network_spacing(1.0, Units(length_mm=700), 1.0) == 1
    assert network_spacing(1.0, Units(length_mm=170), 5.0) == 1


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
