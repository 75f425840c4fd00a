"""Whether the headers alone already bring two images together, up to the noise of the images.

An image onto itself, onto a rescaled or resampled copy, or onto another scan in which nothing
moved: what optimisation would find there is noise. The identity is the result.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import convolve1d

from sacbnet.imaging.image import Image
from sacbnet.losses import box_mean
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.resample import resample
from sacbnet.spatial.transforms import Affine

from .motion import known_on, motion_between

_SAME_VOXEL = 0.01  # voxels: points that are this close lie on one lattice
_ALIKE = 0.8  # correlation of the whole images; below, nothing more is looked at
_SHOWN = 0.05  # of the range: the body begins there
_WINDOW = 7  # voxels: side of the box in which the images are compared
_FLOOR = 1e-3  # of the range: rounding of the intensities
_MARGIN = 1.12  # times the residual that noise leaves
_SAMPLE = 200_000
# on unlike lattices, in voxels and as shares of the variance in a block
_MEAN_SHIFT, _LARGEST_SHIFT, _EXPLAINED, _LEAST_EXPLAINED = 0.05, 0.15, 0.99, 0.9
_SECOND = np.array([1.0, -2.0, 1.0])

Array = NDArray[np.float32]


def aligned_already(fixed: Image, moving: Image) -> bool:
    """Say whether nothing but noise is left between two images as they lie.

    In small boxes, one image must be a linear function of the other, up to noise. The mean of
    ``1 - r²`` over the boxes, weighted by the variance of the fixed image, is compared with what
    the noise of both images leaves: ``1 - (1 - s²/v) (1 - t²/w)``. Here s² and t² are the variances
    of the noise, and v and w those of the images in the box. Second differences along all three
    axes measure the noise.

    Parameters
    ----------
    fixed, moving : Image
        The images, axes towards R, A and S.

    On unlike lattices interpolation would decide. There the shifts between the images are measured
    (`motion`): none may be larger than a seventh of a voxel, and their mean a twentieth.

    Returns
    -------
    bool
        Whether the ratio is at most 1.12, or whether nothing moved.
    """
    if not _one_lattice(fixed.grid, moving.grid):
        return _unmoved(fixed, moving)
    f, m = fixed.unit(), moving.unit()
    if moving.grid.shape != fixed.grid.shape or not moving.grid.matches(fixed.grid):
        m = resample(m, moving.grid, fixed.grid, Affine()).astype(np.float32)
    inside = (f > _SHOWN) & known_on(fixed, fixed.grid) & known_on(moving, fixed.grid)
    if inside.sum() < _WINDOW**3 or not _alike(f[inside], m[inside]):
        return False
    return _ratio(f, m, inside) <= _MARGIN


def _unmoved(fixed: Image, moving: Image) -> bool:
    """Whether nothing moved between two images on unlike lattices."""
    step = max(1, round((fixed.data.size / _SAMPLE) ** (1 / 3)))
    matrix = fixed.grid.affine @ np.diag([step, step, step, 1.0])
    coarse = tuple(slice(None, None, step) for _ in range(3))
    f = fixed.unit()[coarse]
    m = resample(moving.unit(), moving.grid, Grid(f.shape, matrix), Affine()).astype(np.float32)
    shown = f > _SHOWN
    if shown.sum() < _WINDOW**3 or not _alike(f[shown], m[shown]):
        return False
    found = motion_between(fixed, moving)
    if found is None:
        return False
    still = found.mean <= _MEAN_SHIFT and found.largest <= _LARGEST_SHIFT
    return still and found.explained >= _EXPLAINED and found.least_explained >= _LEAST_EXPLAINED


def _one_lattice(a: Grid, b: Grid) -> bool:
    """Whether the voxels of the first grid lie on those of the second, with the same axes."""
    ends = np.array([[0, 0, 0], *np.diag(np.array(a.shape) - 1)])
    offset = b.voxels(a.world(ends)) - ends
    return bool(np.abs(offset - np.round(offset[0])).max() <= _SAME_VOXEL)


def _alike(a: Array, b: Array) -> bool:
    step = max(1, a.size // _SAMPLE)
    x, y = a[::step], b[::step]
    if x.std() == 0 or y.std() == 0:
        return False
    return bool(abs(np.corrcoef(x, y)[0, 1]) >= _ALIKE)


def _ratio(f: Array, m: Array, inside: NDArray[np.bool_]) -> float:
    """The residual between two images over what their noise leaves."""
    noise_f, noise_m = _noise(f, inside), _noise(m, inside)
    x, y = (torch.from_numpy(i.astype(np.float64))[None, None] for i in (f, m))
    mean_x, mean_y = box_mean(x, _WINDOW), box_mean(y, _WINDOW)
    share = box_mean(torch.ones_like(x), _WINDOW)  # less than 1 at the faces
    v = (box_mean(x * x, _WINDOW) / share - (mean_x / share) ** 2)[0, 0].numpy()[inside]
    w = (box_mean(y * y, _WINDOW) / share - (mean_y / share) ** 2)[0, 0].numpy()[inside]
    both = box_mean(x * y, _WINDOW) / share - mean_x * mean_y / share**2
    c = both[0, 0].numpy()[inside]
    v, w = np.maximum(v, _FLOOR**2), np.maximum(w, _FLOOR**2)
    left = 1 - np.clip(c * c / (v * w), 0, 1)
    expected = 1 - np.clip(1 - noise_f**2 / v, 0, 1) * np.clip(1 - noise_m**2 / w, 0, 1)
    return float((v * left).sum() / (v * expected).sum())


def _noise(x: Array, inside: NDArray[np.bool_]) -> float:
    """Standard deviation of the noise, at least the floor."""
    rough = x.astype(np.float64)
    for axis in range(3):
        rough = convolve1d(rough, _SECOND, axis=axis, mode="nearest")
    sd = float(np.median(np.abs(rough[inside]))) / 0.6745 / float((_SECOND**2).sum()) ** 1.5
    return float(max(sd, _FLOOR))
