"""Images on another grid."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from sacbnet.spatial.grid import Grid
from sacbnet.spatial.resample import Interpolation, resample, resample_counted
from sacbnet.spatial.transforms import Affine, PointMap

from .image import Image

_COARSER = 1.05  # below this ratio of the spacings an image is not smoothed


@dataclass(frozen=True)
class Filled:
    """Voxels of a result at which nothing of the image arrived.

    Parameters
    ----------
    voxels : int
        Their number.
    percent : float
        The same in per cent of the result.
    value : float
        What they hold.
    """

    voxels: int
    percent: float
    value: float


def antialias(data: NDArray[np.float32], source: Grid, spacing: float) -> NDArray[np.float32]:
    """Smooth an image before it is sampled more coarsely.

    Parameters
    ----------
    data : ndarray, shape (i, j, k)
        The image.
    source : Grid
        Its grid.
    spacing : float
        The coarser spacing in mm.

    Returns
    -------
    ndarray, shape (i, j, k)
        The image after a Gaussian along each axis that is finer than `spacing`; it removes what the
        coarser grid cannot show. `data` itself if no axis is finer.
    """
    ratio = spacing / source.spacing
    sigma = [0.5 * np.sqrt(max(r * r - 1, 0.0)) if r > _COARSER else 0.0 for r in ratio]
    return data if not any(sigma) else gaussian_filter(data, sigma, mode="nearest", truncate=3.0)


def on_grid(
    data: NDArray[np.float32], source: Grid, grid: Grid, point_map: PointMap | None = None
) -> torch.Tensor:
    """Resample an image onto the grid on which the network works.

    Parameters
    ----------
    data : ndarray, shape (i, j, k)
        The image, in [0, 1].
    source : Grid
        Its grid.
    grid : Grid
        The new grid.
    point_map : callable, optional
        Maps points of `grid` to points of the image, in mm (RAS); default the identity.

    Returns
    -------
    Tensor, shape (1, 1, i, j, k)
        float32; 0 outside the image.
    """
    smooth = antialias(data, source, float(grid.spacing.mean()))
    return torch.from_numpy(resample(smooth, source, grid, point_map or Affine()))[None, None]


def mask_on_grid(
    mask: NDArray[np.bool_], source: Grid, grid: Grid, point_map: PointMap | None = None
) -> torch.Tensor:
    """Resample a mask onto the grid on which the network works.

    Parameters
    ----------
    mask : ndarray of bool, shape (i, j, k)
        The mask.
    source : Grid
        Its grid.
    grid : Grid
        The new grid.
    point_map : callable, optional
        Maps points of `grid` to points of the mask, in mm (RAS); default the identity.

    Returns
    -------
    Tensor, shape (1, 1, i, j, k)
        float32 of 0 and 1; nearest neighbour.
    """
    found = resample(mask, source, grid, point_map or Affine(), "nearest")
    return torch.from_numpy(found.astype(np.float32))[None, None]


def carry(
    image: Image,
    onto: Image,
    point_map: PointMap,
    interpolation: Interpolation,
    fill: float = 0.0,
) -> Image:
    """Resample an image onto the grid of another one: ``out(p) = image(point_map(p))``.

    Parameters
    ----------
    image : Image
        The image, label map or mask; it is interpolated once.
    onto : Image
        Gives the grid and the header of the result.
    point_map : callable
        Maps points of `onto` to points of `image`, in mm (RAS).
    interpolation : {"linear", "nearest", "cubic", "lanczos", "onehot"}
        As in `sacbnet.spatial.resample.resample`.
    fill : float, default 0
        The value where nothing of the image arrives.

    Returns
    -------
    Image
        The resampled image.
    """
    return carry_counted(image, onto, point_map, interpolation, fill)[0]


def carry_counted(
    image: Image,
    onto: Image,
    point_map: PointMap,
    interpolation: Interpolation,
    fill: float = 0.0,
) -> tuple[Image, Filled]:
    """Resample an image as `carry` does, and count the voxels that it does not reach.

    Parameters
    ----------
    image, onto, point_map, interpolation, fill
        As for `carry`.

    Returns
    -------
    image : Image
        The resampled image.
    filled : Filled
        How many voxels lie outside the image, and what they hold.
    """
    data, outside = resample_counted(
        image.data, image.grid, onto.grid, point_map, interpolation, fill
    )
    carried = replace(onto, data=data, name="array", warnings=(), scaled=image.scaled, missing=None)
    return carried, Filled(outside, round(100 * outside / data.size, 3), fill)
