"""The network's displacement on the working grid, whichever spacing the network was trained at."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

Network = Callable[[Tensor, Tensor], Tensor]


def predict(network: Network, moving: Tensor, fixed: Tensor, factor: int = 1) -> Tensor:
    """The displacement (b, 3, i, j, k) in voxels that `network(moving, fixed)` finds between images (b, 1, i, j, k).

    factor: a voxel of the network is so many working voxels along each axis. It is given the means of these blocks,
    and its displacement is interpolated between their centres.
    """
    if factor == 1:
        return network(moving, fixed)
    shape = fixed.shape[2:]
    u = network(_blocks(moving, factor), _blocks(fixed, factor)).float() * factor
    whole = F.interpolate(u, scale_factor=factor, mode="trilinear", align_corners=False)
    return whole[..., : shape[0], : shape[1], : shape[2]].contiguous()


def _blocks(image: Tensor, factor: int) -> Tensor:
    """Means of factor³ blocks; beyond the far faces the edge is repeated to fill the last ones, so that the lattices'
    first corners meet and a block is `factor` voxels everywhere."""
    far = [side for n in reversed(image.shape[2:]) for side in (0, -n % factor)]
    return F.avg_pool3d(F.pad(image, far, mode="replicate"), factor)
