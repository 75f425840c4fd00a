"""From the engine's displacement to what is delivered: transform and inverse in the world, on the images' own grids."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from .spatial.grid import Grid
from .spatial.invert import Inverse
from .spatial.transforms import Affine, DisplacementField, chain
from .spatial.unfold import unfold

MOST_INVERSE_VOXELS = 24e6


def deliver(u_vox: torch.Tensor, grid: Grid, affine: Affine, fixed: Grid) -> tuple[DisplacementField, dict[str, float]]:
    """The composed transform p -> affine(p + u(p)) on the fixed image's grid, without folds, and what the repair did.

    u_vox: (3, i, j, k) voxels of `grid`. A sheared fixed grid, which ITK cannot hold, is covered by an upright one.
    """
    smooth, report = unfold(u_vox)
    u = DisplacementField.from_voxels(grid, smooth.permute(1, 2, 3, 0).numpy())
    transform = DisplacementField.from_map(chain(affine, u), fixed.orthogonal())
    # on another lattice the same map can still turn a tetrahedron over
    again, second = unfold(torch.from_numpy(transform.displacement_vox()).permute(3, 0, 1, 2), margin=0.0)
    if second["rounds"]:
        transform = DisplacementField.from_voxels(transform.grid, again.permute(1, 2, 3, 0).numpy())
        report = report | {"on_fixed_grid_" + name: value for name, value in second.items()}
    return transform, report


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
    u = np.concatenate([np.moveaxis(transform.displacement_mm, a, 0)[[0, -1]].reshape(-1, 3) for a in range(3)])
    index = np.stack(np.meshgrid(*[np.arange(n) for n in transform.grid.shape], indexing="ij"), -1)
    faces = np.concatenate([np.moveaxis(index, a, 0)[[0, -1]].reshape(-1, 3) for a in range(3)])
    return transform.grid.world(faces) + u


def round_trip(transform: DisplacementField, inverse: Inverse, points: int = 100_000) -> dict[str, float]:
    """Distance in mm from p to inverse(transform(p)), over voxels of the fixed grid."""
    step = max(1, round((np.prod(transform.grid.shape) / points) ** (1 / 3)))
    index = np.stack(np.meshgrid(*[np.arange(0, n, step) for n in transform.grid.shape], indexing="ij"), -1)
    p = transform.grid.world(index.reshape(-1, 3))
    error = np.linalg.norm(inverse.field(transform(p)) - p, axis=1)
    return {
        "round_trip_mean_mm": float(error.mean()),
        "round_trip_p95_mm": float(np.percentile(error, 95)),
        "round_trip_max_mm": float(error.max()),
        "residual_mean_mm": inverse.residual_mean_mm,
        "residual_max_mm": inverse.residual_max_mm,
    }
