"""Mean over the voxels around each voxel: the descriptor that SACB-Net clusters (Cheng et al., CVPR 2025, 3.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..compiled import native
from ..compiled.memory import empty


@torch.no_grad()
def neighbourhood_mean(z: Tensor) -> Tensor:
    """Mean over the 3×3×3 voxels around each, zeros beyond the edge: (b, c, i, j, k) -> same, float32; no gradient."""
    if not native.usable(z):
        return F.avg_pool3d(F.pad(z.to(torch.promote_types(z.dtype, torch.float32)), (1,) * 6), 3, stride=1)
    z = native.channels_last(z)
    out = empty(tuple(z.shape))
    b, c, *size = z.shape
    native.call("neighbourhood_mean", z, z.dtype == torch.bfloat16, out, b, *size, c, torch.get_num_threads())
    return out
