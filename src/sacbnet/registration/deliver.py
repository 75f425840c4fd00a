"""From the engine's displacement to what is delivered: transform and inverse in the world, on the images' own grids."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from sacbnet.spatial.grid import Grid
from sacbnet.spatial.invert import Inverse
from sacbnet.spatial.jacobian import folds
from sacbnet.spatial.transforms import Affine, DisplacementField, chain
from sacbnet.spatial.unfold import unfold

MOST_INVERSE_VOXELS = 24e6
FINE_MARGIN = 1e-3  # relative volume of a tetrahedron mended on the fixed grid: more than rounding to mm changes
HAIR = 1e-5  # and of one that passes: more than two ways of summing its determinant differ by


def deliver(
    u_vox: torch.Tensor, grid: Grid, affine: Affine, fixed: Grid
) -> tuple[DisplacementField, dict[str, dict[str, float]]]:
    """The composed transform p -> affine(p + u(p)) on the fixed image's grid, without folds, and what the repair did.

    u_vox: (3, i, j, k) voxels of `grid`. A sheared fixed grid, which ITK cannot hold, is covered by an upright one.
    The report says of the working grid and of the fixed grid how many voxels were changed, by how many mm on average
    (over those) and at most, and how many still fold: 0 unless the repair did not come to its end.
    """
    found = DisplacementField.from_voxels(grid, _last(u_vox).numpy())
    smooth, first = unfold(u_vox)
    u = DisplacementField.from_voxels(grid, _last(smooth).numpy()) if first["rounds"] else found
    written = DisplacementField.from_map(chain(affine, u), fixed.orthogonal())
    # on another lattice the same map can still turn a tetrahedron over
    transform, remaining = _without_folds(written)
    return transform, {
        "working_grid": _told(found, u, int(first["remaining_voxels"])),
        "fixed_grid": _told(written, transform, remaining),
    }


def _without_folds(written: DisplacementField) -> tuple[DisplacementField, int]:
    """The field without folds, judged as it is written, rounded to float32 mm; and how many voxels still fold."""
    transform = written
    for margin in (FINE_MARGIN, 4 * FINE_MARGIN, 16 * FINE_MARGIN):
        u = _first(transform)
        if not bool(folds(u, HAIR).any()):
            return transform, 0
        mended, _ = unfold(u, margin)
        changed = (mended != u).any(dim=0).numpy()
        mm = (
            transform.displacement_mm.copy()
        )  # where nothing was mended it stays the same to the last bit
        mm[changed] = _last(mended).numpy()[changed] @ transform.grid.affine[:3, :3].T
        transform = DisplacementField(transform.grid, mm)
    return transform, int(folds(_first(transform), HAIR).sum())


def _told(before: DisplacementField, after: DisplacementField, remaining: int) -> dict[str, float]:
    changed = (after.displacement_mm != before.displacement_mm).any(axis=-1)  # few, as a rule
    moved = np.linalg.norm(
        after.displacement_mm[changed] - before.displacement_mm[changed], axis=-1
    )
    return {
        "voxels_changed": int(moved.size),
        "voxels_changed_percent": 100 * moved.size / changed.size,
        "mean_change_mm": float(moved.mean()) if moved.size else 0.0,
        "largest_change_mm": float(moved.max(initial=0.0)),
        "remaining_voxels": remaining,
    }


def _first(transform: DisplacementField) -> torch.Tensor:
    """(3, i, j, k) in voxels."""
    return torch.from_numpy(transform.displacement_vox()).permute(3, 0, 1, 2)


def _last(u: torch.Tensor) -> torch.Tensor:
    """(3, i, j, k) -> (i, j, k, 3)."""
    return u.permute(1, 2, 3, 0)


def inverse_grid(moving: Grid, transform: DisplacementField, spacing: float) -> Grid:
    """Where the inverse is written: the moving image's lattice, refined where its voxels are much coarser than the
    working spacing (thick slices), extended to all that the transform reaches, thinned only above 24 million voxels."""
    grid = moving.orthogonal()
    finer = np.maximum(np.round(grid.spacing / spacing), 1)
    if finer.max() > 1:
        grid = grid.with_spacing(grid.spacing / finer)
    grid = grid.covering(_reached(transform))
    excess = (float(np.prod(np.array(grid.shape, dtype=float))) / MOST_INVERSE_VOXELS) ** (1 / 3)
    return grid if excess <= 1 else grid.with_spacing(grid.spacing * excess)


def _reached(transform: DisplacementField) -> NDArray[np.float64]:
    """World points whose box, in any frame, holds all that the transform's grid is mapped to: its faces, mapped."""
    u = np.concatenate(
        [np.moveaxis(transform.displacement_mm, a, 0)[[0, -1]].reshape(-1, 3) for a in range(3)]
    )
    index = np.stack(np.meshgrid(*[np.arange(n) for n in transform.grid.shape], indexing="ij"), -1)
    faces = np.concatenate([np.moveaxis(index, a, 0)[[0, -1]].reshape(-1, 3) for a in range(3)])
    return transform.grid.world(faces) + u


def round_trip(
    transform: DisplacementField, inverse: Inverse, points: int = 100_000
) -> dict[str, float]:
    """Distance in mm from p to inverse(transform(p)), over voxels of the fixed grid."""
    step = max(1, round((np.prod(transform.grid.shape) / points) ** (1 / 3)))
    index = np.stack(
        np.meshgrid(*[np.arange(0, n, step) for n in transform.grid.shape], indexing="ij"), -1
    )
    p = transform.grid.world(index.reshape(-1, 3))
    error = np.linalg.norm(inverse.field(transform(p)) - p, axis=1)
    return {
        "round_trip_mean_mm": float(error.mean()),
        "round_trip_p95_mm": float(np.percentile(error, 95)),
        "round_trip_max_mm": float(error.max()),
        "residual_mean_mm": inverse.residual_mean_mm,
        "residual_max_mm": inverse.residual_max_mm,
    }
