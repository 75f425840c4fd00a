"""How far two nearly equal images on unlike lattices are apart: far below the size of a voxel.

A copy of an image on another lattice differs from it by interpolation. Either the moving image is
the copy: the fixed image then takes the same way, onto the moving lattice and back. Or the fixed
image is the copy, and is compared as it is. In blocks, the moving image is a gain times the fixed
image, plus an offset, plus a shift times its gradient (Lucas and Kanade, 1981).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sacbnet.imaging.image import Image
from sacbnet.imaging.resampling import on_grid
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.resample import resample
from sacbnet.spatial.transforms import Affine

_BLOCK = 8  # voxels
_FULL = 1 / 8  # of a block: so much of it must show something
_FAINT = 0.1  # of the mean gradient energy: a block with less says nothing of its shift
_SHOWN = 0.05  # of the range: the body begins there
_GAIN = 1e-3  # smaller factors between the two images mean that they have nothing in common

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Motion:
    """Shifts between two images.

    Parameters
    ----------
    mean : float
        Mean length of the shifts of all blocks, weighted by their gradient energy, in voxels of the
        fixed image.
    largest : float
        The largest shift, voxels.
    explained : float
        Weighted mean of the share of the moving image's variance in a block that the fixed image
        and the shift explain.
    least_explained : float
        The smallest such share.
    """

    mean: float
    largest: float
    explained: float
    least_explained: float


def motion_between(fixed: Image, moving: Image) -> Motion | None:
    """Measure the shifts between two images that are nearly equal.

    Parameters
    ----------
    fixed, moving : Image
        The images, on any grids.

    Returns
    -------
    Motion or None
        None if no block shows enough.

    References
    ----------
    B. D. Lucas and T. Kanade, "An iterative image registration technique with an application to
    stereo vision", IJCAI 1981.
    """
    f, there = fixed.unit(), moving.grid
    inside = (f > _SHOWN) & known_on(fixed, fixed.grid) & known_on(moving, fixed.grid)
    m = on_grid(moving.unit(), there, fixed.grid)[0, 0].numpy()
    back = on_grid(on_grid(f, fixed.grid, there)[0, 0].numpy(), there, fixed.grid)[0, 0].numpy()
    found = [_motion(one, m, inside) for one in (f, back)]
    # the blur that suits leaves less unexplained
    return max((one for one in found if one), key=lambda one: one.explained, default=None)


def known_on(image: Image, grid: Grid) -> NDArray[np.bool_]:
    """Say where an image is known: on its grid, and not padding.

    Parameters
    ----------
    image : Image
        The image.
    grid : Grid
        The grid on which this is asked.

    Returns
    -------
    array of bool, shape (i, j, k)
        Where it is known; nearest neighbour.
    """
    known: NDArray[np.uint8] = np.ones(image.grid.shape, np.uint8)
    if image.scaling.outside is not None:
        known[image.scaling.outside] = 0
    if image.grid.shape != grid.shape or not image.grid.matches(grid):
        known = resample(known, image.grid, grid, Affine(), "nearest").astype(np.uint8)
    return known > 0


def _motion(f: Array, m: Array, inside: NDArray[np.bool_]) -> Motion | None:
    slabs = [_equations(f, m, inside, start) for start in range(0, len(f), _BLOCK)]
    left, right, power = (np.concatenate(parts) for parts in zip(*slabs, strict=True))
    return _solved(left, right, power) if len(left) else None


def _equations(
    f: Array, m: Array, inside: NDArray[np.bool_], start: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The normal equations of the blocks of one slab: (n, 5, 5), (n, 5) and the power of m, (n,).

    The unknowns are gain times shift (3), the gain, and the offset.
    """
    low, high = max(start - 1, 0), min(start + _BLOCK + 1, len(f))
    part = slice(start - low, min(start + _BLOCK, len(f)) - low)
    weight = inside[low:high][part].astype(np.float32)
    # edges are repeated, so that an image of one slice has gradients, too
    ends = np.pad(f[low:high], 1, mode="edge")
    inner = (slice(1, -1),) * 3
    slopes = [np.asarray(np.gradient(ends, axis=axis))[inner][part] for axis in range(3)]
    columns = [*slopes, f[low:high][part], np.ones_like(weight)]
    seen = m[low:high][part]
    left = np.empty((5, 5, *_sums(weight).shape))
    right = np.empty((5, *left.shape[2:]))
    for i in range(5):
        weighted = columns[i] * weight
        right[i] = _sums(weighted * seen)
        for j in range(i, 5):
            left[i, j] = left[j, i] = _sums(weighted * columns[j])
    enough = left[4, 4] > _FULL * _BLOCK**3
    power = _sums(weight * seen * seen)[enough]
    return np.moveaxis(left, (0, 1), (-2, -1))[enough], np.moveaxis(right, 0, -1)[enough], power


def _sums(x: Array) -> NDArray[np.float64]:
    """Sums over the blocks of a slab, (j, k)."""
    ends = [(0, -n % _BLOCK) for n in x.shape[1:]]
    whole = np.pad(x, [(0, 0), *ends]).astype(np.float64)
    _, j, k = whole.shape
    blocks = whole.reshape(-1, j // _BLOCK, _BLOCK, k // _BLOCK, _BLOCK)
    return np.asarray(blocks.sum(axis=(0, 2, 4)))


def _solved(
    left: NDArray[np.float64], right: NDArray[np.float64], power: NDArray[np.float64]
) -> Motion | None:
    energy = np.trace(left[:, :3, :3], axis1=1, axis2=2)
    telling = energy > _FAINT * energy.mean()
    left, right, power, energy = (x[telling] for x in (left, right, power, energy))
    if not len(left):
        return None
    ridge = 1e-9 * np.trace(left, axis1=1, axis2=2)[:, None, None] * np.eye(5)
    found = np.linalg.solve(left + ridge, right[..., None])[..., 0]
    gain = found[:, 3]
    if np.abs(gain).min() < _GAIN:
        return None
    shift = np.linalg.norm(found[:, :3] / gain[:, None], axis=1)
    whole = power - right[:, 4] ** 2 / left[:, 4, 4]
    rest = power - (found * right).sum(axis=1)
    explained = 1 - rest / np.maximum(whole, np.finfo(float).tiny)
    share = energy / energy.sum()
    return Motion(
        float(share @ shift), float(shift.max()), float(share @ explained), float(explained.min())
    )
