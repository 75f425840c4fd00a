"""From images to the engine's input: both images on their grids, intensities in [0, 1], masks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sacbnet.config.choices import Box
from sacbnet.imaging.acquired import CUT_SIGNAL, acquired_box, cut_faces
from sacbnet.imaging.image import Image
from sacbnet.imaging.intensities import foreground
from sacbnet.imaging.padding import own_mask
from sacbnet.imaging.resampling import mask_on_grid, on_grid
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine

from .inputs import Inputs
from .working_grid import MARGIN, foreground_grid, spacings, whole_grid, working_spacing


@dataclass(frozen=True)
class Layer:
    """One image of a pair, as the engine takes it.

    Parameters
    ----------
    data : float32 array, shape (i, j, k)
        Intensities in [0, 1].
    grid : Grid
        An orthogonal grid.
    mask : bool array, shape (i, j, k), or None, default None
        Where the image counts; None: everywhere.
    contrasts : tuple of float32 array, default ()
        Further contrasts, as `data`.
    """

    data: NDArray[np.float32]
    grid: Grid
    mask: NDArray[np.bool_] | None = None
    contrasts: tuple[NDArray[np.float32], ...] = ()

    @cached_property
    def cut(self) -> NDArray[np.bool_]:
        """Whether the low (first row) and the high face of each axis cuts through anatomy."""
        return cut_faces(foreground(self.data, CUT_SIGNAL))


@dataclass(frozen=True)
class Pair:
    """Both images as the engine takes them.

    Parameters
    ----------
    grid : Grid
        The working grid.
    spacing : float
        Its spacing, mm.
    fixed : Layer
        The fixed image on the working grid.
    moving : Layer
        The moving image on its own voxels.
    factor : int, default 1
        Working voxels along each axis of one voxel of the network.
    box : {"whole", "foreground"}, default "foreground"
        Part of the fixed image that the working grid covers.
    """

    grid: Grid
    spacing: float
    fixed: Layer
    moving: Layer
    factor: int = 1
    box: Box = "foreground"

    def tensors(
        self, affine: Affine, device: torch.device
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Put both images on the working grid, the moving one through the affine.

        Parameters
        ----------
        affine : Affine
            The affine alignment, fixed -> moving.
        device : torch.device
            Where the tensors are to be.

        Returns
        -------
        fixed, moving : Tensor, shape (1, c, i, j, k)
            Intensities in [0, 1] of the image and its further contrasts.
        fixed_mask, moving_mask : Tensor, shape (1, 1, i, j, k), or None
            1 where the image counts, 0 elsewhere; None: everywhere. Without a mask the moving image
            counts in its field of view: not beyond faces that cut through anatomy.
        """
        f, m = self.fixed, self.moving
        view = _View.of(m, self.grid, affine)
        f_mask = None if f.mask is None else torch.from_numpy(f.mask.astype(np.float32))[None, None]
        m_mask = view.inside()
        point_map = affine if m_mask is None else view
        if m.mask is not None:
            m_mask = mask_on_grid(m.mask, m.grid, self.grid, affine)
        fixed = [torch.from_numpy(x)[None, None] for x in (f.data, *f.contrasts)]
        moving = [on_grid(x, m.grid, self.grid, point_map) for x in (m.data, *m.contrasts)]
        return (
            _together(fixed).to(device),
            _together(moving).to(device),
            None if f_mask is None else f_mask.to(device),
            None if m_mask is None else m_mask.to(device),
        )


def _together(contrasts: list[Tensor]) -> Tensor:
    return contrasts[0] if len(contrasts) == 1 else torch.cat(contrasts, 1)  # cat copies


@dataclass(frozen=True)
class _View:
    """The moving image's field of view, as a grid sees it through an affine.

    Beyond a face that cuts through anatomy nothing is known. Beyond the others there is background,
    as within the image.
    """

    moving: Grid
    cut: NDArray[np.bool_]
    grid: Grid
    affine: Affine

    @classmethod
    def of(cls, moving: Layer, grid: Grid, affine: Affine) -> _View:
        return cls(moving.grid, moving.cut, grid, affine)

    def __call__(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map points, those beyond a cut face onto that face.

        Zeros out there would be an edge that is in no anatomy.
        """
        there = self.affine(points)
        last = np.array(self.moving.shape) - 1
        low, high = np.where(self.cut[0], 0, -np.inf), np.where(self.cut[1], last, np.inf)
        return self.moving.world(np.clip(self.moving.voxels(there), low, high))

    def inside(self) -> Tensor | None:
        """1 where the grid lies in the field of view, (1, 1, i, j, k); None: everywhere."""
        matrix = self.moving.inverse_affine @ self.affine.matrix @ self.grid.affine
        inside = torch.ones(self.grid.shape, dtype=torch.bool)
        i, j, k = np.ogrid[tuple(slice(n) for n in self.grid.shape)]
        for axis in np.flatnonzero(self.cut.any(axis=0)):
            a, b, c, start = matrix[axis]
            v = torch.from_numpy((a * i + (b * j + (c * k + start))).astype(np.float32))
            if self.cut[0, axis]:
                inside &= v >= -0.5
            if self.cut[1, axis]:
                inside &= v <= self.moving.shape[axis] - 0.5
        return None if bool(inside.all()) else inside[None, None].float()


def prepare(
    inputs: Inputs,
    *,
    spacing: float | None = None,
    of_network: float | None = None,
    refined: bool = True,
    box: Box = "foreground",
) -> Pair:
    """Choose the working grid, and bring both images to [0, 1].

    Parameters
    ----------
    inputs : Inputs
        The images, axes towards R, A and S (`Inputs.canonical`).
    spacing : float or None, default None
        A working spacing that the user asks for, mm.
    of_network : float or None, default None
        Spacing of the weights' training images, mm; None without weights, or where it is unknown.
    refined : bool, default True
        Whether refinement follows (`working_grid.spacings`).
    box : {"whole", "foreground"}, default "foreground"
        Part of the fixed image to work on: its whole box, or what it shows plus a margin.

    Returns
    -------
    Pair
        Both images as the engine takes them.

    Raises
    ------
    InputError
        If the spacing needs too many voxels.
    """
    if box != "whole":
        inputs = acquired(inputs)
    f, m = inputs.fixed, inputs.moving
    if box == "whole" and spacing is None and of_network is None:
        own = f.grid.spacing
        isotropic = own.max() - own.min() <= 1e-3 * own.min()
        spacing = float(own.min()) if isotropic else None
    spacing, factor = spacings(f.grid, spacing, of_network, refined)
    f_mask = None if inputs.fixed_mask is None else inputs.fixed_mask.data
    m_mask = None if inputs.moving_mask is None else inputs.moving_mask.data
    if box == "whole":
        grid = whole_grid(f.grid, spacing)
    else:
        margin = round(MARGIN * min(1.0, working_spacing(f.grid) / spacing))
        grid = foreground_grid(f, spacing, f_mask, margin)
    f_mask, m_mask = within(f_mask, f), within(m_mask, m)
    if box == "whole":  # the network sees the slices that were not acquired, as in its training
        f_mask, m_mask = _boxed(f_mask, f), _boxed(m_mask, m)
    f_more, m_more = (tuple(x[n].unit() for x in inputs.contrasts) for n in (0, 1))
    fixed = _resampled(Layer(f.unit(), f.grid, f_mask, f_more), grid)
    moving = Layer(m.unit(), m.grid, m_mask, m_more)
    if not m.grid.is_orthogonal:  # the affine search needs an upright lattice
        moving = _resampled(moving, m.grid.orthogonal())
    return Pair(grid, spacing, fixed, moving, factor, box)


def acquired(inputs: Inputs) -> Inputs:
    """Leave out the slices that were not acquired.

    Parameters
    ----------
    inputs : Inputs
        Images, contrasts and masks; the label maps are returned as they are.

    Returns
    -------
    Inputs
        The images, their contrasts and masks, cropped (`imaging.acquired.acquired_box`).
    """
    of_fixed, of_moving = ([x[n] for x in inputs.contrasts] for n in (0, 1))
    fixed, fixed_mask, *of_fixed = _cropped(inputs.fixed, inputs.fixed_mask, *of_fixed)
    moving, moving_mask, *of_moving = _cropped(inputs.moving, inputs.moving_mask, *of_moving)
    return replace(
        inputs,
        fixed=fixed,
        moving=moving,
        fixed_mask=fixed_mask,
        moving_mask=moving_mask,
        contrasts=tuple(zip(of_fixed, of_moving, strict=True)),
    )


def _cropped(image: Image, *others: Image | None) -> tuple[Any, ...]:
    """An image, and others on its grid, without the slices that it did not acquire."""
    box = acquired_box(image.data)
    if box is None:
        return image, *others
    grid = image.grid.cropped([s.start for s in box], [s.stop for s in box])

    def inside(whole: Image | None) -> Image | None:
        if whole is None:
            return None
        missing = None if whole.missing is None else np.ascontiguousarray(whole.missing[box])
        data = np.ascontiguousarray(whole.data[box])
        return replace(whole, data=data, grid=grid, missing=missing)

    return tuple(map(inside, (image, *others)))


def _boxed(mask: NDArray[np.bool_] | None, image: Image) -> NDArray[np.bool_] | None:
    """A mask without the slices that were not acquired; None where everything counts."""
    box = acquired_box(image.data)
    if box is None:
        return mask
    found = np.zeros(image.data.shape, dtype=bool)
    found[box] = True if mask is None else mask[box]
    return found


def _resampled(layer: Layer, grid: Grid) -> Layer:
    """A layer on another grid; itself where it lies on that grid already."""
    if grid is layer.grid:
        return layer
    data, *more = (
        on_grid(x, layer.grid, grid)[0, 0].numpy() for x in (layer.data, *layer.contrasts)
    )
    mask = layer.mask
    if mask is not None:
        mask = mask_on_grid(mask, layer.grid, grid)[0, 0].numpy() > 0
    return Layer(data, grid, mask, tuple(more))


def within(mask: NDArray[np.bool_] | None, image: Image) -> NDArray[np.bool_] | None:
    """Take what holds no measurement out of a mask.

    These are padding that repeats the image's edges, padding of one value, and NaN.

    Parameters
    ----------
    mask : bool array, shape (i, j, k), or None
        Where the image counts; None: everywhere.
    image : Image
        The image.

    Returns
    -------
    bool array, shape (i, j, k), or None
        The mask without the padding; None where everything counts.
    """
    outside = image.scaling.outside
    for own in (own_mask(image.data), None if outside is None else ~outside):
        if own is not None:
            mask = own if mask is None else mask & own
    return mask
