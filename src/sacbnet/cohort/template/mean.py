"""The mean of the intensities of several images, and the grid and first place of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import laplace

from sacbnet.errors import InputError
from sacbnet.imaging.background import background
from sacbnet.imaging.image import Image
from sacbnet.imaging.resampling import antialias
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.resample import resample
from sacbnet.spatial.transforms import PointMap

_EDGE = (0.5, 99.5)  # percentiles of the body's voxels: single ones must not widen the grid
_MARGIN = 0.08  # of the longest side, around all bodies
_MOST_VOXELS = 150e6
_COVERED = 0.5  # of the images: fewer make no mean


@dataclass(frozen=True)
class Look:
    """What must be known of an image before the first mean.

    Parameters
    ----------
    low, high : float
        The ends of its range of intensities, without single values.
    empty : float
        What it shows where it shows nothing.
    centre : ndarray, shape (3,)
        Centre of what it shows, mm (RAS), weighted by intensity.
    reach : ndarray, shape (2, 3)
        How far it reaches from there along the axes of the world, mm.
    spacing : float
        Mean spacing of its voxels, mm.
    """

    low: float
    high: float
    empty: float
    centre: NDArray[np.float64] = field(repr=False)
    reach: NDArray[np.float64] = field(repr=False)
    spacing: float


def look_at(image: Image) -> Look:
    """Look at an image.

    Parameters
    ----------
    image : Image
        The image.

    Returns
    -------
    Look
        What is needed of it.
    """
    scaling = image.scaling
    low, high = scaling.low, scaling.high
    if scaling.negated:
        low, high = -high, -low
    unit = image.unit()
    where = np.argwhere(scaling.foreground(image.data) if not image.scaled else unit > 0.02)
    weights = unit[tuple(where.T)].astype(np.float64) + 1e-3
    points = image.grid.world(where)
    centre = np.average(points, axis=0, weights=weights)
    ends = np.percentile(points, _EDGE, axis=0)
    spacing = float(np.cbrt(image.grid.voxel_volume))
    empty = background(image.data, image.missing)
    return Look(float(low), float(high), float(empty), centre, ends - centre, spacing)


def template_grid(looks: Sequence[Look], spacing: float | None = None) -> Grid:
    """Choose the grid of a template: axes along the world's, room for every image.

    Parameters
    ----------
    looks : sequence of Look
        The images.
    spacing : float or None, default None
        Spacing, mm. None: the median of the images.

    Returns
    -------
    Grid
        The grid; its middle is the mean of the images' centres.

    Raises
    ------
    InputError
        If it would have more than 150 million voxels.
    """
    step = spacing or float(np.median([look.spacing for look in looks]))
    # the same on both sides, so that a mirror image has room, too
    half = np.max([np.abs(look.reach).max(axis=0) for look in looks], axis=0)
    half = half + _MARGIN * 2 * half.max()
    shape = np.maximum(np.ceil(2 * half / step).astype(int), 8)
    if np.prod(shape.astype(float)) > _MOST_VOXELS:
        raise InputError(
            f"the template would have {' × '.join(map(str, shape))} voxels of {step:.3g} mm; choose"
            " a coarser --spacing"
        )
    affine = np.diag([step, step, step, 1.0])
    affine[:3, 3] = np.mean([look.centre for look in looks], axis=0) - step * (shape - 1) / 2
    return Grid(tuple(int(n) for n in shape), affine)  # type: ignore[arg-type]


def mean_image(
    images: Iterable[tuple[Image, Look, PointMap]],
    grid: Grid,
    onto: tuple[float, float, float],
    symmetric: bool = False,
) -> NDArray[np.float32]:
    """Average images on the grid of a template.

    Each is brought to one range of intensities and interpolated once. Where fewer than half of them
    reach, the mean has the background.

    Parameters
    ----------
    images : iterable of (Image, Look, callable)
        The images, and their maps from the template. They are taken one at a time.
    grid : Grid
        The grid of the template.
    onto : tuple of 3 float
        The range of intensities, low and high, and the background of the mean.
    symmetric : bool, default False
        Whether each image counts once as it is and once as its mirror image.

    Returns
    -------
    ndarray of float32, shape of the grid
        The mean.
    """
    low, high, empty = onto
    total, known = np.zeros(grid.shape), np.zeros(grid.shape)
    count = 0
    for image, look, point_map in images:
        smooth = antialias(
            np.asarray(image.data, dtype=np.float32), image.grid, float(grid.spacing.mean())
        )
        values = resample(smooth, image.grid, grid, point_map, fill=float("nan"))
        there = np.isfinite(values)
        span = max(look.high - look.low, 1e-30)
        total[there] += low + (values[there] - look.low) * ((high - low) / span)
        known += there
        count += 1
    if symmetric:
        total, known, count = total + total[::-1], known + known[::-1], 2 * count
    enough = known >= max(_COVERED * count, 1)
    mean = np.full(grid.shape, empty, dtype=np.float32)
    mean[enough] = (total[enough] / known[enough]).astype(np.float32)
    return mean


def common_range(looks: Sequence[Look]) -> tuple[float, float, float]:
    """Choose the range of intensities of a template.

    Parameters
    ----------
    looks : sequence of Look
        The images.

    Returns
    -------
    tuple of 3 float
        The medians of their low ends, of their high ends, and of their backgrounds brought to that
        range.
    """
    low = float(np.median([look.low for look in looks]))
    high = float(np.median([look.high for look in looks]))
    empty = [low + (x.empty - x.low) * (high - low) / max(x.high - x.low, 1e-30) for x in looks]
    return low, high, float(np.median(empty))


def sharpened(data: NDArray[np.float32], amount: float) -> NDArray[np.float32]:
    """Sharpen a mean, which interpolation and what is left of misalignment have blurred.

    Parameters
    ----------
    data : ndarray, shape (i, j, k)
        The mean.
    amount : float
        How much of its Laplacian, in voxels, is taken away; 0: nothing.

    Returns
    -------
    ndarray of float32, shape (i, j, k)
        The sharpened mean, within the range of the mean itself.
    """
    if not amount:
        return data
    sharp = data - np.float32(amount) * laplace(data, mode="nearest")
    return np.asarray(np.clip(sharp, data.min(), data.max()), dtype=np.float32)


def sharpness(data: NDArray[np.floating], grid: Grid) -> float:
    """Measure how sharp an image is.

    Parameters
    ----------
    data : ndarray, shape (i, j, k)
        The image.
    grid : Grid
        Its grid.

    Returns
    -------
    float
        Mean length of its gradient, intensity per mm.
    """
    slopes = np.gradient(data.astype(np.float64), *grid.spacing)
    return float(np.mean(np.sqrt(sum(s * s for s in slopes))))
