"""TODO-DOC sacbnet.imaging.canonical."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sacbnet.imaging.image import Image
from sacbnet.spatial.grid import Grid


def canonical(image: Image) -> Image:
    grid, axes, signs = image.grid.canonical()
    data = image.data.transpose(axes)[tuple(slice(None, None, s) for s in signs)]
    # an origin counted from the other end differs in the last bits: to a billionth of a voxel, then
    quantum = 2.0 ** (np.floor(np.log2(grid.spacing.min())) - 30)
    affine = np.round(grid.affine / quantum) * quantum
    affine[3] = grid.affine[3]
    return replace(image, data=np.ascontiguousarray(data), grid=Grid(grid.shape, affine))
