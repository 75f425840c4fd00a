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

from .conv_kernels import bias_kernel
from .conv_launch import convolve, float32_product, shares_of, tile_of, weight_gradients
from .layout import WARPS, check, flattened, on_device, strides, voxel_block


def adaptive_conv(
    z: Tensor, labels: Tensor, tap_weights: Tensor, kernel: Tensor, bias: Tensor
) -> Tensor:
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
    def forward(
        ctx: Any, z: Tensor, labels: Tensor, taps: Tensor, kernel: Tensor, bias: Tensor
    ) -> Tensor:
        ctx.save_for_backward(z, labels, taps, kernel)
        ctx.precision, ctx.bias_dtype = float32_product(), bias.dtype
        return convolve(z, labels, taps, kernel, bias, ctx.precision)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        z, labels, taps, kernel = ctx.saved_tensors
        need_z, _, need_taps, need_kernel, need_bias = ctx.needs_input_grad
        dz = dtaps = dkernel = dbias = None
        if need_z:
            dz = convolve(g, labels, taps, kernel.transpose(0, 1), None, ctx.precision, like=z)
        if need_taps or need_kernel:
            dtaps, dkernel = weight_gradients(z, g, labels, taps, kernel, ctx.precision)
        if need_bias:
            dbias = _bias_gradient(g, labels, taps.shape[1]).to(ctx.bias_dtype)
        return dz, None, dtaps, dkernel, dbias


def _bias_gradient(g: Tensor, labels: Tensor, n: int) -> Tensor:
    """g (b, c_out, i, j, k) -> (b, n, c_out) float32: its sum over the voxels of each cluster."""
    g = flattened(g)
    b, c_out = g.shape[:2]
    voxels = g[0, 0].numel()
    block, tile_out, tile_n = min(64, voxel_block(b * voxels)), tile_of(c_out), tile_of(n)
    splits = shares_of(voxels, block)
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
