"""From one lattice to a coarser or finer one, for the stages that work from coarse to fine."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def coarsened(x: Tensor, s: int) -> Tensor:
    """Average blocks of s³ voxels.

    Parameters
    ----------
    x : Tensor, shape (b, n, i, j, k)
        Volumes.
    s : int
        Side of a block. The last block of an axis is smaller if s does not divide the axis.

    Returns
    -------
    Tensor, shape (b, n, ceil(i / s), ceil(j / s), ceil(k / s))
        The means; x itself for s = 1.
    """
    return x if s == 1 else F.avg_pool3d(x, s, ceil_mode=True, count_include_pad=False)


def resized(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """Interpolate volumes onto another lattice over the same box.

    Parameters
    ----------
    x : Tensor, shape (b, n, i, j, k)
        Volumes.
    size : tuple of 3 int
        Voxels of the other lattice.

    Returns
    -------
    Tensor, shape (b, n, i', j', k')
        The volumes, trilinearly interpolated.
    """
    return F.interpolate(x, size=tuple(size), mode="trilinear", align_corners=False)
