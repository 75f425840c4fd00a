"""From the engine's displacement to the delivered transform and its inverse.

Both are in world coordinates, on the grids of the images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sacbnet.spatial.grid import Grid
from sacbnet.spatial.invert import Inverse
from sacbnet.spatial.jacobian import folds
from sacbnet.spatial.transforms import Affine, DisplacementField, chain
from sacbnet.spatial.unfold import unfold

MOST_INVERSE_VOXELS = 24e6
# relative volume of a tetrahedron mended on the fixed grid: more than rounding to mm changes
FINE_MARGIN = 1e-3
# relative volume of a tetrahedron that passes: more than the difference between two ways of
# summing a determinant
HAIR = 1e-5


@dataclass(frozen=True)
class Mended:
    """What the repair of folds changed on one grid.

    Parameters
    ----------
    voxels_changed : int
        Number of voxels whose displacement changed.
    voxels_changed_percent : float
        The same in per cent of the grid.
    mean_change_mm, largest_change_mm : float
        Change of the displacement over these voxels, mm.
    remaining_voxels : int
        Voxels at a corner of a fold that could not be mended; 0 as a rule.
    """

    voxels_changed: int
    voxels_changed_percent: float
    mean_change_mm: float
    largest_change_mm: float
    remaining_voxels: int


@dataclass(frozen=True)
class Repair:
    """What the repair of folds changed.

    Parameters
    ----------
    working_grid : Mended
        On the grid on which the pair was worked.
    fixed_grid : Mended
        On the fixed image's grid, where the same map, written at other points, can fold anew.
    """

    working_grid: Mended
    fixed_grid: Mended


@dataclass(frozen=True)
class RoundTrip:
    """How exact an inverse is.

    Parameters
    ----------
    round_trip_mean_mm, round_trip_p95_mm, round_trip_max_mm : float
        Distance from p to inverse(transform(p)) over voxels of the fixed grid, mm: mean, 95th
        percentile and maximum.
    residual_mean_mm, residual_max_mm : float
        Residual of the inversion at the inverse's own voxels, mm.
    """

    round_trip_mean_mm: float
    round_trip_p95_mm: float
    round_trip_max_mm: float
    residual_mean_mm: float
    residual_max_mm: float


def deliver(
    u_vox: torch.Tensor, grid: Grid, affine: Affine, fixed: Grid, repair: bool = True
) -> tuple[DisplacementField, Repair | None]:
    """Compose the transform p -> affine(p + u(p)) on the fixed image's grid, without folds.

    Parameters
    ----------
    u_vox : Tensor, shape (3, i, j, k)
        Displacement in voxels of `grid`.
    grid : Grid
        The grid on which the pair was worked.
    affine : Affine
        The affine alignment.
    fixed : Grid
        The fixed image's grid. A sheared grid, which ITK cannot hold, is covered by an upright one.
    repair : bool, default True
        Whether folds are mended; without it the transform is what the engine found.

    Returns
    -------
    transform : DisplacementField
        The composed transform.
    repair : Repair or None
        What the repair changed; None without it.
    """
    found = DisplacementField.from_voxels(grid, _last(u_vox).numpy())
    if not repair:
        return DisplacementField.from_map(chain(affine, found), fixed.orthogonal()), None
    smooth, first = unfold(u_vox)
    u = DisplacementField.from_voxels(grid, _last(smooth).numpy()) if first["rounds"] else found
    written = DisplacementField.from_map(chain(affine, u), fixed.orthogonal())
    # on another lattice the same map can still turn a tetrahedron over
    transform, remaining = _without_folds(written)
    return transform, Repair(
        working_grid=_mended(found, u, int(first["remaining_voxels"])),
        fixed_grid=_mended(written, transform, remaining),
    )


def _without_folds(written: DisplacementField) -> tuple[DisplacementField, int]:
    """The field without folds, and how many voxels still fold.

    Folds are judged in the field as it is written, rounded to float32 mm.
    """
    transform = written
    for margin in (FINE_MARGIN, 4 * FINE_MARGIN, 16 * FINE_MARGIN):
        u = _first(transform)
        if not bool(folds(u, HAIR).any()):
            return transform, 0
        mended, report = unfold(u, margin)
        changed = (mended != u).any(dim=0).numpy()
        # where nothing was mended the field stays the same to the last bit
        mm = transform.displacement_mm.copy()
        mm[changed] = _last(mended).numpy()[changed] @ transform.grid.affine[:3, :3].T
        transform = DisplacementField(transform.grid, mm)
        if report["remaining_voxels"]:  # more rounds would not mend it either
            break
    return transform, int(folds(_first(transform), HAIR).sum())


def _mended(before: DisplacementField, after: DisplacementField, remaining: int) -> Mended:
    changed = (after.displacement_mm != before.displacement_mm).any(axis=-1)  # few, as a rule
    moved = np.linalg.norm(
        after.displacement_mm[changed] - before.displacement_mm[changed], axis=-1
    )
    return Mended(
        voxels_changed=int(moved.size),
        voxels_changed_percent=100 * moved.size / changed.size,
        mean_change_mm=float(moved.mean()) if moved.size else 0.0,
        largest_change_mm=float(moved.max(initial=0.0)),
        remaining_voxels=remaining,
    )


def _first(transform: DisplacementField) -> torch.Tensor:
    """(3, i, j, k) in voxels."""
    return torch.from_numpy(transform.displacement_vox()).permute(3, 0, 1, 2)


def _last(u: torch.Tensor) -> torch.Tensor:
    """(3, i, j, k) -> (i, j, k, 3)."""
    return u.permute(1, 2, 3, 0)


def inverse_grid(moving: Grid, transform: DisplacementField, spacing: float) -> Grid:
    """Choose the grid on which the inverse is written.

    It is the moving image's lattice, refined where its voxels are much coarser than the working
    spacing (thick slices), extended to all that the transform reaches, and thinned only above 24
    million voxels.

    Parameters
    ----------
    moving : Grid
        The moving image's grid.
    transform : DisplacementField
        The transform, fixed -> moving.
    spacing : float
        The working spacing, mm.

    Returns
    -------
    Grid
        An orthogonal grid.
    """
    grid = moving.orthogonal()
    finer = np.maximum(np.round(grid.spacing / spacing), 1)
    if finer.max() > 1:
        grid = grid.with_spacing(grid.spacing / finer)
    grid = grid.covering(_reached(transform))
    excess = (float(np.prod(np.array(grid.shape, dtype=float))) / MOST_INVERSE_VOXELS) ** (1 / 3)
    return grid if excess <= 1 else grid.with_spacing(grid.spacing * excess)


def _reached(transform: DisplacementField) -> NDArray[np.float64]:
    """The mapped faces of the transform's grid: in any frame, their box holds the mapped grid."""
    u = np.concatenate(
        [np.moveaxis(transform.displacement_mm, a, 0)[[0, -1]].reshape(-1, 3) for a in range(3)]
    )
    index = np.stack(np.meshgrid(*[np.arange(n) for n in transform.grid.shape], indexing="ij"), -1)
    faces = np.concatenate([np.moveaxis(index, a, 0)[[0, -1]].reshape(-1, 3) for a in range(3)])
    return np.asarray(transform.grid.world(faces) + u)


def round_trip(transform: DisplacementField, inverse: Inverse, points: int = 100_000) -> RoundTrip:
    """Measure how far from p inverse(transform(p)) lies.

    Parameters
    ----------
    transform : DisplacementField
        The transform, fixed -> moving.
    inverse : Inverse
        Its inverse, with the residuals of the inversion.
    points : int, default 100000
        About how many voxels of the fixed grid are taken.

    Returns
    -------
    RoundTrip
        Distances in mm.
    """
    step = max(1, round((np.prod(transform.grid.shape) / points) ** (1 / 3)))
    index = np.stack(
        np.meshgrid(*[np.arange(0, n, step) for n in transform.grid.shape], indexing="ij"), -1
    )
    p = transform.grid.world(index.reshape(-1, 3))
    error = np.linalg.norm(inverse.field(transform(p)) - p, axis=1)
    return RoundTrip(
        round_trip_mean_mm=float(error.mean()),
        round_trip_p95_mm=float(np.percentile(error, 95)),
        round_trip_max_mm=float(error.max()),
        residual_mean_mm=inverse.residual_mean_mm,
        residual_max_mm=inverse.residual_max_mm,
    )
