"""Trilinear warping in C++, without a sampling grid in memory, for both layouts of the image.

`sacbnet.spatial.warp` defines the results and chooses these forms.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import native
from .memory import empty


def takes(image: Tensor, at: Tensor) -> bool:
    """Whether `warp` can take these tensors.

    Parameters
    ----------
    image : Tensor, shape (b, c, i, j, k)
        The sampled image.
    at : Tensor, shape (b, 3, i', j', k')
        Displacements or coordinates.

    Returns
    -------
    bool
        True if both are `native.usable` and their shapes fit. Each axis of the image must have at
        least two voxels.
    """
    return (
        native.usable(image, at)
        and image.ndim == at.ndim == 5
        and at.shape[:2] == (image.shape[0], 3)
        and min(image.shape[2:]) >= 2  # a single voxel has no neighbour
        and image.shape[2:].numel() < 2**31
        and image.numel() > 0
        and at.numel() > 0
    )


def warp(
    image: Tensor, at: Tensor, *, absolute: bool = False, border: bool = False, add: bool = False
) -> Tensor:
    """Values of an image at p + at(p), or at at(p).

    The tensors must satisfy `takes`. The arithmetic is float32. A place that is not finite samples
    as 0.

    Parameters
    ----------
    image : Tensor, shape (b, c, i, j, k)
        The sampled image.
    at : Tensor, shape (b, 3, i', j', k')
        Displacements or coordinates in voxels of the image, axes in the order (i, j, k).
    absolute : bool, default False
        Whether `at` holds coordinates. Otherwise it holds displacements.
    border : bool, default False
        Whether the image repeats its edge outside. Otherwise it fades to 0 within one voxel.
    add : bool, default False
        Whether `at` is added to the result. For an image of three channels this is the composition
        of displacements.

    Returns
    -------
    Tensor, shape (b, c, i', j', k')
        The values, in the type and layout of the image.
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
    """The first arguments of both kernels."""
    about = image, int(image.dtype == torch.bfloat16), int(planar), *image.shape
    return *about, at, int(absolute), int(border), *at.shape[2:], int(add)


def up(displacement_vox: Tensor) -> Tensor:
    """Displacement on a lattice twice as fine, as `sacbnet.spatial.warp.up` defines it.

    One axis is interpolated after the other. The tensor must be `native.usable`.

    Parameters
    ----------
    displacement_vox : Tensor, shape (b, 3, i, j, k)
        Displacement in voxels of the coarse lattice.

    Returns
    -------
    Tensor of float32, shape (b, 3, 2i, 2j, 2k)
        Displacement in voxels of the fine lattice.
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
