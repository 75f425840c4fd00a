"""Convolution whose 3×3×3 taps are weighted by the cluster of the voxel: the core of the SACB.

Source: Cheng et al., SACB-Net, CVPR 2025, section 3.2.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sacbnet.kernels.cpu.conv import AdaptiveConv
from sacbnet.kernels.dispatch import fast_storage, triton_serves


def adaptive_conv(
    z: Tensor, labels: Tensor, tap_weights: Tensor, kernel: Tensor, bias: Tensor
) -> Tensor:
    """y(v) = Σ_t a_n[t] · W[:, :, t] · z(v + t) + b_n at each voxel v of cluster n; zero padded.

    z (b, c, i, j, k); labels (b, i, j, k), clusters 0..n-1; tap_weights a (b, n, 27); kernel W (c_out, c, 27), taps
    row-major over the window; bias (b, n, c_out) -> (b, c_out, i, j, k).

    Compiled on the CPU, a Triton kernel on CUDA: the cost is that of one convolution, whatever the number of
    clusters. Elsewhere, and for float64, the plain form below.
    """
    taps, biases = tap_weights.float(), bias.float()
    if storage := fast_storage(z, taps, kernel, biases):
        return AdaptiveConv.apply(z, labels, taps, kernel, biases, storage)
    if triton_serves(z):
        from sacbnet.kernels.cuda.adaptive_conv import adaptive_conv as on_gpu

        return on_gpu(z, labels, tap_weights, kernel, bias)
    return adaptive_conv_plain(z, labels, tap_weights, kernel, bias)


def adaptive_conv_plain(
    z: Tensor, labels: Tensor, tap_weights: Tensor, kernel: Tensor, bias: Tensor
) -> Tensor:
    """The definition of `adaptive_conv`.

    One ordinary convolution per cluster, of which its own voxels are kept: n times the arithmetic of one, but memory
    of only three outputs, and nothing of a window's size is ever held, nor kept for the backward pass.
    """
    b, c = z.shape[:2]
    c_out = kernel.shape[0]
    size = z.shape[2:]
    # each sample has weights of its own: the batch becomes groups of one image (which torch's fast path likes, too)
    groups = z.reshape(1, b * c, *size)
    out = None
    for n in range(tap_weights.shape[1]):
        weight = (kernel * tap_weights[:, n, None, None]).reshape(b * c_out, c, 3, 3, 3)
        y = F.conv3d(groups, weight, bias[:, n].reshape(-1), padding=1, groups=b).view(
            b, c_out, *size
        )
        out = y if out is None else torch.where((labels == n)[:, None], y, out)
    assert out is not None, "at least one cluster"
    return out
