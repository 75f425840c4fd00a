"""The soft adaptive convolution of the SACB in Triton: the programs of the hard one, with tap weights of each voxel.

Definition: `sacbnet.ops.mixed_conv`. A voxel's 27 tap weights, Σ_n m_n a_n, are written out (27 numbers a voxel, where
a window would be 27 for each channel) by one product of torch, whose gradients lead on to shares and clusters.
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
    """y(v) = Σ_t (Σ_n m_n(v) a_n[t]) · W[:, :, t] · z(v + t) + Σ_n m_n(v) b_n at each voxel v; zero padded.

    Shapes as of `sacbnet.ops.mixed_conv`; types, memory format and precision as of the hard form beside it.
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
    """z (b, c, i, j, k), taps (b, 27, i, j, k), kernel (c_out, c, 27) -> Σ_t taps_t(v) · W[:, :, t] · z(v + t)."""

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
