"""Convolution whose 3×3×3 taps are weighted by the voxel's share in each cluster: the soft form of `adaptive_conv`.

Source: Cheng et al., SACB-Net, CVPR 2025, section 3.2, with shares that have gradients in place of labels.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from sacbnet.kernels.cpu.mixed_conv import MixedConv
from sacbnet.kernels.dispatch import fast_storage, triton_serves


def mixed_conv(
    z: Tensor, membership: Tensor, tap_weights: Tensor, kernel: Tensor, bias: Tensor
) -> Tensor:
    """y(v) = Σ_t (Σ_n m_n(v) a_n[t]) · W[:, :, t] · z(v + t) + Σ_n m_n(v) b_n at each voxel v; zero padded.

    z (b, c, i, j, k); membership m (b, n, i, j, k), 1 in sum over n; tap_weights a (b, n, 27); kernel W (c_out, c, 27),
    taps row-major over the window; bias b (b, n, c_out) -> (b, c_out, i, j, k). Gradients to all five. With shares of
    0 and 1 it is `adaptive_conv` of the labels that they stand for.

    Compiled on the CPU, Triton kernels on CUDA: the cost is that of one convolution, whatever the number of clusters.
    Elsewhere, and for float64, the plain form below.
    """
    shares, taps, biases = membership.float(), tap_weights.float(), bias.float()
    fits = shares.shape == (
        len(z),
        taps.shape[1],
        *z.shape[2:],
    )  # unlike shapes: the plain form's error
    if fits and (storage := fast_storage(z, shares, taps, kernel, biases)):
        return MixedConv.apply(z, shares, taps, kernel, biases, storage)
    if fits and triton_serves(z):
        from sacbnet.kernels.cuda.mixed_conv import (
            mixed_conv as on_gpu,
        )  # not to be imported without Triton

        return on_gpu(z, membership, tap_weights, kernel, bias)
    return mixed_conv_plain(z, membership, tap_weights, kernel, bias)


def mixed_conv_plain(
    z: Tensor, membership: Tensor, tap_weights: Tensor, kernel: Tensor, bias: Tensor
) -> Tensor:
    """The definition of `mixed_conv`.

    One ordinary convolution per cluster, weighted by the share: n times the arithmetic of one. The n results are kept
    for the backward pass, but nothing of a window's size ever exists.
    """
    b, c = z.shape[:2]
    c_out = kernel.shape[0]
    size = z.shape[2:]
    groups = z.reshape(
        1, b * c, *size
    )  # each sample has weights of its own: the batch becomes groups of one image
    total, dtype = None, z.dtype
    for n in range(tap_weights.shape[1]):
        weight = (kernel * tap_weights[:, n, None, None]).reshape(b * c_out, c, 3, 3, 3)
        y = F.conv3d(groups, weight, bias[:, n].reshape(-1), padding=1, groups=b).view(
            b, c_out, *size
        )
        part, dtype = membership[:, n, None] * y, y.dtype
        total = part if total is None else total + part
    assert total is not None, "at least one cluster"
    return total.to(dtype)
