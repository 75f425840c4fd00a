"""TODO-DOC sacbnet.imaging.resampling."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from sacbnet.imaging.image import Image
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.resample import Interpolation, resample
from sacbnet.spatial.transforms import Affine, PointMap


def antialias(data: NDArray[np.float32], source: Grid, spacing: float) -> NDArray[np.float32]:
    """Gaussian smoothing along the axes finer than `spacing`, by what the coarser lattice cannot show."""
    ratio = spacing / source.spacing
    sigma = [0.5 * np.sqrt(max(r * r - 1, 0.0)) if r > 1.05 else 0.0 for r in ratio]
    return data if not any(sigma) else gaussian_filter(data, sigma, mode="nearest", truncate=3.0)


def on_grid(
    data: NDArray[np.float32], source: Grid, grid: Grid, point_map: PointMap | None = None
) -> torch.Tensor:
    """An image in [0, 1] on the engine's grid, (1, 1, i, j, k) float32; outside its field of view 0."""
    smooth = antialias(data, source, float(grid.spacing.mean()))
    return torch.from_numpy(resample(smooth, source, grid, point_map or Affine()))[None, None]


def mask_on_grid(
    mask: NDArray[np.bool_], source: Grid, grid: Grid, point_map: PointMap | None = None
) -> torch.Tensor:
    """A mask on the engine's grid, (1, 1, i, j, k) float32 of 0 and 1."""
    found = resample(mask, source, grid, point_map or Affine(), "nearest")
    return torch.from_numpy(found.astype(np.float32))[None, None]


def carry(image: Image, onto: Image, point_map: PointMap, interpolation: Interpolation) -> Image:
    """`image` on the grid of `onto`, with its header: out(p) = image(point_map(p)), interpolated once."""
    data = resample(image.data, image.grid, onto.grid, point_map, interpolation)
    return replace(onto, data=data, name="array", warnings=())
