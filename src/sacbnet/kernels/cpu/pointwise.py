"""The compiled small steps between the convolutions, with channels side by side in memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .memory import empty
from .native import call, channels_last


class Pool2(torch.autograd.Function):
    """Means of 2×2×2 voxels: (b, c, i, j, k) with even sides -> (b, c, i/2, j/2, k/2)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Compute the means."""
        ctx.shape = b, c, *size = tuple(x.shape)
        y = empty((b, c, *(n // 2 for n in size)), x.dtype)
        return _pool(channels_last(x), y, back=False)[1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        """Give each of the eight voxels an eighth of the gradient."""
        return _pool(empty(ctx.shape, g.dtype), channels_last(g), back=True)[0]


class LeakyAdd(torch.autograd.Function):
    """(y, x, slope) -> leaky ReLU of y, plus x; y and x have one shape."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor, slope: float) -> Tensor:
        """Compute the sum."""
        y, x = channels_last(y), channels_last(x)
        ctx.slope = slope
        ctx.save_for_backward(y)
        return _leaky_add(y, x, slope, back=False)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, None]:
        """Gradients of y and x."""
        (y,) = ctx.saved_tensors
        return _leaky_add(y, channels_last(g), ctx.slope, back=True), g, None


def _pool(x: Tensor, y: Tensor, *, back: bool) -> tuple[Tensor, Tensor]:
    b, c, *size = x.shape
    call("pool2", x, y, x.dtype == torch.bfloat16, back, b, *size, c, torch.get_num_threads())
    return x, y


def _leaky_add(y: Tensor, x: Tensor, slope: float, *, back: bool) -> Tensor:
    out = empty(tuple(y.shape), y.dtype)
    half = y.dtype == torch.bfloat16
    call("leaky_add", y, x, slope, out, half, back, y.numel(), torch.get_num_threads())
    return out
