"""The adaptive convolution of the SACB in Triton: one convolution's arithmetic, whatever the number of clusters.

Source: Cheng et al., SACB-Net, CVPR 2025, section 3.2. Definition: `sacbnet.ops.adaptive_conv`.

An implicit matrix product: for each tap, a block of voxels × input channels, weighted row by row by the tap weight of
the voxel's cluster, times that tap's input × output channels, summed in float32. No window is ever written out. The
gradient by z is the same product with the taps mirrored; those of the parameters are sums over all voxels, each
program leaving a partial sum that torch adds up, so that they come out the same each time (no atomic additions).
"""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from .conv_kernels import bias_kernel, conv_kernel, weights_kernel
from .layout import WARPS, check, empty_like, flattened, on_device, strides, voxel_block

# A tile of 64 × 64 channels in float32 is 16 KiB of shared memory and, as a sum, 32 registers a thread. The network's
# levels have 16 to 64 channels: one tile holds them all, wider ones take more steps (input) or programs (output).
CHANNELS = 64
# Voxels × output channels of a program: 32 registers a thread. Twice as many leave none to load the next tap into.
SUMS = 128 * 32
# (voxel, cluster) sums kept in registers: up to 64 clusters cost one pass, the paper's 7 pad to 8.
CLUSTERS = 64
SPLITS = 64  # partial sums at most: times 27 taps, some 13 programs for each of the H100's 132 multiprocessors


def adaptive_conv(z: Tensor, labels: Tensor, tap_weights: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """y(v) = Σ_t a_n[t] · W[:, :, t] · z(v + t) + b_n at each voxel v of cluster n; zero padded.

    z (b, c, i, j, k); labels (b, i, j, k), clusters 0..n-1; tap_weights a (b, n, 27); kernel W (c_out, c, 27), taps
    row-major over the window; bias (b, n, c_out) -> (b, c_out, i, j, k) of z's type (autocast's inside autocast) and
    memory format. Sums are float32; float32 products use TF32 exactly if torch lets cuDNN's convolutions use it.
    """
    if torch.is_autocast_enabled(z.device.type):
        z = z.to(torch.get_autocast_dtype(z.device.type))
    check(z)
    out: Tensor = _AdaptiveConv.apply(z, labels, tap_weights, kernel, bias)
    return out


class _AdaptiveConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, labels: Tensor, taps: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(z, labels, taps, kernel)
        ctx.precision, ctx.bias_dtype = _precision(), bias.dtype
        return _convolve(z, labels, taps, kernel, bias, ctx.precision)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        z, labels, taps, kernel = ctx.saved_tensors
        need_z, _, need_taps, need_kernel, need_bias = ctx.needs_input_grad
        dz = dtaps = dkernel = dbias = None
        if need_z:
            dz = _convolve(g, labels, taps, kernel.transpose(0, 1), None, ctx.precision, like=z)
        if need_taps or need_kernel:
            dtaps, dkernel = _weight_gradients(z, g, labels, taps, kernel, ctx.precision)
        if need_bias:
            dbias = _bias_gradient(g, labels, taps.shape[1]).to(ctx.bias_dtype)
        return dz, None, dtaps, dkernel, dbias


def _precision() -> str:
    """How to multiply float32: as the plain form's convolutions would."""
    try:
        return "tf32" if torch.backends.cudnn.allow_tf32 else "ieee"
    except RuntimeError:  # torch refuses the old switch once its successor has told convolutions from the rest
        return "tf32" if torch.backends.cudnn.conv.fp32_precision == "tf32" else "ieee"  # type: ignore[attr-defined]


def _tile(channels: int, most: int = CHANNELS) -> int:
    """Channels of a tile: a power of two, and at least the 16 that the matrix units take."""
    return min(max(16, triton.next_power_of_2(channels)), most)


def _convolve(
    x: Tensor,
    labels: Tensor,
    taps: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    precision: str,
    like: Tensor | None = None,
) -> Tensor:
    """x (b, c, i, j, k), kernel (c_out, c, 27) -> (b, c_out, i, j, k); `like`: mirrored, in that one's memory format.

    Mirrored, the tap weight is that of the voxel where x is taken, to which the window belonged.
    """
    x = flattened(x)
    b, c, *size = x.shape
    c_out, n = kernel.shape[0], taps.shape[1]
    y = empty_like(x if like is None else like, c_out)
    weights = kernel.permute(2, 1, 0).to(x.dtype).contiguous()  # (27, c, c_out): one tap's weights lie together
    voxels = size[0] * size[1] * size[2]
    tile_in, tile_out = _tile(c), _tile(c_out)
    block = min(voxel_block(b * voxels), SUMS // max(tile_in, tile_out))
    tiles_in, tiles_out = triton.cdiv(c, tile_in), triton.cdiv(c_out, tile_out)
    with on_device(x):
        conv_kernel[(triton.cdiv(voxels, block), b * tiles_out)](
            x,
            labels.contiguous(),
            taps.contiguous(),
            weights,
            x if bias is None else bias.contiguous(),
            y,
            *size,
            n,
            c,
            c_out,
            *strides(x),
            *strides(y),
            MIRROR=like is not None,
            BIAS=bias is not None,
            BLOCK=block,
            TILE_IN=tile_in,
            TILE_OUT=tile_out,
            TILES_IN=tiles_in,
            PRECISION=precision,
            num_warps=WARPS,
        )
    return y


def _splits(voxels: int, block: int) -> int:
    """Programs to share the voxels of one sample: each at least some 8 blocks, so that partial sums stay few."""
    return min(SPLITS, triton.cdiv(triton.cdiv(voxels, block), 8))


def _weight_gradients(
    z: Tensor, g: Tensor, labels: Tensor, taps: Tensor, kernel: Tensor, precision: str
) -> tuple[Tensor, Tensor]:
    """z (b, c, i, j, k), g (b, c_out, i, j, k) -> gradients by tap_weights (b, n, 27) and kernel (c_out, c, 27)."""
    z, g = flattened(z), flattened(g)
    b, c, *size = z.shape
    c_out, n = kernel.shape[0], taps.shape[1]
    voxels = size[0] * size[1] * size[2]
    # two products, their sums and both their tiles share the registers; without the matrix units' float32 (TF32), tiles
    # of 64 channels would spill them by the thousand
    most = 32 if precision == "ieee" and z.dtype == torch.float32 else CHANNELS
    block, tile_in, tile_out = min(64, voxel_block(b * voxels)), _tile(c, most), _tile(c_out, most)
    tile_n = min(triton.next_power_of_2(n), CLUSTERS)
    splits = _splits(voxels, block)
    tiles_in, tiles_out, tiles_n = triton.cdiv(c, tile_in), triton.cdiv(c_out, tile_out), triton.cdiv(n, tile_n)
    dkernel = torch.empty(b * splits, 27, c, c_out, device=z.device)
    dtaps = torch.empty(b, splits * tiles_in * tiles_out, n, 27, device=z.device)
    with on_device(z):
        weights_kernel[(27, splits, b * tiles_in * tiles_out * tiles_n)](
            z,
            labels.contiguous(),
            taps.contiguous(),
            kernel.permute(2, 1, 0).to(z.dtype).contiguous(),
            g,
            dkernel,
            dtaps,
            *size,
            n,
            c,
            c_out,
            *strides(z),
            *strides(g),
            BLOCK=block,
            TILE_IN=tile_in,
            TILE_OUT=tile_out,
            TILE_N=tile_n,
            PRECISION=precision,
            num_warps=WARPS,
        )
    return dtaps.sum(1).to(taps.dtype), dkernel.sum(0).permute(2, 1, 0).to(kernel.dtype)


def _bias_gradient(g: Tensor, labels: Tensor, n: int) -> Tensor:
    """g (b, c_out, i, j, k) -> (b, n, c_out) float32: its sum over the voxels of each cluster."""
    g = flattened(g)
    b, c_out = g.shape[:2]
    voxels = g[0, 0].numel()
    block, tile_out, tile_n = min(64, voxel_block(b * voxels)), _tile(c_out), _tile(n)
    splits = _splits(voxels, block)
    dbias = torch.empty(b, splits, n, c_out, device=g.device)
    with on_device(g):
        bias_kernel[(splits, b * triton.cdiv(c_out, tile_out) * triton.cdiv(n, tile_n))](
            g,
            labels.contiguous(),
            dbias,
            voxels,
            n,
            c_out,
            *strides(g),
            BLOCK=block,
            TILE_OUT=tile_out,
            TILE_N=tile_n,
            num_warps=WARPS,
        )
    return dbias.sum(1)
