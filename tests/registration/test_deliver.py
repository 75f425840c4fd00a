"""The delivered transform does not fold, on whatever grid it is written, and the report says so."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation

from sacbnet.metrics.folding import folding
from sacbnet.registration.deliver import HAIR, Mended, Repair, deliver, inverse_grid
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.jacobian import folds
from sacbnet.spatial.transforms import Affine, DisplacementField, chain
from sacbnet.spatial.unfold import unfold

WORKING = Grid((20, 22, 24), np.diag([2.0, 2.0, 2.0, 1.0]))
TURN = np.array([[0.9, -0.3, 0.1, 4], [0.25, 0.95, -0.2, -3], [-0.1, 0.2, 1.05, 150], [0, 0, 0, 1]])


def fixed_grids() -> dict[str, Grid]:
    oblique = np.eye(4)
    oblique[:3, :3] = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0] * [
        0.8,
        1.1,
        2.5,
    ]
    oblique[:3, 3] = WORKING.centre - oblique[:3, :3] @ [20, 16, 8]
    left_handed = np.diag([-3.5, 3.2, 5, 1.0])
    left_handed[0, 3] = 40
    return {
        "the same": WORKING,
        "finer": Grid((60, 66, 36), np.diag([0.7, 0.7, 1.3, 1.0])),
        "coarser, left-handed": Grid((12, 14, 10), left_handed),
        "oblique": Grid((40, 32, 16), oblique),
    }


def field(rough: float) -> torch.Tensor:
    """(3, i, j, k) voxels: smooth, up to 2, and a patch that is not."""
    coarse = torch.randn(1, 3, 5, 5, 5, generator=torch.Generator().manual_seed(0))
    u = F.interpolate(coarse, WORKING.shape, mode="trilinear", align_corners=True)[0] * 0.8
    u[:, 5:15, 5:15, 5:15] += rough * torch.randn(
        3, 10, 10, 10, generator=torch.Generator().manual_seed(1)
    )
    return u


@pytest.mark.parametrize("name", fixed_grids())
@pytest.mark.parametrize("rough", [0.3, 1.5])
def test_no_fold_is_delivered(name, rough):
    u, fixed = field(rough), fixed_grids()[name]
    given = u.clone()
    transform, report = deliver(u, WORKING, Affine(TURN), fixed)
    assert torch.equal(u, given) and transform.grid == fixed
    found = folding(transform)
    assert (
        found.non_diffeomorphic_percent == 0 and found.folded_voxels == 0 and found.jacobian_min > 0
    )
    work = report.working_grid
    assert 0 < work.voxels_changed <= 16**3 and work.remaining_voxels == 0
    assert work.voxels_changed_percent == pytest.approx(
        100 * work.voxels_changed / np.prod(WORKING.shape)
    )
    assert 0 < work.mean_change_mm < work.largest_change_mm < 2 * 6 * (0.3 + rough)


def test_the_fixed_grid_folds_anew_and_its_report_is_what_was_changed():
    """A crumpled map that is sound on its own lattice, at the points of another."""
    fixed = fixed_grids()["oblique"]
    u = field(0.4)
    transform, report = deliver(u, WORKING, Affine(TURN), fixed)
    kept = report.fixed_grid
    assert kept.voxels_changed > 0 and kept.remaining_voxels == 0
    whole = DisplacementField.from_voxels(WORKING, unfold(u)[0].permute(1, 2, 3, 0).numpy())
    written = DisplacementField.from_map(chain(Affine(TURN), whole), fixed)
    assert folding(written).non_diffeomorphic_percent > 0
    change = np.linalg.norm(transform.displacement_mm - written.displacement_mm, axis=-1)
    # the others to the last bit
    assert kept.voxels_changed == (change > 0).sum() < 0.1 * change.size
    assert kept.largest_change_mm == pytest.approx(change.max())
    assert kept.mean_change_mm == pytest.approx(change[change > 0].mean())


def test_without_folds_nothing_is_changed():
    u = field(0.0)
    transform, report = deliver(u, WORKING, Affine(), WORKING)
    np.testing.assert_allclose(
        transform.displacement_mm, 2 * u.permute(1, 2, 3, 0).numpy(), atol=1e-5
    )
    nothing = Mended(0, 0.0, 0.0, 0.0, 0)
    assert report == Repair(working_grid=nothing, fixed_grid=nothing)


def test_folds_that_the_bound_of_the_work_leaves_are_told_and_not_tried_again(monkeypatch):
    monkeypatch.setattr("sacbnet.spatial.unfold.MOST_WORK", 0)
    monkeypatch.setattr("sacbnet.spatial.unfold.ALWAYS", 0)
    tried = []

    def counted(u, *margin):
        tried.append(margin)
        return unfold(u, *margin)

    monkeypatch.setattr("sacbnet.registration.deliver.unfold", counted)
    transform, report = deliver(field(1.5), WORKING, Affine(), WORKING)
    assert len(tried) == 2  # the working grid, and the fixed grid once
    assert report.working_grid.remaining_voxels > 0
    u = torch.from_numpy(transform.displacement_vox()).permute(3, 0, 1, 2)
    assert report.fixed_grid.remaining_voxels == int(folds(u, HAIR).sum()) > 0


def test_without_repair_the_map_is_what_was_found():
    """The folds of the displacement are still there, on its own grid to the last bit."""
    u = field(1.5)
    transform, report = deliver(u, WORKING, Affine(), WORKING, repair=False)
    assert report is None and folding(transform).non_diffeomorphic_percent > 0
    np.testing.assert_allclose(
        transform.displacement_mm, 2 * u.permute(1, 2, 3, 0).numpy(), atol=1e-5
    )


# -- the grid of the inverse -----------------------------------------------------------------------
def moving_grid(spacing, shape=(20, 22, 12), turn=(10.0, -20, 5)) -> Grid:
    affine = np.eye(4)
    linear = Rotation.from_euler("xyz", turn, degrees=True).as_matrix() * spacing
    affine[:3, :3] = linear
    affine[:3, 3] = WORKING.centre - linear @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


def lattice_of(grid: Grid, other: Grid) -> np.ndarray:
    """(3,) voxel coordinates of the first voxel of `other` in `grid`: whole numbers, if both share
    a lattice."""
    return grid.voxels(other.world([0, 0, 0]))


def test_the_inverse_lies_on_the_moving_lattice_and_holds_all_that_is_reached():
    moving = moving_grid((1.5, 1.5, 1.5))
    for axis in range(3):
        for side in (0, -1):
            # only one face of the fixed grid is moved beyond the moving image, by 90 mm
            u = np.zeros((*WORKING.shape, 3), np.float32)
            face = np.moveaxis(u, axis, 0)[side]
            face[..., axis] = 90.0 if side else -90.0
            transform = DisplacementField(WORKING, u)
            found = inverse_grid(moving, transform, 1.5)
            mapped = transform(WORKING.world(np.argwhere(np.ones(WORKING.shape))))
            assert found.contains(mapped, 1e-6).all() and found.contains(moving.corners).all()
            assert not moving.contains(mapped).all()
            np.testing.assert_allclose(found.affine[:3, :3], moving.affine[:3, :3])
            first = lattice_of(moving, found)
            np.testing.assert_allclose(first, np.round(first), atol=1e-6)
            # and no more than that: one voxel less, on any side, would lose a point
            at = found.voxels(np.concatenate([mapped, moving.corners]))
            assert (at.min(0) < 1 + 1e-6).all() and (at.max(0) > np.array(found.shape) - 2).all()


@pytest.mark.parametrize(
    "spacing, working, expected",
    [
        ((1.0, 1.0, 5.0), 1.0, (1.0, 1.0, 1.0)),
        ((1.0, 1.0, 5.0), 2.0, (1.0, 1.0, 2.5)),  # the nearest whole number of parts
        ((0.8, 1.4, 1.6), 1.0, (0.8, 1.4, 0.8)),
        ((3.0, 3.0, 3.0), 1.0, (1.0, 1.0, 1.0)),
        ((0.5, 0.5, 0.5), 2.0, (0.5, 0.5, 0.5)),  # never coarser
    ],
)
def test_thick_slices_of_the_inverse_are_divided(spacing, working, expected):
    found = inverse_grid(moving_grid(spacing), DisplacementField.zeros(WORKING), working)
    np.testing.assert_allclose(found.spacing, expected)


def test_a_large_inverse_is_thinned(monkeypatch):
    moving, zeros = moving_grid((1.0, 1.0, 1.0)), DisplacementField.zeros(WORKING)
    whole = inverse_grid(moving, zeros, 1.0)
    count = int(np.prod(whole.shape))
    monkeypatch.setattr("sacbnet.registration.deliver.MOST_INVERSE_VOXELS", count)
    assert inverse_grid(moving, zeros, 1.0) == whole
    monkeypatch.setattr("sacbnet.registration.deliver.MOST_INVERSE_VOXELS", count / 8)
    thin = inverse_grid(moving, zeros, 1.0)
    np.testing.assert_allclose(thin.spacing, (2, 2, 2))
    assert thin.contains(WORKING.corners).all() and thin.contains(moving.corners).all()
    assert np.prod(thin.shape) == pytest.approx(count / 8, rel=0.1)
