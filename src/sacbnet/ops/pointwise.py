"""Small steps between the convolutions, each in one pass over memory where it is compiled."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sacbnet.kernels.cpu import native
from sacbnet.kernels.cpu.memory import empty
from sacbnet.kernels.cpu.pointwise import LeakyAdd, Pool2


def pool2(x: Tensor) -> Tensor:
    """Mean of 2×2×2 voxels: (b, c, i, j, k) -> (b, c, i//2, j//2, k//2); what is left over at a high end is dropped."""
    if native.usable(x) and not any(n % 2 for n in x.shape[2:]):
        return Pool2.apply(x)
    return F.avg_pool3d(x.float() if x.dtype == torch.bfloat16 else x, 2).to(
        x.dtype
    )  # torch has no bfloat16 one


def leaky_add(y: Tensor, x: Tensor, slope: float) -> Tensor:
    """Leaky ReLU of y, plus x: both (b, c, i, j, k)."""
    if native.usable(x, y) and x.dtype == y.dtype:
        return LeakyAdd.apply(y, x, slope)
    return F.leaky_relu(y, slope) + x


def concatenate(volumes: Sequence[Tensor], dim: int) -> Tensor:
    """torch.cat of volumes (b, c, i, j, k), without autograd into memory that is used again."""
    first = volumes[0]
    if (
        torch.is_grad_enabled()
        or not native.usable(*volumes)
        or len({v.dtype for v in volumes}) > 1
    ):
        return torch.cat(list(volumes), dim)
    shape = [*first.shape]
    shape[dim] = sum(v.shape[dim] for v in volumes)
    out = empty((shape[0], shape[1], shape[2], shape[3], shape[4]), first.dtype)
    return torch.cat(list(volumes), dim, out=out)
