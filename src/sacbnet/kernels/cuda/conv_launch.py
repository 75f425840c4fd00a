"""Launches of the programs of the convolution: tiles, grids and partial sums.

They serve tap weights by cluster, and tap weights by voxel.
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from .conv_kernels import conv_kernel, weights_kernel
from .layout import WARPS, empty_like, flattened, on_device, strides, voxel_block

# A tile of 64 × 64 channels in float32 takes 16 KiB of shared memory and, as a sum, 32 registers of
# each thread. The levels of the network have 16 to 64 channels, which fit in one tile. More input
# channels take more steps, and more output channels take more programs.
CHANNELS = 64
# Voxels × output channels of a program: 32 registers of each thread. Twice as many would leave no
# registers for loading the next tap.
SUMS = 128 * 32
# Number of clusters whose sums are kept in registers. Up to 64 clusters take one pass; the 7
# clusters of the paper are padded to 8.
CLUSTERS = 64
# Largest number of partial sums. Times 27 taps, this gives about 13 programs to each of the 132
# multiprocessors of an H100.
SPLITS = 64


def float32_product() -> str:
    """The precision of float32 products, as in the convolutions of the plain form.

    Returns
    -------
    {"tf32", "ieee"}
        The name that Triton uses.
    """
    try:
        return "tf32" if torch.backends.cudnn.allow_tf32 else "ieee"
    except RuntimeError:
        # torch rejects the old switch after the new one has been set for convolutions alone
        return "tf32" if torch.backends.cudnn.conv.fp32_precision == "tf32" else "ieee"  # type: ignore[attr-defined]


def tile_of(channels: int, most: int = CHANNELS) -> int:
    """Channels of a tile: a power of two, and at least 16, as the matrix units require.

    Parameters
    ----------
    channels : int
        Number of channels.
    most : int, default 64
        Largest tile.

    Returns
    -------
    int
        Number of channels of the tile.
    """
    return min(max(16, triton.next_power_of_2(channels)), most)


def convolve(
    x: Tensor,
    labels: Tensor | None,
    taps: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    precision: str,
    like: Tensor | None = None,
) -> Tensor:
    """Convolve a volume with weighted taps, or compute the gradient of its input.

    Parameters
    ----------
    x : Tensor, shape (b, c, i, j, k)
        The volume.
    labels : Tensor of int64, shape (b, i, j, k), or None
        The cluster of each voxel; None where each voxel has its own tap weights.
    taps : Tensor, shape (b, n, 27) or (b, 27, i, j, k)
        Tap weights by cluster, or without labels by voxel.
    kernel : Tensor, shape (c_out, c, 27)
        The convolution.
    bias : Tensor, shape (b, n, c_out), or None
        The bias of each cluster.
    precision : {"tf32", "ieee"}
        Precision of float32 products.
    like : Tensor, optional
        Given for the gradient, which gets the layout of this volume. The taps are then mirrored,
        and the tap weight is that of the voxel where x is taken, because the window belonged to
        that voxel.

    Returns
    -------
    Tensor, shape (b, c_out, i, j, k)
        The result.
    """
    x = flattened(x)
    b, c, *size = x.shape
    c_out = kernel.shape[0]
    y = empty_like(x if like is None else like, c_out)
    # (27, c, c_out): the weights of one tap lie together
    weights = kernel.permute(2, 1, 0).to(x.dtype).contiguous()
    voxels = size[0] * size[1] * size[2]
    tile_in, tile_out = tile_of(c), tile_of(c_out)
    block = min(voxel_block(b * voxels), SUMS // max(tile_in, tile_out))
    tiles_in, tiles_out = triton.cdiv(c, tile_in), triton.cdiv(c_out, tile_out)
    with on_device(x):
        conv_kernel[(triton.cdiv(voxels, block), b * tiles_out)](
            x,
            x if labels is None else labels.contiguous(),
            taps.contiguous(),
            weights,
            x if bias is None else bias.contiguous(),
            y,
            *size,
            voxels if labels is None else taps.shape[1],
            c,
            c_out,
            *strides(x),
            *strides(y),
            MIRROR=like is not None,
            PER_VOXEL=labels is None,
            BIAS=bias is not None,
            BLOCK=block,
            TILE_IN=tile_in,
            TILE_OUT=tile_out,
            TILES_IN=tiles_in,
            PRECISION=precision,
            num_warps=WARPS,
        )
    return y


def shares_of(voxels: int, block: int) -> int:
    """Number of programs that divide the voxels of one sample.

    Each takes at least about 8 blocks, so that there are few partial sums.

    Parameters
    ----------
    voxels : int
        Voxels of a sample.
    block : int
        Voxels of a block.

    Returns
    -------
    int
        Number of programs, at most 64.
    """
    return min(SPLITS, triton.cdiv(triton.cdiv(voxels, block), 8))


def weight_gradients(
    z: Tensor, g: Tensor, labels: Tensor | None, taps: Tensor, kernel: Tensor, precision: str
) -> tuple[Tensor, Tensor]:
    """Gradients of the tap weights and of the kernel.

    Parameters
    ----------
    z : Tensor, shape (b, c, i, j, k)
        The input of the convolution.
    g : Tensor, shape (b, c_out, i, j, k)
        The gradient of its output.
    labels : Tensor of int64, shape (b, i, j, k), or None
        The cluster of each voxel; None where each voxel has its own tap weights.
    taps : Tensor, shape (b, n, 27) or (b, 27, i, j, k)
        Tap weights by cluster, or without labels by voxel.
    kernel : Tensor, shape (c_out, c, 27)
        The convolution.
    precision : {"tf32", "ieee"}
        Precision of float32 products.

    Returns
    -------
    d_taps : Tensor, shape of taps
        Gradient of the tap weights.
    d_kernel : Tensor, shape (c_out, c, 27)
        Gradient of the kernel.
    """
    z, g = flattened(z), flattened(g)
    b, c, *size = z.shape
    c_out = kernel.shape[0]
    voxels = size[0] * size[1] * size[2]
    # Two products, their sums and their tiles share the registers. Without TF32, tiles of 64
    # channels would spill thousands of registers.
    most = 32 if precision == "ieee" and z.dtype == torch.float32 else CHANNELS
    block, tile_in, tile_out = (
        min(64, voxel_block(b * voxels)),
        tile_of(c, most),
        tile_of(c_out, most),
    )
    n = 1 if labels is None else taps.shape[1]  # without labels there is no sum by cluster
    tile_n = min(triton.next_power_of_2(n), CLUSTERS)
    splits = shares_of(voxels, block)
    tiles_in, tiles_out, tiles_n = (
        triton.cdiv(c, tile_in),
        triton.cdiv(c_out, tile_out),
        triton.cdiv(n, tile_n),
    )
    dkernel = torch.empty(b * splits, 27, c, c_out, device=z.device)
    tiles = tiles_in * tiles_out
    partial = (b, tiles, *taps.shape[1:]) if labels is None else (b, splits * tiles, n, 27)
    dtaps = torch.empty(partial, device=z.device)
    with on_device(z):
        weights_kernel[(27, splits, b * tiles * tiles_n)](
            z,
            z if labels is None else labels.contiguous(),
            taps.contiguous(),
            kernel.permute(2, 1, 0).to(z.dtype).contiguous(),
            g,
            dkernel,
            dtaps,
            *size,
            voxels if labels is None else n,
            c,
            c_out,
            *strides(z),
            *strides(g),
            PER_VOXEL=labels is None,
            BLOCK=block,
            TILE_IN=tile_in,
            TILE_OUT=tile_out,
            TILE_N=tile_n,
            PRECISION=precision,
            num_warps=WARPS,
        )
    return dtaps.sum(1).to(taps.dtype), dkernel.sum(0).permute(2, 1, 0).to(kernel.dtype)
