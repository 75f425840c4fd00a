"""One order of the axes for all images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sacbnet.spatial.grid import Grid

from .image import Image

_QUANTUM_BITS = 30  # the affine is rounded to 2^-30 (a billionth) of a voxel


def canonical(image: Image) -> Image:
    """Give the same voxels, stored with their axes towards R, A and S.

    The order in which a file stores its voxels must not change a result, not even its rounding: an
    optimiser would enlarge the difference. The affine is rounded for the same reason: an origin
    that is counted from the other end differs in the last bits.

    Parameters
    ----------
    image : Image
        An image, a label map or a mask.

    Returns
    -------
    Image
        The same voxels at the same places in the world.
    """
    grid, axes, signs = image.grid.canonical()

    def turned(voxels: NDArray[np.generic]) -> NDArray[np.generic]:
        flips = tuple(slice(None, None, s) for s in signs)
        return np.ascontiguousarray(voxels.transpose(axes)[flips])

    return replace(
        image,
        data=turned(image.data),
        grid=rounded(grid, _QUANTUM_BITS),
        missing=None if image.missing is None else turned(image.missing).astype(bool, copy=False),
    )


def rounded(grid: Grid, bits: int) -> Grid:
    """Round the affine of a grid, so that differences in the last digits do not count.

    Parameters
    ----------
    grid : Grid
        The grid.
    bits : int
        The affine is rounded to 2^-bits of the finest spacing's power of two.

    Returns
    -------
    Grid
        The grid with the rounded affine.
    """
    quantum = 2.0 ** (np.floor(np.log2(grid.spacing.min())) - bits)
    affine = np.round(grid.affine / quantum) * quantum
    affine[3] = grid.affine[3]
    return Grid(grid.shape, affine)
