"""Convolution whose 3×3×3 taps are weighted by the shares of the voxel in all clusters.

It is the soft form of `sacbnet.ops.adaptive_conv`: shares with gradients replace the labels.

References
----------
Cheng et al., SACB-Net, CVPR 2025, section 3.2.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from sacbnet.kernels.cpu.mixed_conv import MixedConv
from sacbnet.kernels.dispatch import fast_storage, triton_serves


def mixed_conv(
    z: Tensor, membership: Tensor, tap_weights: Tensor, kernel: Tensor, bias: Tensor
) -> Tensor:
    """Convolve each voxel with the mixture of the taps of all clusters, zero padded.

    Computes ``y(v) = Σ_t (Σ_n m_n(v) a_n[t]) · W[:, :, t] · z(v + t) + Σ_n m_n(v) b_n`` at each
    voxel ``v``. Gradients go to all five arguments. With shares of 0 and 1 the result is that of
    `adaptive_conv` for the corresponding labels.

    It runs compiled on the CPU and as Triton kernels on CUDA. These cost as much as one
    convolution, for any number of clusters. Elsewhere, and for float64, `mixed_conv_plain` runs.

    Parameters
    ----------
    z : Tensor, shape (b, c, i, j, k)
        The features.
    membership : Tensor, shape (b, n, i, j, k)
        The shares ``m`` of each voxel in the clusters; they sum to 1 over n.
    tap_weights : Tensor, shape (b, n, 27)
        The weights ``a`` of the 27 taps of each cluster.
    kernel : Tensor, shape (c_out, c, 27)
        The convolution ``W``, its taps in row-major order over the window.
    bias : Tensor, shape (b, n, c_out)
        The bias ``b`` of each cluster.

    Returns
    -------
    Tensor, shape (b, c_out, i, j, k)
        The result.
    """
    shares, taps, biases = membership.float(), tap_weights.float(), bias.float()
    # shapes that do not fit go to the plain form, which raises the error
    fits = shares.shape == (len(z), taps.shape[1], *z.shape[2:])
    if fits and (storage := fast_storage(z, shares, taps, kernel, biases)):
        return MixedConv.apply(z, shares, taps, kernel, biases, storage)
    if fits and triton_serves(z):
        # needs Triton, which only machines with CUDA have
        from sacbnet.kernels.cuda.mixed_conv import mixed_conv as on_gpu

        return on_gpu(z, membership, tap_weights, kernel, bias)
    return mixed_conv_plain(z, membership, tap_weights, kernel, bias)


def mixed_conv_plain(
    z: Tensor, membership: Tensor, tap_weights: Tensor, kernel: Tensor, bias: Tensor
) -> Tensor:
    """The definition of `mixed_conv`.

    It runs one ordinary convolution for each cluster, weighted by the shares: n times the
    arithmetic of one. The backward pass keeps the n results, but no tensor of the size of a window
    times the volume exists.

    Parameters
    ----------
    z : Tensor, shape (b, c, i, j, k)
        The features.
    membership : Tensor, shape (b, n, i, j, k)
        The shares of each voxel in the clusters; n is at least 1.
    tap_weights : Tensor, shape (b, n, 27)
        The weights of the 27 taps of each cluster.
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
    # each sample has its own weights, so the batch becomes groups of one image
    groups = z.reshape(1, b * c, *size)
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
