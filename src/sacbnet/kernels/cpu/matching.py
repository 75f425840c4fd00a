"""Local matching in C++: scores, softmax and expectation in one pass.

`sacbnet.ops.matching` defines the result.

References
----------
Cheng et al., SACB-Net, CVPR 2025, section 3.3.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import native
from .memory import empty

KERNELS = {3: "matching", 5: "matching_wide"}  # for each side of the window


def match(moving: Tensor, fixed: Tensor, window: int = 3) -> Tensor:
    """Expected offset of the match of each fixed voxel.

    The tensors must be `native.usable`. Sums are float32. Each gradient has the type of its tensor.

    Parameters
    ----------
    moving : Tensor, shape (b, c, i, j, k)
        Features of the moving image.
    fixed : Tensor, shape (b, c, i, j, k)
        Features of the fixed image.
    window : {3, 5}, default 3
        Number of candidates along each axis.

    Returns
    -------
    Tensor of float32, shape (b, 3, i, j, k)
        The offsets in voxels.
    """
    out: Tensor = _Match.apply(moving, fixed, KERNELS[window])
    return out


class _Match(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, moving: Tensor, fixed: Tensor, kernel: str) -> Tensor:
        moving, fixed = native.channels_last(moving), native.channels_last(fixed)
        ctx.kernel = kernel
        ctx.save_for_backward(moving, fixed)
        out = empty((fixed.shape[0], 3, *fixed.shape[2:]), planar=True)
        native.call(kernel, *_volumes(moving, fixed), out, *_sizes(fixed))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        moving, fixed = ctx.saved_tensors
        of_moving, of_fixed = (
            empty(x.shape, x.dtype) if needed else None
            for x, needed in zip((moving, fixed), ctx.needs_input_grad[:2], strict=True)
        )
        volumes = _volumes(moving, fixed)
        native.call(
            f"{ctx.kernel}_backward", *volumes, g.float().contiguous(), of_moving, of_fixed,
            *_sizes(fixed),
        )  # fmt: skip
        return of_moving, of_fixed, None


def _volumes(moving: Tensor, fixed: Tensor) -> tuple[Tensor | int, ...]:
    return moving, int(moving.dtype == torch.bfloat16), fixed, int(fixed.dtype == torch.bfloat16)


def _sizes(x: Tensor) -> tuple[int, ...]:
    """(b, i, j, k, c, threads) of x (b, c, i, j, k)."""
    b, c, i, j, k = x.shape
    return b, i, j, k, c, torch.get_num_threads()
