"""Trilinear warping in C++: no sampling grid is built, and both layouts of the image are read as they lie.

Definition: `sacbnet.spatial.warp`, which dispatches here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import native
from .memory import empty


def takes(image: Tensor, at: Tensor) -> bool:
    """Whether `warp` can sample image (b, c, i, j, k) at (b, 3, i', j', k')."""
    return (
        native.usable(image, at)
        and image.ndim == at.ndim == 5
        and at.shape[:2] == (image.shape[0], 3)
        and min(image.shape[2:]) >= 2  # one point has no neighbour to read
        and image.shape[2:].numel() < 2**31
        and image.numel() > 0
        and at.numel() > 0
    )


def warp(
    image: Tensor, at: Tensor, *, absolute: bool = False, border: bool = False, add: bool = False
) -> Tensor:
    """Values of image (b, c, i, j, k) at p + at(p), or where `absolute` at at(p) -> (b, c, i', j', k').

    at (b, 3, i', j', k'), voxels; `takes` says what is possible. Beyond the edge the image fades to zero within one
    voxel, or where `border` it repeats its edge. `add` adds `at` to the result: for c = 3, the composition of
    displacements. Arithmetic is float32, the result of the image's type and layout; what is not finite samples as 0.
    """
    if add:
        image, at = image.float(), at.float()
    planar = _planar(image)
    if add and not planar:
        return warp(image.contiguous(), at, absolute=absolute, border=border, add=True)
    out: Tensor = _Warp.apply(
        _laid(image, planar), at.float().contiguous(), planar, absolute, border, add
    )
    return out


def _planar(x: Tensor) -> bool:
    """Whether x (b, c, i, j, k) is best read channel by channel."""
    if x.is_contiguous():
        return True
    return not x.is_contiguous(memory_format=torch.channels_last_3d) and x.shape[1] < 8


def _laid(x: Tensor, planar: bool) -> Tensor:
    return x.contiguous() if planar else native.channels_last(x)


class _Warp(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, image: Tensor, at: Tensor, planar: bool, absolute: bool, border: bool, add: bool
    ) -> Tensor:
        ctx.save_for_backward(image, at)
        ctx.how = planar, absolute, border, add
        out = empty((*image.shape[:2], *at.shape[2:]), image.dtype, planar=planar)
        native.call("warp", *_described(image, at, *ctx.how), out, torch.get_num_threads())
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        image, at = ctx.saved_tensors
        planar = ctx.how[0]
        of_image = empty(image.shape, planar=planar) if ctx.needs_input_grad[0] else None
        of_at = empty(at.shape, planar=True) if ctx.needs_input_grad[1] else None
        g = _laid(g.to(image.dtype), planar)
        described = _described(image, at, *ctx.how)
        native.call("warp_backward", *described, g, of_at, of_image, torch.get_num_threads())
        return None if of_image is None else of_image.to(image.dtype), of_at, None, None, None, None


def _described(
    image: Tensor, at: Tensor, planar: bool, absolute: bool, border: bool, add: bool
) -> tuple[Tensor | int, ...]:
    """What both kernels are told first."""
    about = image, int(image.dtype == torch.bfloat16), int(planar), *image.shape
    return *about, at, int(absolute), int(border), *at.shape[2:], int(add)


def up(displacement_vox: Tensor) -> Tensor:
    """To twice the resolution, in its voxels: (b, 3, i, j, k) -> (b, 3, 2i, 2j, 2k), float32.

    `F.interpolate(2 * displacement_vox, scale_factor=2, mode="trilinear", align_corners=True)`, for a tensor that is
    `native.usable`; one axis after the other.
    """
    out: Tensor = _Up.apply(displacement_vox.float().contiguous())
    return out


class _Up(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        b, c, *size = ctx.shape = x.shape
        out = empty((b, c, *(2 * n for n in size)), planar=True)
        native.call("up", x, out, b * c, *size, torch.get_num_threads())
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        b, c, *size = ctx.shape
        out = empty(ctx.shape, planar=True)
        native.call("up_backward", g.contiguous(), out, b * c, *size, torch.get_num_threads())
        return out
