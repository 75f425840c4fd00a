"""The mixed convolution of the SACB in Triton: the programs of the adaptive one, per voxel.

`sacbnet.ops.mixed_conv` defines the result. A product of torch computes the 27 tap weights of each
voxel, Σ_n m_n a_n, and stores them. That is 27 numbers for a voxel, where a window would take 27
numbers for each channel. The gradients of this product lead to shares and clusters.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .conv_launch import convolve, float32_product, weight_gradients
from .layout import check


def mixed_conv(
    z: Tensor, membership: Tensor, tap_weights: Tensor, kernel: Tensor, bias: Tensor
) -> Tensor:
    """Convolve each voxel with the mixture of the taps of all clusters, zero padded.

    `sacbnet.ops.mixed_conv.mixed_conv` gives the formula. Types, layout and precision are those of
    `sacbnet.kernels.cuda.adaptive_conv.adaptive_conv`.

    Parameters
    ----------
    z : Tensor, shape (b, c, i, j, k)
        The features, in float32, float16 or bfloat16.
    membership : Tensor, shape (b, n, i, j, k)
        The shares of each voxel in the clusters; they sum to 1 over n.
    tap_weights : Tensor, shape (b, n, 27)
        The weights of the 27 taps of each cluster.
    kernel : Tensor, shape (c_out, c, 27)
        The convolution, its taps in row-major order over the window.
    bias : Tensor, shape (b, n, c_out)
        The bias of each cluster.

    Returns
    -------
    Tensor, shape (b, c_out, i, j, k)
        The result.

    Raises
    ------
    TypeError, ValueError
        If the kernels cannot take z; see `sacbnet.kernels.cuda.layout.check`.
    """
    if torch.is_autocast_enabled(z.device.type):
        z = z.to(torch.get_autocast_dtype(z.device.type))
    check(z)
    with torch.autocast(z.device.type, enabled=False):
        shares = membership.float()
        taps = torch.einsum("bnijk,bnt->btijk", shares, tap_weights.float())
        biases = torch.einsum("bnijk,bno->boijk", shares, bias.float())
        y: Tensor = _ScaledConv.apply(z, taps, kernel)
        return y + biases.to(y.dtype)


class _ScaledConv(torch.autograd.Function):
    """Σ_t taps_t(v) · W[:, :, t] · z(v + t), with weights of each voxel.

    z (b, c, i, j, k), taps (b, 27, i, j, k), kernel W (c_out, c, 27) -> (b, c_out, i, j, k).
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, taps: Tensor, kernel: Tensor) -> Tensor:
        ctx.save_for_backward(z, taps, kernel)
        ctx.precision = float32_product()
        return convolve(z, None, taps, kernel, None, ctx.precision)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        z, taps, kernel = ctx.saved_tensors
        need_z, need_taps, need_kernel = ctx.needs_input_grad
        dz = dtaps = dkernel = None
        if need_z:
            dz = convolve(g, None, taps, kernel.transpose(0, 1), None, ctx.precision, like=z)
        if need_taps or need_kernel:
            dtaps, dkernel = weight_gradients(z, g, None, taps, kernel, ctx.precision)
        return dz, dtaps, dkernel
