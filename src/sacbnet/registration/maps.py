"""Optional maps of a result, on the fixed grid: volumes, expected error, regions, a warped grid."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sacbnet.imaging.image import Image
from sacbnet.imaging.resampling import carry
from sacbnet.networks.sacbnet.seen import SIDES, Seen
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.jacobian import jacobian_determinant
from sacbnet.spatial.transforms import Affine, DisplacementField, chain

from .estimate import Estimate
from .prepare import Pair
from .result import CLUSTERS, LOG_JACOBIAN, UNCERTAINTY, WARPED_GRID
from .uncertainty import ErrorMap

_LINES = 24  # of the warped grid along the longest side of the fixed image
_CLOSEST = 4  # voxels between two lines, at least

Array = NDArray[Any]


def maps_of(found: Estimate, errors: ErrorMap | None, fixed: Image) -> dict[str, Image]:
    """Make the maps that were asked for.

    Parameters
    ----------
    found : Estimate
        The transform and how it was found; its options say which maps are wanted.
    errors : ErrorMap or None
        The expected error, where it is known.
    fixed : Image
        The fixed image.

    Returns
    -------
    dict[str, Image]
        Maps on the grid of the fixed image, by file name; only those that this run can give.
    """
    maps: dict[str, Image] = {}
    if "jacobian" in found.options.save:
        maps[LOG_JACOBIAN] = _onto(fixed, log_jacobian(found.transform), found.transform.grid)
    if "uncertainty" in found.options.save and errors is not None:
        maps[UNCERTAINTY] = errors.onto(fixed)
    if "clusters" in found.options.save:
        maps |= clusters(found.seen, found.pair, fixed)
    if "grid" in found.options.save:
        lines = warped_grid(found.transform, found.affine)
        maps[WARPED_GRID] = _onto(fixed, lines, found.transform.grid)
    return maps


def meanings(names: Iterable[str], fixed: Grid) -> dict[str, str]:
    """Say what maps hold, for the account of a run.

    Parameters
    ----------
    names : iterable of str
        File names of maps.
    fixed : Grid
        The grid of the fixed image.

    Returns
    -------
    dict[str, str]
        A phrase for each, with its unit.
    """
    step = " × ".join(map(str, _steps(fixed.orthogonal())))
    known = {
        LOG_JACOBIAN: "natural logarithm of the Jacobian determinant, affine included, no unit;"
        " NaN where the transform folds",
        UNCERTAINTY: "expected error of the transform, mm",
        WARPED_GRID: f"an even grid with a line every {step} voxels, warped as the moving image,"
        " affine left out, 0 to 1",
    }
    return {name: known.get(name, "regions (clusters) of the network, 1 to N") for name in names}


def log_jacobian(transform: DisplacementField) -> Array:
    """Measure the change of volume of a transform at each voxel.

    Parameters
    ----------
    transform : DisplacementField
        The transform.

    Returns
    -------
    ndarray of float32, shape (i, j, k)
        Natural logarithm of the Jacobian determinant, by central differences: 0 without change.
        NaN where the transform folds.
    """
    u = torch.from_numpy(transform.displacement_vox()).permute(3, 0, 1, 2).float()
    determinant = jacobian_determinant(u.contiguous()).numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(determinant > 0, np.log(determinant), np.nan).astype(np.float32)


def warped_grid(transform: DisplacementField, affine: Affine) -> Array:
    """Warp an image of an even grid by a transform without its affine part.

    Parameters
    ----------
    transform : DisplacementField
        The whole transform.
    affine : Affine
        Its affine part.

    Returns
    -------
    ndarray of float32, shape (i, j, k)
        1 on the planes of the grid, 0 between them. Before the warp a plane is one voxel thick.
    """
    grid = transform.grid
    u = DisplacementField.from_map(chain(affine.inverse, transform), grid).displacement_vox()
    ink = np.zeros(grid.shape, dtype=np.float32)
    for axis, step in enumerate(_steps(grid)):
        shape = [1, 1, 1]
        shape[axis] = grid.shape[axis]
        at = u[..., axis] + np.arange(grid.shape[axis], dtype=u.dtype).reshape(shape)
        away = np.abs(at - step * np.round(at / step))
        np.maximum(ink, np.clip(1 - away, 0, 1), out=ink)
    return ink


def _steps(grid: Grid) -> tuple[int, ...]:
    """Voxels from line to line along each axis: about the same length in mm along all three."""
    length = (np.array(grid.shape) * grid.spacing).max() / _LINES
    return tuple(int(max(_CLOSEST, round(length / s))) for s in grid.spacing)


def _onto(fixed: Image, data: Array, grid: Grid) -> Image:
    if fixed.grid.is_orthogonal:  # it is the same grid; interpolation would spread NaN
        return replace(fixed, data=data, name="array", warnings=(), scaled=False, missing=None)
    return carry(Image(data, grid), fixed, Affine(), "linear")


def clusters(seen: Seen, pair: Pair, fixed: Image) -> dict[str, Image]:
    """Draw the regions that each level of a network found in both images.

    Parameters
    ----------
    seen : Seen
        What the network saw.
    pair : Pair
        Both images as the engine took them.
    fixed : Image
        The fixed image.

    Returns
    -------
    dict[str, Image]
        Numbers of the regions on the grid of the fixed image, by file name.
    """
    found: dict[str, Image] = {}
    if not seen.half_way:
        for level, labels in sorted(seen.labels.items()):
            for side, x in zip(SIDES, labels.cpu().numpy(), strict=True):
                data = _blocks(x.astype(np.int16), 2 ** (level - 1) * pair.factor, pair.grid.shape)
                image = Image(np.ascontiguousarray(data), pair.grid)
                found[CLUSTERS.format(side=side, level=level)] = carry(
                    image, fixed, Affine(), "nearest"
                )
    return found


def _blocks(data: Array, side: int, shape: tuple[int, ...]) -> Array:
    """Repeat each voxel as a block of `side`³ and crop: the reverse of a level's pooling."""
    for axis, n in enumerate(shape):
        data = data.repeat(side, axis).take(range(n), axis)
    return data
