"""Image -> what the engine sees: its grid (isotropic, axes towards R, A, S, cropped) and intensities in [0, 1]."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sacbnet.errors import InputError
from sacbnet.imaging.image import Image
from sacbnet.imaging.intensities import foreground
from sacbnet.imaging.padding import own_mask
from sacbnet.imaging.resampling import mask_on_grid, on_grid
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine

from .inputs import Inputs

HUMAN_MM = (0.45, 1.55)  # finest spacings that are worked at 1 mm: the range of human MR and CT
MOST_VOXELS = 12e6
MARGIN = 12  # voxels about what is shown, at the spacing that the image calls for
CUT_SIGNAL, CUT_FACE = (
    0.1,
    0.1,
)  # a face is cut where more than this share of its voxels is above this of the range


def working_spacing(fixed: Grid, asked: float | None = None) -> float:
    """Isotropic spacing (mm) at which a pair is registered.

    The one that is asked for (by the weights, or the user). Else 1 mm for images of a human's resolution, so that the
    same head scanned or resampled at 0.8 or 1.5 mm is treated alike; else the finest spacing (a mouse, a PET image).
    Coarsened until the box holds at most 12 million voxels. Raises InputError where the one asked for would need ten
    times that.
    """
    finest = float(fixed.spacing.min())
    volume = float(np.prod(np.array(fixed.shape) * fixed.spacing))
    least = (volume / MOST_VOXELS) ** (1 / 3)
    if asked is None:
        return max(1.0 if HUMAN_MM[0] <= finest <= HUMAN_MM[1] else finest, least)
    if volume / asked**3 > 10 * MOST_VOXELS:
        raise InputError(
            f"a working spacing of {asked:g} mm makes {volume / asked**3 / 1e6:.0f} million voxels of the fixed image;"
            f" at least {least:.2g} mm was expected, or a smaller image"
        )
    return float(asked)


def network_grid(
    fixed: Image, spacing: float, mask: NDArray[np.bool_] | None = None, margin: int = MARGIN
) -> Grid:
    """The grid the engine works on: axes of the fixed image permuted and flipped towards (R, A, S), isotropic.

    Cropped to what is not background (or to the mask), plus a margin of voxels. The margin may reach beyond the image,
    but not through a face that cuts through what is shown (with a mask, through none): the zeros out there would be an
    edge that is in no anatomy, and a network that has never seen such edges fails (hippocampus crops: Dice .29 instead
    of .75). Where the fixed image already has the spacing, its own lattice is kept, so that nothing is blurred.
    """
    low, high = _box(foreground(fixed.data) if mask is None else mask)
    before = after = np.full(3, margin)
    grid = fixed.grid.orthogonal()
    if grid is fixed.grid:
        grid = fixed.grid.cropped(low, high)
        room = (
            np.stack([low, np.array(fixed.grid.shape) - high]) * fixed.grid.spacing / spacing
        )  # working voxels
        cut = (
            _cut(fixed.data) if mask is None else np.True_
        )  # what lies outside a mask is to have no say
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


def _cut(data: NDArray[np.floating]) -> NDArray[np.bool_]:
    """(2, 3): whether the low and the high face of each axis cut through anatomy. A tight box only touches it, and the
    background may be noisy."""
    shown = foreground(data, CUT_SIGNAL)
    return np.array(
        [[shown.take(end, axis).mean() > CUT_FACE for axis in range(3)] for end in (0, -1)]
    )


def _box(mask: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    index = [np.flatnonzero(mask.any(axis=tuple(b for b in range(3) if b != a))) for a in range(3)]
    return np.array([i[0] for i in index]), np.array([i[-1] + 1 for i in index])


def spacings(
    fixed: Grid, asked: float | None, of_network: float | None, refined: bool
) -> tuple[float, int]:
    """The working spacing (mm), and how many working voxels a voxel of the network takes along each axis.

    asked: by the user. of_network: at which the weights were trained, None without. A network alone needs no more than
    its own spacing. Refinement looks at what the image shows (`working_spacing`): it works at the nearest spacing of
    which the network's is a multiple. Raises InputError as `working_spacing` does.
    """
    own = working_spacing(fixed, asked)
    if of_network is None:
        return own, 1
    factor = max(1, round(of_network / own)) if refined or asked else 1
    return working_spacing(fixed, asked or of_network / factor), factor


@dataclass(frozen=True)
class Layer:
    """One image of a pair: data (i, j, k) float32 in [0, 1] on an orthogonal grid, and where it counts (None: all)."""

    data: NDArray[np.float32]
    grid: Grid
    mask: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Pair:
    """Both images as the engine takes them. fixed lies on the working grid; moving keeps its own voxels.

    factor: a voxel of the network is so many working voxels along each axis.
    """

    grid: Grid
    spacing: float
    fixed: Layer
    moving: Layer
    factor: int = 1

    def tensors(
        self, affine: Affine, device: torch.device
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """fixed, moving through the affine, and their masks: each (1, 1, i, j, k) on the working grid."""
        f, m = self.fixed, self.moving
        return (
            torch.from_numpy(f.data)[None, None].to(device),
            on_grid(m.data, m.grid, self.grid, affine).to(device),
            None
            if f.mask is None
            else torch.from_numpy(f.mask.astype(np.float32))[None, None].to(device),
            None if m.mask is None else mask_on_grid(m.mask, m.grid, self.grid, affine).to(device),
        )


def prepare(
    inputs: Inputs,
    spacing: float | None,
    metadata: Mapping[str, str] | None = None,
    refined: bool = True,
) -> Pair:
    """Choose the working grid, and bring both images to [0, 1]. metadata: of the weights, None without; the rest is as
    `spacings` says."""
    spacing, factor = spacings(inputs.fixed.grid, spacing, spacing_of(metadata), refined)
    f_mask = None if inputs.fixed_mask is None else inputs.fixed_mask.data
    m_mask = None if inputs.moving_mask is None else inputs.moving_mask.data
    own = working_spacing(inputs.fixed.grid)
    grid = network_grid(inputs.fixed, spacing, f_mask, round(MARGIN * min(1.0, own / spacing)))
    f_mask, m_mask = within(f_mask, inputs.fixed.data), within(m_mask, inputs.moving.data)
    fixed = on_grid(inputs.fixed.unit(), inputs.fixed.grid, grid)[0, 0].numpy()
    inside = (
        None if f_mask is None else mask_on_grid(f_mask, inputs.fixed.grid, grid)[0, 0].numpy() > 0
    )
    moving, m_grid = inputs.moving.unit(), inputs.moving.grid
    if not m_grid.is_orthogonal:  # SimpleITK holds no sheared image
        upright = m_grid.orthogonal()
        moving = on_grid(moving, m_grid, upright)[0, 0].numpy()
        m_mask = None if m_mask is None else mask_on_grid(m_mask, m_grid, upright)[0, 0].numpy() > 0
        m_grid = upright
    return Pair(grid, spacing, Layer(fixed, grid, inside), Layer(moving, m_grid, m_mask), factor)


def within(mask: NDArray[np.bool_] | None, data: NDArray[np.floating]) -> NDArray[np.bool_] | None:
    """A mask (None: everything) without what is only padding that repeats the image's edges."""
    own = own_mask(data)
    return mask if own is None else own if mask is None else mask & own


def spacing_of(metadata: Mapping[str, str] | None) -> float | None:
    """The spacing that the weights were trained at, where their metadata give a number."""
    try:
        return None if metadata is None else float(metadata["spacing_mm"])
    except (KeyError, ValueError):
        return None
