"""Likeness of images of one contrast: local correlation and squared difference."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from sacbnet.errors import InputError
from sacbnet.kernels.cpu import boxes

from .common import at_least_single, full_precision, same_images

EPSILON = (
    1e-5  # added to the product of two windows' summed squared deviations, as VoxelMorph has it
)


def ncc_loss(
    moved: Tensor,
    fixed: Tensor,
    window: int = 9,
    mask: Tensor | None = None,
    epsilon: float = EPSILON,
) -> Tensor:
    """Negated mean squared local correlation: moved, fixed (b, 1, i, j, k) -> scalar in [-1, 0]. 0 is no likeness.

    Per voxel, over the window³ box around it (zero padded): cross² / (var_moved · var_fixed + epsilon), where cross
    and var are sums of products of deviations from the box's means (Balakrishnan et al., VoxelMorph, TMI 2019, eq. 3;
    the loss of Cheng et al., CVPR 2025). With a mask (b, 1, i, j, k) the mean over a sample's voxels is weighted by it;
    then follows the mean over samples, however large their masks. Computed in at least float32. Raises InputError for
    unequal shapes, an even window, or a mask that is empty for some sample.
    """
    same_images(moved, fixed)
    if window < 1 or window % 2 == 0:
        raise InputError(f"the window is {window} voxels; an odd number was expected")
    moved, fixed = at_least_single(moved, fixed)
    weight = None
    if mask is not None:
        if mask.shape[2:] != moved.shape[2:]:
            raise InputError(
                f"the mask has shape {tuple(mask.shape)}; the images' {tuple(moved.shape)} was expected"
            )
        weight = mask.to(moved.dtype).expand_as(moved)
        total = weight.flatten(1).sum(1)
        if not bool((total > 0).all()):
            raise InputError(
                "the mask of the loss is empty for a sample; give one that covers part of each image"
            )
        weight = weight / (len(moved) * total).view(-1, 1, 1, 1, 1)
    with full_precision(moved):
        return _NCC.apply(moved, fixed, window, weight, epsilon)


def mse_loss(moved: Tensor, fixed: Tensor) -> Tensor:
    """Mean squared difference: moved, fixed (b, c, i, j, k) -> scalar, intensity². Computed in at least float32.

    For images of one modality whose intensities mean the same. Raises InputError for unequal shapes.
    """
    same_images(moved, fixed)
    with full_precision(moved):
        moved, fixed = at_least_single(moved, fixed)
        return F.mse_loss(moved, fixed)


def box_mean(x: Tensor, window: int) -> Tensor:
    """Mean over the window³ box around each voxel, zeros beyond the edge: (..., i, j, k) -> same shape, no autograd.

    On the CPU the compiled kernel where it can be, else a product with a banded matrix along each axis: three times
    faster there than pooling, though it does more arithmetic. On a GPU pooling, because matrix products may be switched
    to 10-bit mantissas (TF32), which the variances of flat regions do not survive.
    """
    if boxes.takes(x):
        return boxes.box_mean(x, window)
    return _banded(x, window) if x.device.type == "cpu" else _pooled(x, window)


def _pooled(x: Tensor, window: int) -> Tensor:
    y = x.reshape(-1, 1, *x.shape[-3:])
    for kernel in ((1, 1, window), (1, window, 1), (window, 1, 1)):
        sides = [n // 2 for n in reversed(kernel) for _ in range(2)]
        y = F.avg_pool3d(
            F.pad(y, sides), kernel, stride=1
        )  # its own padding refuses boxes larger than the image
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
    """ncc_loss of same-typed tensors, the weights adding up to 1.

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
        # |c| cannot pass √(v v) but by rounding, in flat regions: without the bound they could score far beyond 1
        bound = (v_f * v_m).sqrt_()
        c = torch.minimum(torch.maximum(c, -bound), bound)
        r = c / bound.square_().add_(
            epsilon / window**6
        )  # ε is meant for sums: two divisions by window³
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
    """-d(Σ w c²/(v v + ε))/dx = 2 [B(r w m_y - r² w v_y m_x) - y B(r w) + x B(r² w v_y)], B the mean over the box."""
    out = box_mean(r_w * m_y - r2_w_v * m_x, window)
    out.addcmul_(y, box_mean(r_w, window), value=-1).addcmul_(x, box_mean(r2_w_v, window))
    return out.mul_(2)
