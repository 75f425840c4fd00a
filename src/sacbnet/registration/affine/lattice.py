"""One image at one resolution, and what is beyond its faces.

A face may cut through anatomy: beyond it nothing is known, and what falls there does not count. Or it lies in the
background, as those of a tight box about a skull-stripped brain do: then there is more background beyond, which counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sacbnet.imaging.intensities import foreground
from sacbnet.imaging.resampling import antialias
from sacbnet.registration.prepare import Layer
from sacbnet.registration.working_grid import CUT_FACE, CUT_SIGNAL
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.resample import resample
from sacbnet.spatial.transforms import Affine


@dataclass(frozen=True)
class Lattice:
    """data: (i, j, k) float32 in [0, 1] on `grid`. mask: (i, j, k) bool, where it counts; None is everywhere.

    cut: (2, 3) bool, whether the low and the high face of each axis cut through anatomy.
    """

    data: NDArray[np.float32]
    grid: Grid
    mask: NDArray[np.bool_] | None
    cut: NDArray[np.bool_]

    def padded(self) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
        """Data and mask with one voxel more on each side, which stands for all that is beyond that face.

        Where the mask is False nothing is known; None is everywhere known.
        """
        cuts = [(axis, side) for axis in range(3) for side in (0, -1) if self.cut[side, axis]]
        data = np.pad(self.data, 1)
        if self.mask is not None:
            mask = np.pad(self.mask, 1)
        elif cuts:
            mask = np.ones(data.shape, dtype=bool)
        for (
            axis,
            side,
        ) in cuts:  # the outer half of a face's voxels still counts, and holds the face's own value
            face = np.moveaxis(data, axis, 0)
            face[side] = face[-2 if side else 1]
            np.moveaxis(mask, axis, 0)[side] = False
        return data, mask if cuts or self.mask is not None else None

    @property
    def volume(self) -> float:
        """mm³ of what counts."""
        return self.grid.voxel_volume * float(
            self.data.size if self.mask is None else self.mask.sum()
        )


def pyramid(layer: Layer, spacings: Sequence[float]) -> list[Lattice]:
    """The image at each spacing (mm, fine to coarse; where its own is coarser, that), each made from the one before."""
    shown = foreground(layer.data, CUT_SIGNAL)
    cut = np.array(
        [[shown.take(end, axis).mean() > CUT_FACE for axis in range(3)] for end in (0, -1)]
    )
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
        out.append(Lattice(data, grid, None if mask is None else mask.astype(bool), cut))
    return out
