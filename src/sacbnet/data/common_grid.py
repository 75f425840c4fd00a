"""The common grid of a pack, and the way of each case onto it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sacbnet.errors import GridError, InputError
from sacbnet.imaging.canonical import canonical
from sacbnet.imaging.image import Image
from sacbnet.imaging.resampling import antialias
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.resample import resample
from sacbnet.spatial.transforms import Affine

from .cases import Case
from .pack import PackOptions
from .read import check_labels, load_case

_SAME_VOXEL = 0.01  # voxels: a point that is this close to a voxel of a lattice lies on it
_SAME_SPACING = 1e-3  # relative
_NUDGE = 1e-4  # voxels


def common_grid(case: Case, options: PackOptions) -> Grid:
    """Make the grid of a pack from its first case.

    A box of another shape keeps the lattice: it is cut or extended alike on both sides. If the
    difference is odd, the upper side changes by one voxel more.

    Parameters
    ----------
    case : Case
        The first case.
    options : PackOptions
        The spacing and the shape.

    Returns
    -------
    Grid
        Axes towards R, A, S, without shear, in mm (RAS).

    Raises
    ------
    InputError, GridError
        If the case cannot be read.
    """
    grid = canonical(load_case(case)[0]).grid.orthogonal()
    mm = options.spacing_mm
    if mm is not None and np.abs(grid.spacing - mm).max() > _SAME_SPACING * mm:
        grid = grid.with_spacing(mm)
    if options.shape is not None:
        low = (np.array(grid.shape) - options.shape) // 2
        grid = grid.cropped(low, low + options.shape)
    return grid


def on_common_grid(
    case: Case, grid: Grid, options: PackOptions
) -> tuple[NDArray[np.float32], NDArray[np.int32] | None]:
    """Bring a case onto the common grid.

    Parameters
    ----------
    case : Case
        The case.
    grid : Grid
        The common grid.
    options : PackOptions
        How the set is brought to one grid.

    Returns
    -------
    image : ndarray, shape (i, j, k)
        float32 in [0, 1] (`Image.unit`).
    labels : ndarray, shape (i, j, k), or None
        int32; label values below 0, which are padding, become 0. None if the case has no labels.

    Raises
    ------
    InputError
        If the case cannot be read, or if a label value does not fit 31 bits.
    GridError
        If the labels lie on another grid than their image, if the spacing differs although the
        options name none, or if the image lies outside the grid.
    """
    image, labels = load_case(case)
    if labels is not None:
        check_labels(image, labels)
    image, labels = canonical(image), None if labels is None else canonical(labels)
    apart = np.abs(image.grid.spacing / grid.spacing - 1).max()
    if options.spacing_mm is None and apart > _SAME_SPACING:
        raise GridError(
            f"{image.name} has the spacing {image.grid.spacing.round(4).tolist()} mm, the first"
            f" case {grid.spacing.round(4).tolist()} mm; say which one the pack shall have"
            " (--spacing)"
        )
    placed, onto = _placed(image.unit(), image.grid, grid, options), None
    if labels is not None:
        onto = _placed(_whole(labels), image.grid, grid, options)
    if placed.max() == placed.min():
        raise GridError(
            f"nothing of {image.name} lies in the common box about"
            f" {grid.centre.round(1).tolist()} mm (its own is about"
            f" {image.grid.centre.round(1).tolist()} mm); leave it out, or bring the centres"
            " together (--align centre)"
        )
    return placed, onto


def _whole(labels: Image) -> NDArray[np.int32]:
    if labels.data.max() > np.iinfo(np.int32).max:
        raise InputError(
            f"{labels.name} holds the label value {labels.data.max()}; values below 2^31 were"
            " expected"
        )
    positive: NDArray[np.integer] = np.maximum(labels.data, 0)
    return positive.astype(np.int32)


def _placed(data: NDArray[Any], source: Grid, grid: Grid, options: PackOptions) -> NDArray[Any]:
    """Data on the common grid: copied if the lattices agree, else resampled.

    Integers are resampled by nearest neighbour.
    """
    shift = source.centre - grid.centre if options.align == "centre" else np.zeros(3)
    offset = lattice_offset(source, grid, shift, options.align == "centre")
    if offset is not None:
        return _boxed(data, offset, grid.shape)
    if data.dtype == np.float32:
        smooth = antialias(data, source, float(grid.spacing.mean()))
        return resample(smooth, source, grid, Affine.translation(shift))
    # the points of a lattice of half the density lie midway between two voxels; without a nudge,
    # rounding would choose now one of them, now the other
    nudge = source.affine[:3, :3] @ np.full(3, _NUDGE)
    return resample(data, source, grid, Affine.translation(shift + nudge), "nearest")


def lattice_offset(
    source: Grid, grid: Grid, shift: NDArray[np.float64], free: bool
) -> NDArray[np.intp] | None:
    """Find the voxel of one grid that is voxel 0 of another grid on the same lattice.

    Parameters
    ----------
    source : Grid
        The grid of an image.
    grid : Grid
        The common grid.
    shift : ndarray, shape (3,)
        World mm from points of `grid` to points of `source`.
    free : bool
        Whether the shift may be rounded to the lattice: it then only says where the image roughly
        belongs.

    Returns
    -------
    ndarray of int, shape (3,), or None
        The voxel of `source`; None if the two grids have different lattices.
    """
    ends = np.array([[0, 0, 0], *np.diag(grid.shape)])
    found = source.voxels(grid.world(ends) + shift)
    offset = np.floor(found[0] + 0.5 - _NUDGE)
    moved = found - ends - (found[0] if free else offset)
    return offset.astype(np.intp) if np.abs(moved).max() <= _SAME_VOXEL else None


def _boxed(
    data: NDArray[Any], offset: NDArray[np.intp], shape: tuple[int, int, int]
) -> NDArray[Any]:
    """out[p] = data[p + offset], 0 outside."""
    out = np.zeros(shape, data.dtype)
    low, high = np.maximum(offset, 0), np.minimum(offset + shape, data.shape)
    if (low < high).all():
        here = tuple(slice(a, b) for a, b in zip(low - offset, high - offset, strict=True))
        out[here] = data[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    return out
