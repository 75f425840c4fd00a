"""Local matching without parameters: where, within a few voxels, does each fixed voxel find its like?

Source: Cheng et al., SACB-Net, CVPR 2025, section 3.3, with a window of 3; one of 5 sees a voxel farther.
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
    """Expected offset of each fixed voxel's match: moving, fixed (b, c, i, j, k) -> (b, 3, i, j, k), voxels.

    window: 3 or 5 candidates along each axis, so offsets in [-1, 1] or [-2, 2]. By the fastest form for the device at
    hand; `match_plain` defines the result. Sums and result are at least float32. What is kept for the backward pass is
    a few feature maps, whatever the window.
    """
    _check(window)
    if (
        native.usable(moving, fixed) and moving.shape == fixed.shape
    ):  # unlike shapes: the plain form's error
        return compiled.match(moving, fixed, window)
    if triton_serves(moving, fixed):
        from sacbnet.kernels.cuda.matching import (
            match as match_on_gpu,
        )  # not to be imported without Triton

        return match_on_gpu(moving, fixed, window)
    return match_plain(moving, fixed, window)


def match_plain(moving: Tensor, fixed: Tensor, window: int = 3) -> Tensor:
    """The definition of `match`.

    Softmax over the raw dot products of a fixed feature vector with the window³ moving ones around it; zeros beyond the
    edge compete like others. At least float32 throughout: unscaled scores overflow half precision. The products are
    summed one at a time, so no more than one feature map is held besides the 27 scores; of a larger window the scores
    are not held either, but computed again in the backward pass.
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


@torch.no_grad()
def match_spread(moving: Tensor, fixed: Tensor, window: int = 3) -> Tensor:
    """How far apart the candidates of `match` lie: moving, fixed (b, c, i, j, k) -> (b, 1, i, j, k), voxels².

    E‖o‖² - ‖E o‖², the trace of the offset's covariance under that softmax: 0 where one candidate has it all, and
    (window² - 1) / 4 (2 for 3, 6 for 5) where all are alike. No gradient; memory of a few maps of one channel.
    """
    _check(window)
    with torch.autocast(fixed.device.type, enabled=False):
        moving, fixed = _at_least_single(moving, fixed)
        top, total, mean = _softmax(moving, fixed, window)
        spread = torch.zeros_like(top)
        for offset, score in _scores(_pad(moving, window), fixed, window):
            apart = sum((mean[:, a, None] - o).square_() for a, o in enumerate(offset))
            spread += (score[:, None] - top).exp_() * apart
        return spread / total


class _OneByOne(torch.autograd.Function):
    """(moving, fixed, window) -> expected offset, one candidate after the other, in both directions."""

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
            d = (score[:, None] - top).exp_() * (ahead - along)  # the gradient by the score
            d_fixed += d * _shifted(padded, offset, r)
            _shifted(d_padded, offset, r).add_(d * fixed)
        return d_padded[:, :, r:-r, r:-r, r:-r], d_fixed, None


def _softmax(moving: Tensor, fixed: Tensor, window: int) -> tuple[Tensor, Tensor, Tensor]:
    """The greatest score (b, 1, ...), Σ e^(score - greatest) (b, 1, ...) and the expected offset (b, 3, ...).

    One candidate after the other; what is summed is scaled to the greatest score so far.
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
    """Each offset and the dot products (b, i, j, k) of the fixed vectors with those that lie so far from them."""
    r = window // 2
    for x, y, z in product(range(-r, r + 1), repeat=3):
        yield (x, y, z), (_shifted(padded, (x, y, z), r) * fixed).sum(1)


def _shifted(padded: Tensor, offset: tuple[int, int, int], r: int) -> Tensor:
    """A view of what lies at the offset from each voxel, of a volume with a rim of r voxels."""
    spans = (slice(r + o, n - r + o) for o, n in zip(offset, padded.shape[2:], strict=True))
    return padded[:, :, *spans]


def _pad(x: Tensor, window: int) -> Tensor:
    return F.pad(x, (window // 2,) * 6)


def _at_least_single(moving: Tensor, fixed: Tensor) -> tuple[Tensor, Tensor]:
    dtype = torch.promote_types(torch.promote_types(moving.dtype, fixed.dtype), torch.float32)
    return moving.to(dtype), fixed.to(dtype)


def _check(window: int) -> None:
    if window not in (3, 5):
        raise InputError(f"a window of {window} voxels; local matching knows 3 and 5")
