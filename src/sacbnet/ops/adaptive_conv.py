"""Convolution whose 3×3×3 taps are weighted by the cluster of the voxel: the core of the SACB.

References
----------
Cheng et al., SACB-Net, CVPR 2025, section 3.2.
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
    """Convolve each voxel with the taps of its cluster, zero padded.

    Computes ``y(v) = Σ_t a_n[t] · W[:, :, t] · z(v + t) + b_n`` at each voxel ``v`` of cluster
    ``n``.

    It runs compiled on the CPU and as a Triton kernel on CUDA. These cost as much as one
    convolution, for any number of clusters. Elsewhere, and for float64, `adaptive_conv_plain` runs.

    Parameters
    ----------
    z : Tensor, shape (b, c, i, j, k)
        The features.
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
        The result.
    """
    taps, biases = tap_weights.float(), bias.float()
    if storage := fast_storage(z, taps, kernel, biases):
        return AdaptiveConv.apply(z, labels, taps, kernel, biases, storage)
    if triton_serves(z):
        # needs Triton, which only machines with CUDA have
        from sacbnet.kernels.cuda.adaptive_conv import adaptive_conv as on_gpu

        return on_gpu(z, labels, tap_weights, kernel, bias)
    return adaptive_conv_plain(z, labels, tap_weights, kernel, bias)


def adaptive_conv_plain(
    z: Tensor, labels: Tensor, tap_weights: Tensor, kernel: Tensor, bias: Tensor
) -> Tensor:
    """The definition of `adaptive_conv`.

    It runs one ordinary convolution for each cluster and keeps the voxels of this cluster. This
    takes n times the arithmetic of one convolution, but the memory of three outputs only. No tensor
    of the size of a window times the volume exists, also not for the backward pass.

    Parameters
    ----------
    z : Tensor, shape (b, c, i, j, k)
        The features.
    labels : Tensor of int64, shape (b, i, j, k)
        The cluster of each voxel, from 0 to n - 1.
    tap_weights : Tensor, shape (b, n, 27)
        The weights of the 27 taps of each cluster; n is at least 1.
    kernel : Tensor, shape (c_out, c, 27)
        The convolution.
    bias : Tensor, shape (b, n, c_out)
        The bias of each cluster.

    Returns
    -------
    Tensor, shape (b, c_out, i, j, k)
        The result.
    """
    b, c = z.shape[:2]
    c_out = kernel.shape[0]
    size = z.shape[2:]
    # Each sample has its own weights, so the batch becomes groups of one image. This also runs in
    # the fast path of torch.
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
