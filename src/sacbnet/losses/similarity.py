"""Losses for images of one contrast: local correlation and squared difference."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from sacbnet.errors import InputError
from sacbnet.kernels.cpu import boxes

from .common import at_least_single, full_precision, same_images, shares

# added to the product of the summed squared deviations of two boxes, as in VoxelMorph
EPSILON = 1e-5


def ncc_loss(
    moved: Tensor,
    fixed: Tensor,
    window: int = 9,
    mask: Tensor | None = None,
    epsilon: float = EPSILON,
) -> Tensor:
    """Compute the negated mean squared local correlation of two images.

    At each voxel, over the window³ box around it (zeros beyond the edge), the correlation is cross²
    / (var_moved · var_fixed + epsilon). Cross and var are sums of products of deviations from the
    means of the box. The loss is computed in at least float32.

    Parameters
    ----------
    moved, fixed : Tensor, shape (b, 1, i, j, k)
        The images.
    window : int, default 9
        Side of the box, in voxels; odd.
    mask : Tensor, shape (b, 1, i, j, k), optional
        Weights of the voxels in the mean over a sample; samples count equally, however large their
        masks are. None means equal weights.
    epsilon : float, default 1e-5
        Keeps flat boxes from counting.

    Returns
    -------
    Tensor, scalar
        In [-1, 0]; 0 means no likeness.

    Raises
    ------
    InputError
        For unequal shapes, an even window, or a mask that is empty for some sample.

    References
    ----------
    Balakrishnan et al., "VoxelMorph", IEEE TMI 2019, eq. 3; it is the loss of Cheng et al.,
    "SACB-Net", CVPR 2025.
    """
    same_images(moved, fixed)
    if window < 1 or window % 2 == 0:
        raise InputError(f"the window is {window} voxels; an odd number was expected")
    moved, fixed = at_least_single(moved, fixed)
    weight = shares(mask, moved)
    if weight is not None:
        weight = (weight / moved.shape[1]).expand_as(moved).contiguous()  # as the kernel reads it
    with full_precision(moved):
        return _NCC.apply(moved, fixed, window, weight, epsilon)


def mse_loss(moved: Tensor, fixed: Tensor, mask: Tensor | None = None) -> Tensor:
    """Compute the mean squared difference of two images.

    It suits images of one modality whose intensities have the same meaning. It is computed in at
    least float32.

    Parameters
    ----------
    moved, fixed : Tensor, shape (b, c, i, j, k)
        The images.
    mask : Tensor, shape (b, 1, i, j, k), optional
        Weights of the voxels in the mean over a sample; samples count equally. None means equal
        weights.

    Returns
    -------
    Tensor, scalar
        Mean of (moved - fixed)², in intensity².

    Raises
    ------
    InputError
        For unequal shapes, or a mask that is empty for some sample.
    """
    same_images(moved, fixed)
    with full_precision(moved):
        moved, fixed = at_least_single(moved, fixed)
        weight = shares(mask, moved)
        if weight is None:
            return F.mse_loss(moved, fixed)
        return ((moved - fixed).square().mean(1, keepdim=True) * weight).sum()


def box_mean(x: Tensor, window: int) -> Tensor:
    """Average over the box around each voxel, with zeros beyond the edge.

    On a CPU a compiled kernel does it, where it can be used. Otherwise a product with a banded
    matrix along each axis does it: on a CPU three times faster than pooling, although it does more
    arithmetic. On a GPU pooling does it, because matrix products may be switched to 10-bit
    mantissas (TF32), which are not exact enough for the variances of flat regions.

    Parameters
    ----------
    x : Tensor, shape (..., i, j, k)
        The values. There is no gradient.
    window : int
        Side of the box, in voxels; odd.

    Returns
    -------
    Tensor, shape (..., i, j, k)
        The means.
    """
    if boxes.takes(x):
        return boxes.box_mean(x, window)
    return _banded(x, window) if x.device.type == "cpu" else _pooled(x, window)


def _pooled(x: Tensor, window: int) -> Tensor:
    y = x.reshape(-1, 1, *x.shape[-3:])
    for kernel in ((1, 1, window), (1, window, 1), (window, 1, 1)):
        sides = [n // 2 for n in reversed(kernel) for _ in range(2)]
        # the padding of avg_pool3d itself refuses boxes larger than the image
        y = F.avg_pool3d(F.pad(y, sides), kernel, stride=1)
    return y.view_as(x)


def _banded(x: Tensor, window: int) -> Tensor:
    i, j, k = x.shape[-3:]
    y = x.reshape(-1, k) @ _band(k, window, x.dtype)
    y = torch.matmul(_band(j, window, x.dtype), y.view(-1, j, k))
    return torch.matmul(_band(i, window, x.dtype), y.view(-1, i, j * k)).view_as(x)


def _band(n: int, window: int, dtype: torch.dtype) -> Tensor:
    at = torch.arange(n)
    return ((at[:, None] - at).abs() <= window // 2).to(dtype) / window


class _NCC(torch.autograd.Function):
    """The correlation of tensors of one type; the weights add up to 1.

    Notation: means m, variances v, covariance c, r = c / (v v + ε).
    """

    @staticmethod
    def forward(
        ctx: Any, moved: Tensor, fixed: Tensor, window: int, weight: Tensor | None, epsilon: float
    ) -> Tensor:
        for_moved, for_fixed = ctx.needs_input_grad[:2]
        if boxes.takes(moved, fixed, weight):
            compiled = window, weight, epsilon / window**6
            loss, of_moved = boxes.correlation(moved, fixed, *compiled, for_moved)
            of_fixed = boxes.correlation(fixed, moved, *compiled, True)[1] if for_fixed else None
            ctx.save_for_backward(of_moved, of_fixed)
            return loss
        m_f, m_m = box_mean(fixed, window), box_mean(moved, window)
        v_f = box_mean(fixed * fixed, window).addcmul_(m_f, m_f, value=-1).clamp_(min=0)
        v_m = box_mean(moved * moved, window).addcmul_(m_m, m_m, value=-1).clamp_(min=0)
        c = box_mean(fixed * moved, window).addcmul_(m_f, m_m, value=-1)
        # |c| exceeds √(v v) by rounding alone, in flat regions: without this bound the regions
        # could score far beyond 1
        bound = (v_f * v_m).sqrt_()
        c = torch.minimum(torch.maximum(c, -bound), bound)
        # ε is meant for sums, and these are means: two divisions by window³
        r = c / bound.square_().add_(epsilon / window**6)
        share: Tensor | float = 1 / c.numel() if weight is None else weight
        loss = -(c * r * share).sum()
        if for_moved or for_fixed:
            r_w = r * share
            r2_w = r_w * r
            ctx.save_for_backward(
                _slope(moved, fixed, m_m, m_f, r_w, r2_w * v_f, window) if for_moved else None,
                _slope(fixed, moved, m_f, m_m, r_w, r2_w * v_m, window) if for_fixed else None,
            )
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        moved, fixed = ctx.saved_tensors
        return (
            None if moved is None else moved * grad,
            None if fixed is None else fixed * grad,
            None,
            None,
            None,
        )


def _slope(
    x: Tensor, y: Tensor, m_x: Tensor, m_y: Tensor, r_w: Tensor, r2_w_v: Tensor, window: int
) -> Tensor:
    """-d(Σ w c²/(v v + ε))/dx = 2 [B(r w m_y - r² w v_y m_x) - y B(r w) + x B(r² w v_y)].

    B is the mean over the box.
    """
    out = box_mean(r_w * m_y - r2_w_v * m_x, window)
    out.addcmul_(y, box_mean(r_w, window), value=-1).addcmul_(x, box_mean(r2_w_v, window))
    return out.mul_(2)
