"""Small steps between convolutions; the compiled forms read and write memory once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sacbnet.kernels.cpu import native
from sacbnet.kernels.cpu.memory import empty
from sacbnet.kernels.cpu.pointwise import LeakyAdd, Pool2


def pool2(x: Tensor) -> Tensor:
    """Means of 2×2×2 voxels.

    Parameters
    ----------
    x : Tensor, shape (b, c, i, j, k)
        The input.

    Returns
    -------
    Tensor, shape (b, c, i // 2, j // 2, k // 2)
        The means. The last voxel of an odd axis is dropped.
    """
    if native.usable(x) and not any(n % 2 for n in x.shape[2:]):
        return Pool2.apply(x)
    # torch has no such pooling of bfloat16 on the CPU
    return F.avg_pool3d(x.float() if x.dtype == torch.bfloat16 else x, 2).to(x.dtype)


def leaky_add(y: Tensor, x: Tensor, slope: float) -> Tensor:
    """Leaky ReLU of one volume, plus another.

    Parameters
    ----------
    y : Tensor, shape (b, c, i, j, k)
        The volume to which the leaky ReLU is applied.
    x : Tensor, shape (b, c, i, j, k)
        The volume that is added.
    slope : float
        Slope of the leaky ReLU for negative values.

    Returns
    -------
    Tensor, shape (b, c, i, j, k)
        The sum.
    """
    if native.usable(x, y) and x.dtype == y.dtype:
        return LeakyAdd.apply(y, x, slope)
    return F.leaky_relu(y, slope) + x


def concatenate(volumes: Sequence[Tensor], dim: int) -> Tensor:
    """Concatenate volumes, like ``torch.cat``; without gradients into memory that is reused.

    Parameters
    ----------
    volumes : sequence of Tensor, each of shape (b, c, i, j, k)
        The volumes.
    dim : int
        The axis along which they are joined.

    Returns
    -------
    Tensor
        The joined volumes.
    """
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
