"""How the convolution's programs are launched: tiles, grids and partial sums, for labels and for weights by voxel."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from .conv_kernels import conv_kernel, weights_kernel
from .layout import WARPS, empty_like, flattened, on_device, strides, voxel_block

# A tile of 64 × 64 channels in float32 is 16 KiB of shared memory and, as a sum, 32 registers a thread. The network's
# levels have 16 to 64 channels: one tile holds them all, wider ones take more steps (input) or programs (output).
CHANNELS = 64
# Voxels × output channels of a program: 32 registers a thread. Twice as many leave none to load the next tap into.
SUMS = 128 * 32
# (voxel, cluster) sums kept in registers: up to 64 clusters cost one pass, the paper's 7 pad to 8.
CLUSTERS = 64
SPLITS = 64  # partial sums at most: times 27 taps, some 13 programs for each of the H100's 132 multiprocessors


def float32_product() -> str:
    """How to multiply float32: as the plain form's convolutions would."""
    try:
        return "tf32" if torch.backends.cudnn.allow_tf32 else "ieee"
    except (
        RuntimeError
    ):  # torch refuses the old switch once its successor has told convolutions from the rest
        return "tf32" if torch.backends.cudnn.conv.fp32_precision == "tf32" else "ieee"  # type: ignore[attr-defined]


def tile_of(channels: int, most: int = CHANNELS) -> int:
    """Channels of a tile: a power of two, and at least the 16 that the matrix units take."""
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
    """x (b, c, i, j, k), kernel (c_out, c, 27) -> (b, c_out, i, j, k); `like`: mirrored, in that one's memory format.

    taps: (b, n, 27) by cluster, of labels (b, i, j, k); without labels (b, 27, i, j, k), each voxel's own. Mirrored,
    the tap weight is that of the voxel where x is taken, to which the window belonged.
    """
    x = flattened(x)
    b, c, *size = x.shape
    c_out = kernel.shape[0]
    y = empty_like(x if like is None else like, c_out)
    weights = (
        kernel.permute(2, 1, 0).to(x.dtype).contiguous()
    )  # (27, c, c_out): one tap's weights lie together
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
    """Programs to share the voxels of one sample: each at least some 8 blocks, so that partial sums stay few."""
    return min(SPLITS, triton.cdiv(triton.cdiv(voxels, block), 8))


def weight_gradients(
    z: Tensor, g: Tensor, labels: Tensor | None, taps: Tensor, kernel: Tensor, precision: str
) -> tuple[Tensor, Tensor]:
    """z (b, c, i, j, k), g (b, c_out, i, j, k) -> gradients by taps, as they came, and by kernel (c_out, c, 27)."""
    z, g = flattened(z), flattened(g)
    b, c, *size = z.shape
    c_out = kernel.shape[0]
    voxels = size[0] * size[1] * size[2]
    # two products, their sums and both their tiles share the registers; without the matrix units' float32 (TF32), tiles
    # of 64 channels would spill them by the thousand
    most = 32 if precision == "ieee" and z.dtype == torch.float32 else CHANNELS
    block, tile_in, tile_out = (
        min(64, voxel_block(b * voxels)),
        tile_of(c, most),
        tile_of(c_out, most),
    )
    n = 1 if labels is None else taps.shape[1]  # without labels nothing is summed by cluster
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
