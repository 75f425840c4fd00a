"""The compiled mixed convolution and its gradients. `sacbnet.ops.mixed_conv` defines the result.

References
----------
Cheng et al., SACB-Net, CVPR 2025, section 3.2, with shares in place of labels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .memory import empty
from .native import call, channels_last


class MixedConv(torch.autograd.Function):
    """The mixed convolution of `sacbnet.ops.mixed_conv`.

    Its arguments are z (b, c, i, j, k), membership (b, n, i, j, k), tap weights (b, n, 27), kernel
    (c_out, c, 27), bias (b, n, c_out) and storage type; the result is (b, c_out, i, j, k). z is
    float32 or bfloat16, the others are float32. The backward pass keeps z and the membership.
    """

    @staticmethod
    def forward(
        ctx: Any,
        z: Tensor,
        membership: Tensor,
        taps: Tensor,
        kernel: Tensor,
        bias: Tensor,
        dtype: torch.dtype,
    ) -> Tensor:
        """Run the convolution."""
        z = channels_last(z)
        membership, taps, kernel, bias = (t.contiguous() for t in (membership, taps, kernel, bias))
        y = empty((len(z), len(kernel), *z.shape[2:]), dtype)
        call(
            "mixed_conv",
            z,
            _is_bf16(z),
            kernel,
            bias,
            membership,
            taps,
            taps.shape[1],
            y,
            _is_bf16(y),
            *_sizes(z, y),
        )
        ctx.save_for_backward(z, membership, taps, kernel, bias)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of all five tensors."""
        z, membership, taps, kernel, bias = ctx.saved_tensors
        g = channels_last(g)
        n, sizes = taps.shape[1], _sizes(z, g)
        dz, d_weights = empty(tuple(z.shape), z.dtype), _of_padded_voxels(z)
        call(
            "mixed_conv_backward", g, _is_bf16(g), kernel, membership, taps, n,
            z, dz, _is_bf16(z), d_weights, *sizes,
        )  # fmt: skip
        d_membership = empty(tuple(membership.shape), planar=True)
        d_kernel = torch.empty(27, z.shape[1], g.shape[1])
        d_taps, d_bias = torch.empty_like(taps), torch.empty_like(bias)
        call(
            "mixed_conv_gradient", z, _is_bf16(z), g, _is_bf16(g), membership, taps, bias,
            d_weights, n, d_membership, d_kernel, d_taps, d_bias, *sizes,
        )  # fmt: skip
        return dz, d_membership, d_taps, d_kernel.permute(2, 1, 0), d_bias, None


def _of_padded_voxels(z: Tensor) -> Tensor:
    """Zeros (b · i · 27 · (j + 2) · (k + 2) + 8,).

    There are 27 numbers for each voxel of a padded volume. The kernel reads past the last one.
    """
    b, _, i, j, k = z.shape
    return empty((1, 1, 1, 1, b * i * 27 * (j + 2) * (k + 2) + 8), planar=True).zero_()


def _sizes(z: Tensor, y: Tensor) -> tuple[int, ...]:
    """(b, i, j, k, c, c_out, threads) of z (b, c, i, j, k) and y (b, c_out, i, j, k)."""
    return (len(z), *z.shape[2:], z.shape[1], y.shape[1], torch.get_num_threads())


def _is_bf16(x: Tensor) -> bool:
    return x.dtype == torch.bfloat16
