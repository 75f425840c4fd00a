"""What the Triton kernels share: how a volume lies in memory, and where a voxel's neighbours are.

Shapes are written as everywhere: volumes (b, c, i, j, k), 27 taps row-major over the 3×3×3 window. The voxels of one
sample are numbered row-major, so one stride reaches them all, in the contiguous layout as in channels_last_3d.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
WARPS = 4  # one Hopper warpgroup: the unit of its matrix instructions, and at 128 voxels one thread for each of them


def voxel_block(voxels: int) -> int:
    """Voxels per program, for so many voxels in the whole batch.

    128 let a warpgroup's 64-row matrix instruction run twice on one load of the weights. A coarse level has too few
    voxels to give each of the H100's 132 multiprocessors such a block: there, shorter blocks fill more of them.
    """
    return 128 if voxels >= 128 * 256 else 32


def flattened(x: Tensor) -> Tensor:
    """x (b, c, i, j, k) itself if one stride steps from voxel to voxel, row-major, else a contiguous copy."""
    j, k = x.shape[3:]
    s_i, s_j, s_k = x.stride()[2:]
    return x if s_j == k * s_k and s_i == j * s_j else x.contiguous()


def strides(x: Tensor) -> tuple[int, int, int]:
    """Elements from sample to sample, channel to channel and voxel to voxel of a flattened volume (b, c, i, j, k)."""
    return x.stride(0), x.stride(1), x.stride(4)


def empty_like(x: Tensor, channels: int) -> Tensor:
    """Uninitialised (b, channels, i, j, k) of x's type, in the memory format of x (b, c, i, j, k)."""
    last = x.is_contiguous(memory_format=torch.channels_last_3d) and not x.is_contiguous()
    memory_format = torch.channels_last_3d if last else torch.contiguous_format
    shape = (x.shape[0], channels, *x.shape[2:])
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=memory_format)


def check(*volumes: Tensor) -> None:
    """Refuse what the kernels cannot do, rather than compute something else."""
    for x in volumes:
        if x.dtype not in DTYPES:
            raise TypeError(
                f"the GPU kernels compute in float32, float16 or bfloat16, not {x.dtype}"
            )
        if x[0, 0].numel() >= 2**31 - 2**20:  # voxels, not elements, are counted in 32 bits
            raise ValueError(
                f"the GPU kernels take fewer than 2^31 voxels a sample, not {tuple(x.shape[2:])}"
            )


def on_device(x: Tensor) -> AbstractContextManager[Any]:
    """Triton launches on the current GPU, which need not be that of the tensors."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()


# The arguments of a Triton kernel have no annotations but tl.constexpr: its compiler would try to evaluate them.


@triton.jit
def faces(v, size_i, size_j, size_k, WINDOW: tl.constexpr = 3):  # type: ignore[no-untyped-def]
    """The faces of the volume that voxels v (block,) touch, one bit each, low and high by axis; bit 6: not inside.

    For a window of 5, six bits more: the faces that are within two voxels.
    """
    i, j, k = v // (size_j * size_k), v // size_k % size_j, v % size_k
    low = (i == 0) * 1 + (j == 0) * 4 + (k == 0) * 16
    high = (i == size_i - 1) * 2 + (j == size_j - 1) * 8 + (k == size_k - 1) * 32
    bits = low + high + (v >= size_i * size_j * size_k) * 64
    if WINDOW == 5:
        bits += (i < 2) * 128 + (j < 2) * 512 + (k < 2) * 2048
        bits += (i >= size_i - 2) * 256 + (j >= size_j - 2) * 1024 + (k >= size_k - 2) * 4096
    return bits


@triton.jit
def tap_offset(t, WINDOW: tl.constexpr):  # type: ignore[no-untyped-def]
    """Of tap t: row-major over the window, its middle is (0, 0, 0)."""
    return (
        t // (WINDOW * WINDOW) - WINDOW // 2,
        t // WINDOW % WINDOW - WINDOW // 2,
        t % WINDOW - WINDOW // 2,
    )


@triton.jit
def step(t, size_j, size_k, SIGN: tl.constexpr, WINDOW: tl.constexpr = 3):  # type: ignore[no-untyped-def]
    """SIGN × the offset of tap t: by how much the voxel number changes, and the faces it must not start from."""
    i, j, k = tap_offset(t, WINDOW)
    i, j, k = SIGN * i, SIGN * j, SIGN * k
    low = (i < 0) * 1 + (j < 0) * 4 + (k < 0) * 16
    high = (i > 0) * 2 + (j > 0) * 8 + (k > 0) * 32
    bits = low + high + 64
    if WINDOW == 5:
        bits += (i < -1) * 128 + (j < -1) * 512 + (k < -1) * 2048
        bits += (i > 1) * 256 + (j > 1) * 1024 + (k > 1) * 4096
    return (i * size_j + j) * size_k + k, bits


@triton.jit
def rows(pointer, v, inside, channel, channels, stride_c, stride_v):  # type: ignore[no-untyped-def]
    """Voxels v (block,) of one sample -> (block, channels of this block); zeros outside. Offsets in 64 bits."""
    offset = v.to(tl.int64)[:, None] * stride_v + channel.to(tl.int64)[None, :] * stride_c
    return tl.load(
        pointer + offset, mask=inside[:, None] & (channel < channels)[None, :], other=0.0
    )
