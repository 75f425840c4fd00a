"""What all Triton kernels use: the layout of a volume in memory, and the neighbours of a voxel.

Volumes are (b, c, i, j, k). The 27 taps of a 3×3×3 window are in row-major order. The voxels of one
sample are numbered in row-major order, so a single stride reaches all of them, in the contiguous
layout and in channels_last_3d.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
# One Hopper warpgroup: the unit of its matrix instructions. With 128 voxels, each has one thread.
WARPS = 4


def voxel_block(voxels: int) -> int:
    """Number of voxels that one program handles.

    With 128 voxels, the 64-row matrix instruction of a warpgroup runs twice on one load of the
    weights. A coarse level has too few voxels to give such a block to each of the 132
    multiprocessors of an H100. There, smaller blocks occupy more multiprocessors.

    Parameters
    ----------
    voxels : int
        Number of voxels of the whole batch.

    Returns
    -------
    int
        128 or 32.
    """
    return 128 if voxels >= 128 * 256 else 32


def flattened(x: Tensor) -> Tensor:
    """A volume whose voxels are reached by a single stride, in row-major order.

    Parameters
    ----------
    x : Tensor, shape (b, c, i, j, k)
        The volume.

    Returns
    -------
    Tensor, shape (b, c, i, j, k)
        x itself if its layout allows this, otherwise a contiguous copy.
    """
    j, k = x.shape[3:]
    s_i, s_j, s_k = x.stride()[2:]
    return x if s_j == k * s_k and s_i == j * s_j else x.contiguous()


def strides(x: Tensor) -> tuple[int, int, int]:
    """Strides of a flattened volume.

    Parameters
    ----------
    x : Tensor, shape (b, c, i, j, k)
        A result of `flattened`.

    Returns
    -------
    tuple of 3 int
        Number of elements from sample to sample, from channel to channel, and from voxel to voxel.
    """
    return x.stride(0), x.stride(1), x.stride(4)


def empty_like(x: Tensor, channels: int) -> Tensor:
    """Memory for a volume, not initialised, with the type and layout of another volume.

    Parameters
    ----------
    x : Tensor, shape (b, c, i, j, k)
        The other volume.
    channels : int
        Number of channels of the result.

    Returns
    -------
    Tensor, shape (b, channels, i, j, k)
        The memory.
    """
    last = x.is_contiguous(memory_format=torch.channels_last_3d) and not x.is_contiguous()
    memory_format = torch.channels_last_3d if last else torch.contiguous_format
    shape = (x.shape[0], channels, *x.shape[2:])
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=memory_format)


def check(*volumes: Tensor) -> None:
    """Raise an error for volumes that the kernels cannot take.

    Parameters
    ----------
    *volumes : Tensor, each of shape (b, c, i, j, k)
        The volumes.

    Raises
    ------
    TypeError
        If a type is not float32, float16 or bfloat16.
    ValueError
        If a sample has too many voxels for numbers of 32 bits.
    """
    for x in volumes:
        if x.dtype not in DTYPES:
            raise TypeError(
                f"a volume for the GPU kernels is {x.dtype}; "
                "float32, float16 or bfloat16 was expected"
            )
        if x[0, 0].numel() >= 2**31 - 2**20:  # numbers of voxels have 32 bits, elements have 64
            raise ValueError(
                f"a sample for the GPU kernels has {tuple(x.shape[2:])} voxels; "
                "fewer than 2^31 - 2^20 were expected"
            )


def on_device(x: Tensor) -> AbstractContextManager[Any]:
    """A context in which the GPU of a tensor is the current GPU, as Triton's launches require.

    Parameters
    ----------
    x : Tensor
        The tensor.

    Returns
    -------
    context manager
        It does nothing for a tensor on the CPU.
    """
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()


# The arguments of a Triton kernel have no annotations except tl.constexpr, because the compiler of
# Triton would evaluate them.


@triton.jit
def faces(v, size_i, size_j, size_k, WINDOW: tl.constexpr = 3):  # type: ignore[no-untyped-def]
    """Bits of the faces of the volume that the voxels v (block,) touch.

    There is one bit for each face, low and high, axis by axis. Bit 6 marks voxels outside the
    volume. For a window of 5 there are six more bits, for the faces within two voxels.
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
    """Offset of tap t, in row-major order; the middle of the window has the offset (0, 0, 0)."""
    return (
        t // (WINDOW * WINDOW) - WINDOW // 2,
        t // WINDOW % WINDOW - WINDOW // 2,
        t % WINDOW - WINDOW // 2,
    )


@triton.jit
def step(t, size_j, size_k, SIGN: tl.constexpr, WINDOW: tl.constexpr = 3):  # type: ignore[no-untyped-def]
    """The step to the neighbour at SIGN times the offset of tap t.

    Returns the change of the voxel number, and the bits of the faces from which the step leaves the
    volume.
    """
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
    """Values at voxels v (block,) of one sample: (block, channels of this block); zeros outside.

    Offsets have 64 bits.
    """
    offset = v.to(tl.int64)[:, None] * stride_v + channel.to(tl.int64)[None, :] * stride_c
    return tl.load(
        pointer + offset, mask=inside[:, None] & (channel < channels)[None, :], other=0.0
    )
