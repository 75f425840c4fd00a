"""Expected error of a registration: how far from its true place a point may be carried.

Where the images have structure in every direction, and are alike after the registration, a wrong
displacement would be seen. Where they are flat, or unlike, it would not. The error that this leaves
open is computed from the images and the transform alone, so that it means the same with every
network and with none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sacbnet.imaging.image import Image
from sacbnet.imaging.intensities import foreground
from sacbnet.imaging.resampling import carry, on_grid
from sacbnet.losses import box_mean
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine, DisplacementField, chain

from .prepare import Pair
from .report import ExpectedError

WINDOWS = (5, 15)  # voxels of the lattice: an edge, and the structure around it
_COARSEST = 2.2  # mm of a human body: largest spacing of the lattice
_PRIOR = 2.5  # voxels: SD along each axis where the images say nothing
_FLOOR = 0.02  # part of the variance that no two images share
_FLAT = 1e-6  # variance of a box without structure, of images in [0, 1]
_SLACK = 0.5  # voxels: a pair that was hardly moved may still be wrong
_SHOWN = 0.05  # of the range: what is darker is background
# The expected error, in voxels, is e^CONSTANT times the signs, each to the power of its weight.
# Fitted by `speed/uncertainty.py fit` to known warps of images that anyone may use: two heads of
# the demo, images made of three brain label maps (Apache-2.0), two CT of OpenKBP (MIT).
CONSTANT, WEIGHTS = -1.413, (0.532, 1.035, 0.670)


@dataclass(frozen=True, eq=False)
class ErrorMap:
    """The expected error on a lattice.

    Parameters
    ----------
    error_mm : float32 array, shape (i, j, k)
        Expected distance between the place to which the transform carries a point and the place to
        which it belongs, in the unit of `grid`.
    grid : Grid
        The lattice.
    inside : bool array, shape (i, j, k)
        Where the fixed image shows something.
    """

    error_mm: NDArray[np.float32]
    grid: Grid
    inside: NDArray[np.bool_]

    def summary(self) -> ExpectedError:
        """Summarise the map over what the fixed image shows.

        Returns
        -------
        ExpectedError
            Mean and 95th percentile.
        """
        shown = self.error_mm[self.inside]
        return ExpectedError(float(shown.mean()), float(np.percentile(shown, 95)))

    def onto(self, fixed: Image) -> Image:
        """Put the map onto the fixed image's own grid.

        Parameters
        ----------
        fixed : Image
            The fixed image.

        Returns
        -------
        Image
            The map. Beyond the lattice it has the largest value of the lattice.
        """
        most = float(self.error_mm.max())
        return carry(Image(self.error_mm, self.grid), fixed, Affine(), "linear", most)


def error_map(pair: Pair, affine: Affine, transform: DisplacementField) -> ErrorMap:
    """Estimate how far a registration may be off, everywhere.

    Parameters
    ----------
    pair : Pair
        Both images as the engine takes them.
    affine : Affine
        The affine alignment.
    transform : DisplacementField
        The whole transform.

    Returns
    -------
    ErrorMap
        The expected error, in the unit of the pair's grid.
    """
    grid, fixed, moved, u, inside = on_lattice(pair, affine, transform)
    found = expected_error(fixed, moved, u, inside)[0, 0].numpy()
    return ErrorMap(found * np.float32(grid.spacing.mean()), grid, inside[0, 0].numpy())


def on_lattice(
    pair: Pair, affine: Affine, transform: DisplacementField
) -> tuple[Grid, Tensor, Tensor, Tensor, Tensor]:
    """Bring a registered pair onto the lattice of the map.

    Parameters
    ----------
    pair, affine, transform
        As of `error_map`.

    Returns
    -------
    grid : Grid
        The lattice.
    fixed, moved : Tensor, shape (1, 1, i, j, k)
        The images, intensities in [0, 1].
    u_vox : Tensor, shape (1, 3, i, j, k)
        The displacement before the affine, in voxels of the lattice.
    inside : bool Tensor, shape (1, 1, i, j, k)
        Where the fixed image shows something, within its mask.
    """
    grid = lattice(pair.grid, pair.spacing)
    fixed = on_grid(pair.fixed.data, pair.grid, grid)
    moved = on_grid(pair.moving.data, pair.moving.grid, grid, transform)
    local = DisplacementField.from_map(chain(affine.inverse, transform), grid)
    u = torch.from_numpy(np.moveaxis(local.displacement_vox(), -1, 0).copy())[None]
    inside = torch.from_numpy(foreground(fixed.numpy(), _SHOWN))
    if pair.fixed.mask is not None:
        within = on_grid(pair.fixed.mask.astype(np.float32), pair.grid, grid) > 0.5
        inside = inside & within if (inside & within).any() else torch.ones_like(inside)
    return grid, fixed, moved, u, inside


def lattice(grid: Grid, spacing: float) -> Grid:
    """Choose the lattice of the map: about 2 mm, and at least three large boxes wide.

    Parameters
    ----------
    grid : Grid
        The working grid.
    spacing : float
        Its spacing, mm of a human body.

    Returns
    -------
    Grid
        The working grid itself, or a grid over the same box that is coarser by a whole number.
    """
    wide = min(grid.shape) // (3 * WINDOWS[1])
    s = max(1, min(int(_COARSEST / spacing), wide))
    if s == 1:
        return grid
    coarser = grid.affine.copy()
    coarser[:3, :3] *= s
    coarser[:3, 3] = grid.world([(s - 1) / 2] * 3)
    i, j, k = (-(-n // s) for n in grid.shape)
    return Grid((i, j, k), coarser)


def expected_error(fixed: Tensor, moved: Tensor, u_vox: Tensor, inside: Tensor) -> Tensor:
    """Estimate the error of a registration.

    Parameters
    ----------
    fixed, moved : Tensor, shape (1, 1, i, j, k)
        The fixed and the moved image, intensities in [0, 1].
    u_vox : Tensor, shape (1, 3, i, j, k)
        The displacement beyond the affine, voxels.
    inside : bool Tensor, shape (1, 1, i, j, k)
        Where the fixed image shows something.

    Returns
    -------
    Tensor, shape (1, 1, i, j, k)
        Expected length of the error vector, voxels.
    """
    log = torch.full_like(fixed, CONSTANT)
    for weight, sign in zip(WEIGHTS, signs(fixed, moved, u_vox, inside), strict=True):
        log += weight * sign.log()
    return log.exp()


def signs(
    fixed: Tensor, moved: Tensor, u_vox: Tensor, inside: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Measure what the expected error depends on; it grows with each of them.

    Parameters
    ----------
    fixed, moved, u_vox, inside
        As of `expected_error`.

    Returns
    -------
    small, large : Tensor, shape (1, 1, i, j, k)
        What the images leave open in the box of 5 and of 15 voxels, voxels (`left_open`).
    size : Tensor, shape (1, 1, 1, 1, 1)
        Root mean square of the displacement over all that the fixed image shows, plus half a voxel,
        voxels. A registration finds a share of the displacement; the rest is its error.
    """
    slopes = [[_slope(x, axis) for axis in range(3)] for x in (fixed, moved)]
    small, large = (
        left_open(slopes, *likeness(fixed, moved, window), window=window) for window in WINDOWS
    )
    size = u_vox.square().sum(1, keepdim=True)[inside].mean().sqrt() + _SLACK
    return small, large, size.reshape(1, 1, 1, 1, 1)


def likeness(fixed: Tensor, moved: Tensor, window: int) -> tuple[Tensor, list[Tensor]]:
    """Compute how alike two images are in a box around each voxel.

    Parameters
    ----------
    fixed, moved : Tensor, shape (1, 1, i, j, k)
        The images.
    window : int
        Side of the box, voxels; odd.

    Returns
    -------
    shared : Tensor, shape (1, 1, i, j, k)
        Squared local correlation; 0 in flat boxes.
    variances : list of 2 Tensor, shape (1, 1, i, j, k)
        Variance of each image.
    """
    means = [_mean(x, window) for x in (fixed, moved)]
    variances = [
        (_mean(x * x, window) - m * m).clamp_(min=0)
        for x, m in zip((fixed, moved), means, strict=True)
    ]
    common = _mean(fixed * moved, window) - means[0] * means[1]
    return (common.square_() / (variances[0] * variances[1] + _FLAT**2)).clamp_(0, 1), variances


def left_open(
    slopes: list[list[Tensor]], shared: Tensor, variances: list[Tensor], *, window: int
) -> Tensor:
    """Compute the displacement that the images of a box cannot exclude.

    A shift d of one image lowers the local correlation r² by ``dᵀ H d``. H is the mean of the
    products of the slopes of intensity, divided by the variance: the curvature of the likeness.
    What both images share, r², against what they do not share, 1 - r², is the weight of this
    evidence. The inverse of evidence plus prior is the covariance of the displacement (the
    Cramér-Rao bound). A face between two tissues fixes one direction, a corner all three.

    Parameters
    ----------
    slopes : list of list of Tensor, shape (1, 1, i, j, k)
        For each image its slopes along the three axes, per voxel.
    shared, variances
        As `likeness` gives them.
    window : int
        Side of the box, voxels; odd.

    Returns
    -------
    Tensor, shape (1, 1, i, j, k)
        Root of the trace of the covariance, voxels; at most √3 times the prior's SD of 2.5 voxels.

    References
    ----------
    Robinson and Milanfar, "Fundamental performance limits in image registration", IEEE TIP 2004.
    """
    weight = 0.5 * shared / (1 - shared + _FLOOR)

    def evidence(a: int, b: int) -> Tensor:
        total = torch.zeros_like(weight)
        for slope, variance in zip(slopes, variances, strict=True):
            total += _mean(slope[a] * slope[b], window) / (variance + _FLAT)
        return total * weight

    xx, yy, zz = (evidence(a, a) + 1 / _PRIOR**2 for a in range(3))
    xy, xz, yz = (evidence(a, b) for a, b in ((0, 1), (0, 2), (1, 2)))
    return _trace_of_inverse(xx, yy, zz, xy, xz, yz).sqrt_()


def _trace_of_inverse(
    xx: Tensor, yy: Tensor, zz: Tensor, xy: Tensor, xz: Tensor, yz: Tensor
) -> Tensor:
    """Trace of the inverse of symmetric 3 × 3 matrices: of their cofactors, by the determinant."""
    of_x, of_y, of_z = yy * zz - yz * yz, xx * zz - xz * xz, xx * yy - xy * xy
    determinant = xx * of_x - xy * (xy * zz - yz * xz) + xz * (xy * yz - yy * xz)
    # no direction is less certain than the prior leaves it; rounding could say so
    return ((of_x + of_y + of_z) / determinant.clamp_(min=_PRIOR**-6)).clamp_(min=0)


def _mean(x: Tensor, window: int) -> Tensor:
    """The mean over the part of the box that lies within the image."""
    out = box_mean(x, window)
    for axis, n in enumerate(x.shape[2:], 2):
        at = torch.arange(n, device=x.device)
        there = (at + window // 2).clamp(max=n - 1) - (at - window // 2).clamp(min=0) + 1
        shape = [1] * x.ndim
        shape[axis] = n
        out = out * (window / there).reshape(shape)
    return out


def _slope(x: Tensor, axis: int) -> Tensor:
    """Central differences along an axis, per voxel; 0 at the faces."""
    out, n = torch.zeros_like(x), x.shape[axis + 2]
    if n > 2:
        ahead, behind = x.narrow(axis + 2, 2, n - 2), x.narrow(axis + 2, 0, n - 2)
        out.narrow(axis + 2, 1, n - 2).copy_(ahead).sub_(behind).mul_(0.5)
    return out
