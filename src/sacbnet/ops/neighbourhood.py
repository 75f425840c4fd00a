"""Mean over the neighbourhood of each voxel: the descriptor that SACB-Net clusters.

References
----------
Cheng et al., SACB-Net, CVPR 2025, section 3.2.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sacbnet.kernels.cpu import native
from sacbnet.kernels.cpu.memory import empty


def neighbourhood_mean(z: Tensor) -> Tensor:
    """Mean over the 3×3×3 voxels around each voxel, with zeros beyond the edge.

    Parameters
    ----------
    z : Tensor, shape (b, c, i, j, k)
        The features.

    Returns
    -------
    Tensor, shape (b, c, i, j, k)
        The means, at least float32.
    """
    out: Tensor = _Mean.apply(z) if z.requires_grad else _mean(z)
    return out


class _Mean(torch.autograd.Function):
    """The mean with its gradient.

    Each voxel contributes to the means of its neighbours as they contribute to its own. So the
    gradient is the same mean, of the incoming gradient.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        ctx.dtype = z.dtype
        return _mean(z)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return neighbourhood_mean(g).to(ctx.dtype)


def _mean(z: Tensor) -> Tensor:
    if not native.usable(z):
        return F.avg_pool3d(
            F.pad(z.to(torch.promote_types(z.dtype, torch.float32)), (1,) * 6), 3, stride=1
        )
    z = native.channels_last(z)
    out = empty(tuple(z.shape))
    b, c, *size = z.shape
    native.call(
        "neighbourhood_mean",
        z,
        z.dtype == torch.bfloat16,
        out,
        b,
        *size,
        c,
        torch.get_num_threads(),
    )
    return out
