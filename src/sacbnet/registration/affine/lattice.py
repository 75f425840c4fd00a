"""One image at one resolution, and the meaning of the space beyond its faces.

A face may cut through anatomy. Then nothing is known beyond the face, and points there do not
count. Or a face lies in the background, like the faces of a tight box around a skull-stripped
brain. Then there is more background beyond the face, and points there count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sacbnet.imaging.resampling import antialias
from sacbnet.registration.prepare import Layer
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.resample import resample
from sacbnet.spatial.transforms import Affine


@dataclass(frozen=True)
class Lattice:
    """One image at one resolution.

    Parameters
    ----------
    data : array of float32, shape (i, j, k)
        Intensities in [0, 1].
    grid : Grid
        Grid of the data.
    mask : array of bool, shape (i, j, k), or None
        True where the image counts; None if it counts everywhere.
    cut : array of bool, shape (2, 3)
        True where the low (first row) or the high (second row) face of an axis cuts through
        anatomy.
    """

    data: NDArray[np.float32]
    grid: Grid
    mask: NDArray[np.bool_] | None
    cut: NDArray[np.bool_]

    def padded(self) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
        """Extend the data and the mask by one voxel on each side.

        The extra voxel stands for everything beyond the face.

        Returns
        -------
        data : array of float32, shape (i + 2, j + 2, k + 2)
            The intensities; background (0) beyond an open face, the value of the face beyond a cut
            one.
        mask : array of bool, shape (i + 2, j + 2, k + 2), or None
            False where nothing is known; None if everything is known.
        """
        cuts = [(axis, side) for axis in range(3) for side in (0, -1) if self.cut[side, axis]]
        data = np.pad(self.data, 1)
        if self.mask is not None:
            mask = np.pad(self.mask, 1)
        elif cuts:
            mask = np.ones(data.shape, dtype=bool)
        # the outer half of a voxel on a cut face still counts and has the value of the face
        for axis, side in cuts:
            face = np.moveaxis(data, axis, 0)
            face[side] = face[-2 if side else 1]
            np.moveaxis(mask, axis, 0)[side] = False
        return data, mask if cuts or self.mask is not None else None

    @property
    def volume(self) -> float:
        """Volume of the part that counts, in mm³."""
        return self.grid.voxel_volume * float(
            self.data.size if self.mask is None else self.mask.sum()
        )


def pyramid(layer: Layer, spacings: Sequence[float]) -> list[Lattice]:
    """Compute an image at several resolutions.

    Each lattice is resampled from the one before it.

    Parameters
    ----------
    layer : Layer
        The image on its working grid. Intensities outside [0, 1] are clipped.
    spacings : sequence of float
        Spacings in mm, fine to coarse. Where the image itself is coarser, it keeps its spacing.

    Returns
    -------
    list of Lattice
        One lattice for each spacing, in the same order.
    """
    data, grid = np.clip(layer.data, 0, 1), layer.grid
    out = []
    for spacing in spacings:
        coarser = grid.with_spacing(np.maximum(grid.spacing, spacing))
        data = resample(antialias(data, grid, spacing), grid, coarser, Affine()).astype(np.float32)
        grid = coarser
        mask = (
            None
            if layer.mask is None
            else resample(layer.mask, layer.grid, grid, Affine(), "nearest")
        )
        out.append(Lattice(data, grid, None if mask is None else mask.astype(bool), layer.cut))
    return out
