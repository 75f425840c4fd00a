"""Local matching without parameters: for each fixed voxel, the expected offset of its match.

The published network has a window of 3 voxels. A window of 5 reaches one voxel farther.

References
----------
Cheng et al., SACB-Net, CVPR 2025, section 3.3.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from sacbnet.errors import InputError
from sacbnet.kernels.cpu import matching as compiled
from sacbnet.kernels.cpu import native
from sacbnet.kernels.dispatch import triton_serves


def match(moving: Tensor, fixed: Tensor, window: int = 3) -> Tensor:
    """Expected offset of the match of each fixed voxel.

    The fastest form for the device runs; `match_plain` defines the result. The backward pass keeps
    a few feature maps, for any window.

    Parameters
    ----------
    moving : Tensor, shape (b, c, i, j, k)
        Features of the moving image.
    fixed : Tensor, shape (b, c, i, j, k)
        Features of the fixed image.
    window : {3, 5}, default 3
        Number of candidates along each axis: offsets in [-1, 1] or in [-2, 2].

    Returns
    -------
    Tensor, shape (b, 3, i, j, k)
        The offsets in voxels, at least float32.

    Raises
    ------
    InputError
        If the window is neither 3 nor 5.
    """
    _check(window)
    # different shapes go to the plain form, which raises the error
    if native.usable(moving, fixed) and moving.shape == fixed.shape:
        return compiled.match(moving, fixed, window)
    if triton_serves(moving, fixed):
        # needs Triton, which only machines with CUDA have
        from sacbnet.kernels.cuda.matching import match as match_on_gpu

        return match_on_gpu(moving, fixed, window)
    return match_plain(moving, fixed, window)


def match_plain(moving: Tensor, fixed: Tensor, window: int = 3) -> Tensor:
    """The definition of `match`.

    The expectation is over a softmax of raw dot products: of a fixed feature vector with the
    window³ moving vectors around it. Zeros beyond the edge are candidates like others. The
    arithmetic is at least float32, because unscaled scores overflow half precision.

    The products are summed one at a time. So memory holds at most one feature map and the 27
    scores. With a larger window, the scores are not kept either, but computed again in the backward
    pass.

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
    Tensor, shape (b, 3, i, j, k)
        The offsets in voxels, at least float32.

    Raises
    ------
    InputError
        If the window is neither 3 nor 5.
    """
    _check(window)
    with torch.autocast(fixed.device.type, enabled=False):
        moving, fixed = _at_least_single(moving, fixed)
        if window > 3:
            out: Tensor = _OneByOne.apply(moving, fixed, window)
            return out
        scores, offsets = zip(*((s, o) for o, s in _scores(_pad(moving, 3), fixed, 3)), strict=True)
        table = torch.tensor(offsets, device=fixed.device, dtype=fixed.dtype)  # (27, 3)
        return torch.einsum("btijk,ta->baijk", torch.stack(scores, 1).softmax(1), table)


class _OneByOne(torch.autograd.Function):
    """(moving, fixed, window) -> expected offset; one candidate after the other, in both passes."""

    @staticmethod
    def forward(ctx: Any, moving: Tensor, fixed: Tensor, window: int) -> Tensor:
        top, total, mean = _softmax(moving, fixed, window)
        ctx.window = window
        ctx.save_for_backward(moving, fixed, top, total, mean)
        return mean

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        moving, fixed, top, total, mean = ctx.saved_tensors
        r = ctx.window // 2
        padded = _pad(moving, ctx.window)
        d_padded, d_fixed = torch.zeros_like(padded), torch.zeros_like(fixed)
        g = g / total
        along = (g * mean).sum(1, keepdim=True)
        for offset, score in _scores(padded, fixed, ctx.window):
            ahead = sum(g[:, a, None] * o for a, o in enumerate(offset))
            # gradient with respect to the score
            d = (score[:, None] - top).exp_() * (ahead - along)
            d_fixed += d * _shifted(padded, offset, r)
            _shifted(d_padded, offset, r).add_(d * fixed)
        return d_padded[:, :, r:-r, r:-r, r:-r], d_fixed, None


def _softmax(moving: Tensor, fixed: Tensor, window: int) -> tuple[Tensor, Tensor, Tensor]:
    """Greatest score (b, 1, ...), Σ e^(score - greatest) (b, 1, ...), and mean offset (b, 3, ...).

    One candidate after the other; the sums are scaled to the greatest score so far.
    """
    b, _, *size = fixed.shape
    top = fixed.new_full((b, 1, *size), -torch.inf)
    total, mean = torch.zeros_like(top), fixed.new_zeros(b, 3, *size)
    for offset, score in _scores(_pad(moving, window), fixed, window):
        higher = torch.maximum(top, score[:, None])
        scale, p = (top - higher).exp_(), (score[:, None] - higher).exp_()
        top = higher
        total.mul_(scale).add_(p)
        mean.mul_(scale)
        for a, o in enumerate(offset):
            mean[:, a, None].add_(p, alpha=o)
    return top, total, mean.div_(total)


def _scores(
    padded: Tensor, fixed: Tensor, window: int
) -> Iterator[tuple[tuple[int, int, int], Tensor]]:
    """Each offset, and the dot products (b, i, j, k) of fixed vectors with moving ones there."""
    r = window // 2
    for x, y, z in product(range(-r, r + 1), repeat=3):
        yield (x, y, z), (_shifted(padded, (x, y, z), r) * fixed).sum(1)


def _shifted(padded: Tensor, offset: tuple[int, int, int], r: int) -> Tensor:
    """A view of the voxels at this offset from each voxel, in a volume with a rim of r voxels."""
    spans = (slice(r + o, n - r + o) for o, n in zip(offset, padded.shape[2:], strict=True))
    return padded[:, :, *spans]


def _pad(x: Tensor, window: int) -> Tensor:
    return F.pad(x, (window // 2,) * 6)


def _at_least_single(moving: Tensor, fixed: Tensor) -> tuple[Tensor, Tensor]:
    dtype = torch.promote_types(torch.promote_types(moving.dtype, fixed.dtype), torch.float32)
    return moving.to(dtype), fixed.to(dtype)


def _check(window: int) -> None:
    if window not in (3, 5):
        raise InputError(f"local matching got a window of {window} voxels; 3 or 5 was expected")
