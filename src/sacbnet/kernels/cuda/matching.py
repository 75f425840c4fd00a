"""Local matching in Triton: scores, softmax and expectation in one pass over the candidates.

`sacbnet.ops.matching` defines the result. There are 27 or 125 candidates.

A program holds a block of feature vectors in registers. It reads the shifted blocks one after the
other. It keeps only the running sums of the softmax, not the scores. The backward pass computes the
scores again from the stored log-sum-exp. Both gradients gather values, without atomic additions, so
every run gives the same bits.

References
----------
Cheng et al., SACB-Net, CVPR 2025, section 3.3.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from .layout import (
    WARPS,
    check,
    empty_like,
    faces,
    flattened,
    on_device,
    rows,
    step,
    strides,
    tap_offset,
    voxel_block,
)

# Values of a block of vectors. 128 voxels × 32 channels take 32 registers of each of 128 threads.
# The candidates and a gradient take as many each. With twice that, the backward pass would exceed
# the 255 registers of a thread. Longer vectors come in smaller blocks.
VALUES = 128 * 32


def match(moving: Tensor, fixed: Tensor, window: int = 3) -> Tensor:
    """Expected offset of the match of each fixed voxel.

    The expectation is over a softmax of raw dot products: of a fixed feature vector with the
    window³ moving vectors around it. Zeros beyond the edge are candidates like others. Products,
    sums and result are float32 for every input.

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

    Raises
    ------
    TypeError, ValueError
        If the kernels cannot take the volumes; see `sacbnet.kernels.cuda.layout.check`.
    """
    check(moving, fixed)
    out: Tensor = _Match.apply(moving, fixed, window)
    return out


class _Match(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, moving: Tensor, fixed: Tensor, window: int) -> Tensor:
        moving, fixed = flattened(moving), flattened(fixed)
        b, c, *size = fixed.shape
        out = torch.empty(b, 3, *size, device=fixed.device)
        log_sum = torch.empty(b, *size, device=fixed.device)
        block = _block(fixed)
        with on_device(fixed):
            _match_kernel[(triton.cdiv(log_sum[0].numel(), block), b)](
                moving,
                fixed,
                out,
                log_sum,
                *size,
                c,
                *strides(moving),
                *strides(fixed),
                WINDOW=window,
                BLOCK=block,
                CHANNELS=triton.next_power_of_2(c),
                num_warps=WARPS,
            )
        ctx.window = window
        ctx.save_for_backward(moving, fixed, out, log_sum)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        moving, fixed, out, log_sum = ctx.saved_tensors
        mean = (g * out).sum(1)  # (b, i, j, k): the product of gradient and expectation
        g = g.contiguous()
        sums, (of_moving, of_fixed) = (g, mean, log_sum, ctx.window), ctx.needs_input_grad[:2]
        return (
            _gradient(moving, fixed, *sums, of_moving=True) if of_moving else None,
            _gradient(fixed, moving, *sums, of_moving=False) if of_fixed else None,
            None,
        )


def _block(x: Tensor) -> int:
    """Voxels of a program, for vectors of the length of those of x (b, c, i, j, k)."""
    return max(
        16,
        min(
            voxel_block(x.shape[0] * x[0, 0].numel()), VALUES // triton.next_power_of_2(x.shape[1])
        ),
    )


def _gradient(
    own: Tensor,
    other: Tensor,
    g: Tensor,
    mean: Tensor,
    log_sum: Tensor,
    window: int,
    *,
    of_moving: bool,
) -> Tensor:
    """Gradient of `own` (b, c, i, j, k), the moving or the fixed volume; g is (b, 3, i, j, k)."""
    b, c, *size = own.shape
    gradient = empty_like(own, c)
    block = _block(own)
    with on_device(own):
        _gradient_kernel[(triton.cdiv(log_sum[0].numel(), block), b)](
            own,
            other,
            g,
            mean,
            log_sum,
            gradient,
            *size,
            c,
            *strides(own),
            *strides(other),
            *strides(gradient),
            OF_MOVING=of_moving,
            WINDOW=window,
            BLOCK=block,
            CHANNELS=triton.next_power_of_2(c),
            num_warps=WARPS,
        )
    return gradient


@triton.jit
def _match_kernel(  # type: ignore[no-untyped-def]
    moving_ptr,
    fixed_ptr,
    out_ptr,
    log_sum_ptr,
    size_i,
    size_j,
    size_k,
    c,
    m_b,
    m_c,
    m_v,
    f_b,
    f_c,
    f_v,
    WINDOW: tl.constexpr,
    BLOCK: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """One program: BLOCK fixed voxels of one sample. The grid is (voxel blocks, samples)."""
    voxels = size_i * size_j * size_k
    sample = tl.program_id(1).to(tl.int64)
    v = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    channel = tl.arange(0, CHANNELS)
    moving_ptr += sample * m_b
    fixed = rows(fixed_ptr + sample * f_b, v, v < voxels, channel, c, f_c, f_v).to(tl.float32)
    peak = tl.full((BLOCK,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    i, j, k = total, total, total
    touched = faces(v, size_i, size_j, size_k, WINDOW)
    for t in range(WINDOW * WINDOW * WINDOW):
        shift, crossed = step(t, size_j, size_k, 1, WINDOW)
        inside = (touched & crossed) == 0
        moving = rows(moving_ptr, v + shift, inside, channel, c, m_c, m_v).to(tl.float32)
        score = tl.sum(fixed * moving, 1)  # 0 beyond the edge, and a candidate
        higher = tl.maximum(peak, score)
        shrink, p = tl.exp(peak - higher), tl.exp(score - higher)
        total = total * shrink + p
        o_i, o_j, o_k = tap_offset(t, WINDOW)
        i = i * shrink + p * o_i
        j = j * shrink + p * o_j
        k = k * shrink + p * o_k
        peak = higher
    out_ptr += sample * 3 * voxels
    at, kept = v.to(tl.int64), v < voxels
    tl.store(out_ptr + at, i / total, mask=kept)
    tl.store(out_ptr + voxels + at, j / total, mask=kept)
    tl.store(out_ptr + voxels + voxels + at, k / total, mask=kept)  # 2 · voxels can exceed 32 bits
    tl.store(log_sum_ptr + sample * voxels + at, peak + tl.log(total), mask=kept)


@triton.jit
def _gradient_kernel(  # type: ignore[no-untyped-def]
    own_ptr,
    other_ptr,
    g_ptr,
    mean_ptr,
    log_sum_ptr,
    gradient_ptr,
    size_i,
    size_j,
    size_k,
    c,
    own_b,
    own_c,
    own_v,
    other_b,
    other_c,
    other_v,
    gradient_b,
    gradient_c,
    gradient_v,
    OF_MOVING: tl.constexpr,
    WINDOW: tl.constexpr,
    BLOCK: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """One program: BLOCK voxels of one sample of `own`, and all their partners in `other`.

    The derivative of the result with respect to the score of a pair is p·(g·offset −
    g·expectation). Here p, g and the expectation belong to the fixed voxel of the pair. For the
    fixed volume this is the own voxel. For the moving volume it is the other voxel, another one for
    each pair.
    """
    voxels = size_i * size_j * size_k
    sample = tl.program_id(1).to(tl.int64)
    v = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    channel = tl.arange(0, CHANNELS)
    kept = v < voxels
    other_ptr += sample * other_b
    g_ptr += sample * 3 * voxels
    mean_ptr += sample * voxels
    log_sum_ptr += sample * voxels
    own = rows(own_ptr + sample * own_b, v, kept, channel, c, own_c, own_v).to(tl.float32)
    gradient = tl.zeros((BLOCK, CHANNELS), tl.float32)
    if not OF_MOVING:
        g_i, g_j, g_k, mean, log_sum = _at(g_ptr, mean_ptr, log_sum_ptr, v, kept, voxels)
    touched = faces(v, size_i, size_j, size_k, WINDOW)
    for t in range(WINDOW * WINDOW * WINDOW):
        shift, crossed = step(t, size_j, size_k, -1 if OF_MOVING else 1, WINDOW)
        at, inside = v + shift, (touched & crossed) == 0
        if OF_MOVING:
            g_i, g_j, g_k, mean, log_sum = _at(g_ptr, mean_ptr, log_sum_ptr, at, inside, voxels)
        other = rows(other_ptr, at, inside, channel, c, other_c, other_v).to(tl.float32)
        p = tl.exp(tl.sum(own * other, 1) - log_sum)
        o_i, o_j, o_k = tap_offset(t, WINDOW)
        along = g_i * o_i + g_j * o_j + g_k * o_k
        # beyond the edge `other` is zero and adds nothing
        gradient += (p * (along - mean))[:, None] * other
    to = v.to(tl.int64)[:, None] * gradient_v + channel.to(tl.int64)[None, :] * gradient_c
    gradient = gradient.to(gradient_ptr.dtype.element_ty)
    tl.store(
        gradient_ptr + sample * gradient_b + to,
        gradient,
        mask=kept[:, None] & (channel < c)[None, :],
    )


@triton.jit
def _at(g_ptr, mean_ptr, log_sum_ptr, v, inside, voxels):  # type: ignore[no-untyped-def]
    """Gradient (3 values), its product with the expectation, and log-sum-exp at voxels v."""
    v = v.to(tl.int64)
    g_i = tl.load(g_ptr + v, mask=inside, other=0.0)
    g_j = tl.load(g_ptr + voxels + v, mask=inside, other=0.0)
    g_k = tl.load(g_ptr + voxels + voxels + v, mask=inside, other=0.0)
    mean = tl.load(mean_ptr + v, mask=inside, other=0.0)
    return g_i, g_j, g_k, mean, tl.load(log_sum_ptr + v, mask=inside, other=0.0)
