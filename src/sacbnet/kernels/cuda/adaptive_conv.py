"""The adaptive convolution of the SACB in Triton, at the cost of one convolution.

`sacbnet.ops.adaptive_conv` defines the result.

The kernel is an implicit matrix product. For each tap, a block of voxels × input channels is
multiplied by the input × output channels of this tap. Before that, each row of the block is scaled
by the tap weight of the cluster of its voxel. Sums are float32. No window is ever stored.

The gradient of z is the same product with mirrored taps. The gradients of the parameters are sums
over all voxels: each program stores a partial sum, and torch adds the partial sums. There are no
atomic additions, so every run gives the same bits.

References
----------
Cheng et al., SACB-Net, CVPR 2025, section 3.2.
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
    """Convolve each voxel with the taps of its cluster, zero padded.

    Computes ``y(v) = Σ_t a_n[t] · W[:, :, t] · z(v + t) + b_n`` at each voxel ``v`` of cluster
    ``n``. Sums are float32. Products of float32 use TF32 if and only if torch allows TF32 in
    convolutions of cuDNN.

    Parameters
    ----------
    z : Tensor, shape (b, c, i, j, k)
        The features, in float32, float16 or bfloat16.
    labels : Tensor of int64, shape (b, i, j, k)
        The cluster of each voxel, from 0 to n - 1.
    tap_weights : Tensor, shape (b, n, 27)
        The weights ``a`` of the 27 taps of each cluster.
    kernel : Tensor, shape (c_out, c, 27)
        The convolution ``W``, its taps in row-major order over the window.
    bias : Tensor, shape (b, n, c_out)
        The bias of each cluster.

    Returns
    -------
    Tensor, shape (b, c_out, i, j, k)
        The result, in the layout of z. Its type is that of z, or that of autocast where this is
        active.

    Raises
    ------
    TypeError, ValueError
        If the kernels cannot take z; see `sacbnet.kernels.cuda.layout.check`.
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
    """Sums of g (b, c_out, i, j, k) over the voxels of each cluster: (b, n, c_out) float32."""
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
