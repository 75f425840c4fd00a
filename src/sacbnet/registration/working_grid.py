"""The grid on which a pair is worked: isotropic, axes towards R, A and S.

The weights and the images decide its spacing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sacbnet.errors import InputError
from sacbnet.imaging.acquired import CUT_SIGNAL, cut_faces
from sacbnet.imaging.image import Image
from sacbnet.spatial.grid import Grid

HUMAN_MM = (0.45, 1.55)  # finest spacings worked at 1 mm: the range of human MR and CT
MOST_VOXELS = 12e6
MARGIN = 12  # voxels around the foreground, at the spacing that the image calls for


def working_spacing(fixed: Grid, asked: float | None = None) -> float:
    """Choose the isotropic spacing at which a pair is worked.

    Without a spacing that is asked for it is 1 mm for images of a human's resolution, so that the
    same head scanned or resampled at 0.8 or 1.5 mm is treated alike, and the finest spacing of the
    image otherwise (a mouse, a PET image). It is coarsened until the image's box holds at most 12
    million voxels.

    Parameters
    ----------
    fixed : Grid
        The fixed image's grid.
    asked : float or None, default None
        A spacing that the user or the weights ask for, mm.

    Returns
    -------
    float
        Spacing, mm.

    Raises
    ------
    InputError
        If the spacing asked for needs more than ten times as many voxels.
    """
    finest = float(fixed.spacing.min())
    volume = float(np.prod(np.array(fixed.shape) * fixed.spacing))
    least = float((volume / MOST_VOXELS) ** (1 / 3))
    if asked is None:
        return max(1.0 if HUMAN_MM[0] <= finest <= HUMAN_MM[1] else finest, least)
    if volume / asked**3 > 10 * MOST_VOXELS:
        raise InputError(
            f"a working spacing of {asked:g} mm makes {volume / asked**3 / 1e6:.0f} million voxels"
            f" of the fixed image; at least {least:.2g} mm was expected, or a smaller image"
        )
    return float(asked)


def spacings(
    fixed: Grid, asked: float | None, of_network: float | None, refined: bool
) -> tuple[float, int]:
    """Choose the working spacing, and how it relates to the network's.

    A network alone needs no more than its own spacing. Refinement looks at what the image shows
    (`working_spacing`): it works at the nearest spacing of which the network's is a multiple.

    Parameters
    ----------
    fixed : Grid
        The fixed image's grid.
    asked : float or None
        A spacing that the user asks for, mm.
    of_network : float or None
        Spacing of the weights' training images, mm; None without weights, or where it is unknown.
    refined : bool
        Whether refinement follows.

    Returns
    -------
    spacing : float
        The working spacing, mm.
    factor : int
        Working voxels along each axis of one voxel of the network.

    Raises
    ------
    InputError
        If the spacing needs too many voxels (`working_spacing`).
    """
    own = working_spacing(fixed, asked)
    if of_network is None:
        return own, 1
    factor = max(1, round(of_network / own)) if refined or asked else 1
    return working_spacing(fixed, asked or of_network / factor), factor


def foreground_grid(
    fixed: Image, spacing: float, mask: NDArray[np.bool_] | None = None, margin: int = MARGIN
) -> Grid:
    """Make the working grid around what the fixed image shows.

    The grid is cropped to the foreground (or to the mask) plus a margin. The margin may reach
    beyond the image, but not through a face that cuts through the foreground (with a mask: through
    no face). Zeros out there would be an edge that is in no anatomy, and a network that has never
    seen such edges fails (hippocampus crops: Dice .29 instead of .75). Where the fixed image
    already has the spacing, its own lattice is kept, so that nothing is blurred.

    Parameters
    ----------
    fixed : Image
        The fixed image.
    spacing : float
        The working spacing, mm.
    mask : bool array, shape (i, j, k), or None, default None
        Where the fixed image counts.
    margin : int, default 12
        Voxels around the foreground.

    Returns
    -------
    Grid
        Axes of the fixed image, permuted and flipped towards (R, A, S); isotropic.
    """
    low, high = _box(fixed.scaling.foreground(fixed.data) if mask is None else mask)
    before = after = np.full(3, margin)
    grid = fixed.grid.orthogonal()
    if grid is fixed.grid:
        grid = fixed.grid.cropped(low, high)
        far = np.array(fixed.grid.shape) - high
        room = np.stack([low, far]) * fixed.grid.spacing / spacing  # in working voxels
        # what lies outside a mask is to have no say, so a mask cuts at every face
        shown = fixed.scaling.foreground(fixed.data, CUT_SIGNAL)
        cut = cut_faces(shown) if mask is None else np.True_
        before, after = np.where(cut, np.minimum(np.floor(room + 1e-6), margin), margin).astype(int)
    grid, axes, signs = grid.canonical()
    sides = [
        (before[a], after[a]) if s > 0 else (after[a], before[a])
        for a, s in zip(axes, signs, strict=True)
    ]
    if np.abs(grid.spacing - spacing).max() > 1e-3 * spacing:
        grid = grid.with_spacing(spacing)
    return grid.cropped(
        [-b for b, _ in sides], [n + a for n, (_, a) in zip(grid.shape, sides, strict=True)]
    )


def whole_grid(fixed: Grid, spacing: float) -> Grid:
    """Make the working grid of the fixed image's whole box, as networks see it in training.

    Parameters
    ----------
    fixed : Grid
        The fixed image's grid, axes towards R, A and S.
    spacing : float
        The working spacing, mm.

    Returns
    -------
    Grid
        The fixed grid itself where it has the spacing; else a grid of that spacing in its box.
    """
    grid = fixed.orthogonal()
    if np.abs(grid.spacing - spacing).max() > 1e-3 * spacing:
        return grid.with_spacing(spacing)
    return grid


def _box(mask: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    index = [np.flatnonzero(mask.any(axis=tuple(b for b in range(3) if b != a))) for a in range(3)]
    return np.array([i[0] for i in index]), np.array([i[-1] + 1 for i in index])
