"""Inverses against maps whose inverse is known, and the honesty of the residual."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sacbnet.kernels.cpu import native
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.invert import invert
from sacbnet.spatial.transforms import Affine, DisplacementField, chain

GRID = Grid((20, 22, 24), np.diag([2.0, 2, 2, 1]))


def voxels(grid: Grid) -> np.ndarray:
    return grid.world(np.moveaxis(np.indices(grid.shape), 0, -1))


def turned(degrees: float, shift=(3.0, -2, 1), stretch=(1.1, 0.9, 1.05)) -> Affine:
    matrix = np.eye(4)
    matrix[:3, :3] = (
        Rotation.from_euler("xyz", [degrees, degrees / 2, -degrees], degrees=True).as_matrix()
        * stretch
    )
    about = Affine.translation(GRID.centre)
    return about @ Affine.translation(shift) @ Affine(matrix) @ about.inverse


class Stretch:
    """x -> c + (x - c)(1 + a·exp(-r²/2s²)): radial and one-to-one; its inverse by bisection."""

    def __init__(self, a: float, s: float = 8.0) -> None:
        self.a, self.s, self.centre = a, s, GRID.centre

    def radius(self, r):
        return r * (1 + self.a * np.exp(-(r**2) / (2 * self.s**2)))

    @property
    def least(self) -> float:
        """The smallest dr'/dr, at r² = 3s² (for a > 0); errors of the inverse grow by 1/least."""
        return 1 - 2 * self.a * np.exp(-1.5) if self.a > 0 else 1 + self.a

    def __call__(self, points):
        d = np.asarray(points, dtype=np.float64) - self.centre
        r = np.linalg.norm(d, axis=-1, keepdims=True)
        return self.centre + d * (1 + self.a * np.exp(-(r**2) / (2 * self.s**2)))

    def inverse(self, points):
        d = np.asarray(points, dtype=np.float64) - self.centre
        target = np.linalg.norm(d, axis=-1, keepdims=True)
        low, high = np.zeros_like(target), 2 * target + 1
        for _ in range(80):
            middle = (low + high) / 2
            above = self.radius(middle) > target
            low, high = np.where(above, low, middle), np.where(above, middle, high)
        return self.centre + d * (low / np.maximum(target, 1e-12))


def away_from_the_faces(grid: Grid, q: np.ndarray, margin=2.0) -> np.ndarray:
    return grid.contains(q, margin_voxels=-margin)


@pytest.mark.parametrize("degrees", [0, 15, 60, 170])
@pytest.mark.parametrize("with_guess", [True, False])
def test_affine(degrees, with_guess):
    if degrees > 90 and not with_guess:
        pytest.skip("half a turn with no guess is not promised")
    affine = turned(degrees)
    found = invert(affine, GRID, GRID, affine if with_guess else None)
    np.testing.assert_allclose(found.field(voxels(GRID)), affine.inverse(voxels(GRID)), atol=0.02)
    assert found.residual_max_mm <= 0.011


@pytest.mark.parametrize("a", [-0.3, 0.4])
def test_smooth_diffeomorphism(a):
    stretch = Stretch(a)
    found = invert(stretch, GRID, GRID)
    q = voxels(GRID)
    # there is something to invert
    assert np.linalg.norm(stretch.inverse(q) - q, axis=-1).max() > 1.3
    np.testing.assert_allclose(found.field(q), stretch.inverse(q), atol=0.03)
    assert found.residual_mean_mm <= found.residual_max_mm <= 0.01


@pytest.mark.parametrize("a", [1.9, 2.1])
def test_strong_stretch_where_the_fixed_point_alone_fails(a):
    stretch, q = Stretch(a), voxels(GRID)
    p = q.copy()
    for _ in range(200):
        p = p - (stretch(p) - q)
    assert np.abs(stretch(p) - q).max() > 1  # |du/dx| > 1: the plain iteration does not settle
    found = invert(stretch, GRID, GRID)
    assert found.residual_max_mm <= 0.011
    np.testing.assert_allclose(stretch(found.field(q)), q, atol=0.02)
    np.testing.assert_allclose(found.field(q), stretch.inverse(q), atol=0.011 / stretch.least)


@pytest.mark.parametrize("a", [-0.3, 0.4, 1.9])
def test_affine_and_dense_together(a):
    """As in the pipeline: an affine after a displacement, the affine as the guess, another grid."""
    affine, stretch = turned(40, stretch=(1.3, 0.8, 1)), Stretch(a)
    transform = chain(affine, stretch)
    on = GRID.with_spacing(1.7)
    found = invert(transform, GRID, on, affine)
    q = voxels(on)
    expected = stretch.inverse(affine.inverse(q))
    inside = away_from_the_faces(GRID, expected)
    assert inside.mean() > 0.3
    np.testing.assert_allclose(found.field(q)[inside], expected[inside], atol=0.015 / stretch.least)
    assert found.residual_max_mm <= 0.011


def test_of_a_displacement_field_on_an_oblique_grid():
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [20, 30, 10], degrees=True).as_matrix() * [
        1.5,
        2,
        -2.5,
    ]
    grid = Grid((26, 22, 18), affine)
    centred = Affine.translation(GRID.centre - grid.centre)
    field = DisplacementField.from_map(chain(centred.inverse, Stretch(0.5), centred), grid)
    found = invert(field, grid, grid)
    q = voxels(grid)
    inside = away_from_the_faces(grid, q)
    np.testing.assert_allclose(field(found.field(q))[inside], q[inside], atol=0.02)
    # and the other way round, up to the interpolation of the inverse between its voxels
    assert np.linalg.norm(found.field(field(q)) - q, axis=-1)[inside].max() < 0.3


def test_identity_is_exact():
    found = invert(lambda p: np.asarray(p, dtype=np.float64), GRID, GRID)
    assert (found.field.displacement_mm == 0).all() and found.residual_max_mm == 0


def residuals(point_map, field: DisplacementField, domain: Grid) -> np.ndarray:
    q = voxels(field.grid)
    p = field(q)
    return np.linalg.norm(point_map(p) - q, axis=-1)[domain.contains(p, margin_voxels=0.0)]


@pytest.mark.parametrize("folded", [False, True])
def test_the_residual_is_what_it_says(folded):
    """Measured again from the returned field; with a fold, which has no inverse, it is large."""
    stretch = Stretch(-0.3)

    def collapse(p):
        out = stretch(p)
        if folded:  # a band 8 mm wide is never reached: no p has an image there
            out[..., 0] += np.where(out[..., 0] > GRID.centre[0], 4.0, -4.0)
        return out

    found = invert(collapse, GRID, GRID)
    again = residuals(collapse, found.field, GRID)
    if folded:
        assert found.residual_max_mm > 1
    assert found.residual_max_mm == pytest.approx(float(again.max()), abs=0.02)
    assert found.residual_mean_mm == pytest.approx(float(again.mean()), abs=0.01)


def test_a_tighter_tolerance_is_kept():
    found = invert(Stretch(0.4), GRID, GRID, tolerance_mm=1e-4)
    assert found.residual_max_mm <= 1.1e-4
    assert residuals(Stretch(0.4), found.field, GRID).max() < 2e-4


@pytest.mark.parametrize("shape", [(1, 6, 7), (5, 1, 20), (1, 1, 1), (13, 13, 13)])
def test_any_shape(shape):
    grid = Grid(shape, np.diag([3.0, 3, 3, 1]))
    found = invert(Affine.translation([0.5, 0, -0.5]), grid, grid)
    np.testing.assert_allclose(
        found.field.displacement_mm, np.broadcast_to([-0.5, 0, 0.5], (*shape, 3)), atol=0.01
    )


def test_no_voxel_in_the_domain():
    """The images do not overlap at all: nothing to measure, and no crash."""
    far = GRID.cropped([1000, 0, 0], [1004, 4, 4])
    found = invert(Affine(), GRID, far)
    assert found.residual_mean_mm == 0 and found.residual_max_mm == 0


@pytest.mark.parametrize("plain", [False, True])
def test_residuals_count_inside_the_outermost_centres_only(plain):
    """Beyond the centres the map is not known, and a residual there says nothing."""
    wide = GRID.cropped([-2, -2, -2], np.array(GRID.shape) + 2)
    u = np.zeros((*wide.shape, 3), np.float32)
    u[:2, ..., 1] = u[-2:, ..., 1] = 0.5  # mm, from one voxel beyond the domain on
    on = GRID.with_spacing(GRID.spacing)
    shifted = Grid((21, 22, 24), Affine.translation([-0.8, 0, 0]).matrix @ on.affine)
    with native.plain_kernels() if plain else nullcontext():
        # so large a tolerance that no step is taken: the residual is u itself
        found = invert(DisplacementField(wide, u), GRID, shifted, tolerance_mm=1.0)
    assert found.residual_max_mm < 1e-6 and found.residual_mean_mm < 1e-6
    with native.plain_kernels() if plain else nullcontext():
        known = invert(DisplacementField(wide, u), wide, shifted, tolerance_mm=1.0)
    assert known.residual_max_mm == pytest.approx(0.3, abs=1e-5)  # at 0.6 voxels beyond
