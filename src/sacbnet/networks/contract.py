"""What every network of this package is: moving, fixed (b, 1, i, j, k), any size -> displacement_vox (b, 3, i, j, k).

The displacement lies on the fixed grid, in voxels, for `warp(moving, displacement_vox)`; a network holds its options as
`config`, no shape and no sampling grid.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sacbnet.errors import InputError


def check_pair(moving: Tensor, fixed: Tensor) -> torch.Size:
    """The size (i, j, k) of a pair of images; InputError for shapes that are none."""
    if moving.shape != fixed.shape or moving.ndim != 5 or moving.shape[1] != 1 or 0 in moving.shape:
        raise InputError(
            f"moving {tuple(moving.shape)} and fixed {tuple(fixed.shape)} were given; two equal shapes (b, 1, i, j, k) "
            "were expected: resample the moving image to the fixed grid first"
        )
    return moving.shape[2:]


def pad_to(image: Tensor, multiple: int, least: int = 1) -> Tensor:
    """Zeros at the high ends, up to multiples along each axis: (b, c, i, j, k) -> (b, c, i', j', k').

    least: of voxels along the longest axis; where there are fewer, all axes get the next multiple: an instance norm
    needs more than one voxel at the coarsest level. Cropping a displacement back changes no unit.
    """
    size = [multiple * -(-n // multiple) for n in image.shape[2:]]
    if max(size) < least:
        size = [multiple * -(-least // multiple)] * 3
    i, j, k = (to - n for to, n in zip(size, image.shape[2:], strict=True))
    return F.pad(image, (0, k, 0, j, 0, i))
