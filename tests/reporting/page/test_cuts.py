"""The slices of a page are the values of the volumes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from sacbnet.imaging.resampling import carry
from sacbnet.reporting.page.cuts import cut, jacobian
from sacbnet.reporting.page.frame import PLANES
from sacbnet.reporting.page.places import layout_of
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.jacobian import jacobian_determinant
from sacbnet.spatial.transforms import Affine, DisplacementField


@pytest.fixture(scope="module")
def layout(registered):
    return layout_of(registered)


@pytest.mark.parametrize("plane", PLANES, ids=lambda plane: plane.name)
def test_slices_equal_whole_volumes(registered, layout, plane) -> None:
    at, frame, inputs = layout.middle.at, layout.frame, registered.inputs
    found = cut(registered, layout, plane, at)
    low, high = layout.moving_ends
    for step, point_map in {"start": Affine(), "affine": registered.affine}.items():
        fill = registered.report.filled.value
        whole = carry(inputs.moving, inputs.fixed, point_map, "linear", fill).data
        expected = np.clip((frame.shown(plane, at, whole) - low) / (high - low), 0, 1)
        np.testing.assert_allclose(found.steps[step], expected, atol=2e-3)
        labels = carry(inputs.moving_labels, inputs.fixed, point_map, "nearest").data
        assert (found.labels[step] != frame.shown(plane, at, labels)).mean() < 1e-3
    np.testing.assert_array_equal(
        found.labels["moved"], frame.shown(plane, at, registered.moved_labels.data)
    )
    u = torch.from_numpy(registered.transform.displacement_vox()).permute(3, 0, 1, 2)
    log = np.log(jacobian_determinant(u.contiguous()).numpy())
    np.testing.assert_allclose(found.log_jacobian, frame.shown(plane, at, log), atol=1e-4)
    errors = registered.errors.onto(inputs.fixed).data
    np.testing.assert_allclose(found.error, frame.shown(plane, at, errors), rtol=1e-4)
    assert cut(replace(registered, errors=None), layout, plane, at).error is None
    assert found.fixed.shape == found.displacement.shape


def test_the_last_and_the_first_plane(registered, layout) -> None:
    shape = layout.frame.grid.shape
    u = torch.from_numpy(registered.transform.displacement_vox()).permute(3, 0, 1, 2)
    log = np.log(jacobian_determinant(u.contiguous()).numpy())
    for at in ((0, 0, 0), tuple(n - 1 for n in shape)):
        for plane in PLANES:
            found = cut(registered, layout, plane, at)
            expected = layout.frame.shown(plane, at, log)
            np.testing.assert_allclose(found.log_jacobian, expected, atol=1e-4)


def test_a_known_map_has_its_known_displacement_and_volume(registered, layout) -> None:
    """A scaling by 1.1 about the middle, after an affine of which nothing must be left."""
    grid = registered.fixed_grid
    centre = grid.centre

    def grow(points):
        return centre + 1.1 * (points - centre)

    affine = registered.affine
    known = replace(
        registered, transform=DisplacementField.from_map(lambda p: affine(grow(p)), grid)
    )
    plane = PLANES[0]
    found = cut(known, layout, plane, layout.middle.at)
    expected = 3 * np.log(1.1) + np.log(np.linalg.det(affine.matrix[:3, :3]))
    np.testing.assert_allclose(found.log_jacobian, expected, atol=1e-3)
    points = grid.world(np.moveaxis(np.indices(grid.shape), 0, -1))
    length = 0.1 * np.linalg.norm(points - centre, axis=-1)
    shown = layout.frame.shown(plane, layout.middle.at, length)
    np.testing.assert_allclose(found.displacement, shown, atol=2e-3)
    across = found.coordinates[0]  # mm along the axis towards the right, which runs leftwards
    steps = -np.diff(across, axis=1) / layout.frame.grid.spacing[0]
    np.testing.assert_allclose(steps, 1.1, atol=1e-3)


def test_folds_have_no_logarithm(registered, layout) -> None:
    grid = registered.fixed_grid
    mirrored = DisplacementField.from_map(lambda p: 2 * grid.centre - p, grid)  # det J = -1
    found = cut(replace(registered, transform=mirrored), layout, PLANES[1], layout.middle.at)
    assert np.isnan(found.log_jacobian).all()


def test_one_slice_has_a_jacobian_too() -> None:
    grid = Grid((5, 6, 1), np.diag([1.0, 2.0, 9.0, 1.0]))
    points = grid.world(np.moveaxis(np.indices(grid.shape), 0, -1))
    np.testing.assert_allclose(jacobian(points * [2, 1, 1], grid), 2)
