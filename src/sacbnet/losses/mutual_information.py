"""Mutual information as a loss, for images of different contrast."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sacbnet.errors import InputError

from .common import at_least_single, full_precision, same_images, shares

SMOOTHING = 1e-7  # added to probabilities, so that empty bins have a logarithm
SHARPNESS = 2.0  # 1 / (2 σ²), σ half a bin
# values up to this far beyond [0, 1] are clamped: interpolation and augmentation cause them
OVERSHOOT = 0.1


def mutual_information_loss(
    moved: Tensor, fixed: Tensor, bins: int = 32, mask: Tensor | None = None
) -> Tensor:
    """Compute the negated mutual information of two images.

    It is Σ P(m, f) log (P(m, f) / P(m) P(f)) of the joint histogram of each sample. Each voxel
    counts in all bins, which are centred on n / (bins - 1), with Gaussian weights that add up to 1
    and have a σ of half a bin. This Parzen window makes the histogram differentiable. Values beyond
    [0, 1] count as 0 or 1. The loss is computed in at least float32.

    The definition is that of MONAI's GlobalMutualInformationLoss, which keeps several tensors
    (voxels, bins): at 128³ voxels and 32 bins, on one thread, that loss took 17 s and 1.8 GB
    forward and backward. Here these tensors exist for one block of voxels at a time: 1.6 s, and
    only the gradient is kept.

    Parameters
    ----------
    moved, fixed : Tensor, shape (b, c, i, j, k)
        The images, in [0, 1].
    bins : int, default 32
        Bins of the histogram along each axis.
    mask : Tensor, shape (b, 1, i, j, k), optional
        Weights of the voxels in the histogram of a sample. None means equal weights.

    Returns
    -------
    Tensor, scalar
        Mean over the batch, in nats, at most 0; 0 means independent images.

    Raises
    ------
    InputError
        For unequal shapes, fewer than two bins, intensities far beyond [0, 1], or a mask that is
        empty for some sample.

    References
    ----------
    Viola and Wells, "Alignment by maximization of mutual information", IJCV 1997. Thévenaz and
    Unser, "Optimization of mutual information for multiresolution image registration", IEEE TIP
    2000.
    """
    same_images(moved, fixed)
    if bins < 2:
        raise InputError(f"{bins} bins were asked for; at least 2 were expected")
    moved, fixed = at_least_single(moved, fixed)
    ends = torch.stack([end for image in (moved, fixed) for end in torch.aminmax(image.detach())])
    # one transfer for both images: each transfer makes the host wait for a GPU
    for name, (low, high) in zip(("moved", "fixed"), ends.view(2, 2).tolist(), strict=True):
        if not (low >= -OVERSHOOT and high <= 1 + OVERSHOOT):
            raise InputError(
                f"the {name} image's values span {low:g} to {high:g}; 0 to 1 was expected: rescale"
                " it"
            )
    with full_precision(moved):
        weight = shares(mask, moved)
        return _MutualInformation.apply(moved, fixed, bins, weight)


class _MutualInformation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, moved: Tensor, fixed: Tensor, bins: int, weight: Tensor | None) -> Tensor:
        wanted = ctx.needs_input_grad[:2]
        slopes = [
            torch.empty_like(x) if w else None for x, w in zip((moved, fixed), wanted, strict=True)
        ]
        loss = torch.zeros((), dtype=torch.float64, device=moved.device)
        for n in range(len(moved)):
            m, f = moved[n].reshape(-1), fixed[n].reshape(-1)
            # the shares of a sample's voxels add up to 1 / batch
            share = None if weight is None else weight[n].expand_as(moved[n]).reshape(-1)
            if share is not None:
                share = share * (len(moved) / moved.shape[1])
            information, table = _information(_joint(m, f, bins, share))
            loss -= information / len(moved)
            scale = -(bins - 1) / len(moved) / (m.numel() if share is None else 1)
            for slope, x, y, t in zip(slopes, (m, f), (f, m), (table, table.T), strict=True):
                if slope is not None:
                    _slope(x, y, (t * scale).to(x.dtype), slope[n].view(-1))
                    if share is not None:
                        slope[n].view(-1).mul_(share)
        ctx.save_for_backward(*slopes)
        return loss.to(moved.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        moved, fixed = ctx.saved_tensors
        return (
            None if moved is None else moved * grad,
            None if fixed is None else fixed * grad,
            None,
            None,
        )


def _block(x: Tensor) -> int:
    """Number of voxels at a time: on a CPU they fit the cache, on a GPU they fill the GPU."""
    return 1 << (13 if x.device.type == "cpu" else 20)


def _window(x: Tensor, at: Tensor) -> Tensor:
    """Share (n, bins) that n voxels have in each bin, from their places in [0, bins - 1]."""
    # -(x - n)² without x², which is equal in all bins: the softmax divides by the sum
    return torch.softmax((2 * SHARPNESS * x[:, None] - SHARPNESS * at) * at, dim=1)


def _place(x: Tensor, bins: int) -> Tensor:
    return x.clamp(0, 1) * (bins - 1)


def _joint(m: Tensor, f: Tensor, bins: int, share: Tensor | None) -> Tensor:
    """Joint histogram (bins, bins) in float64, whose sum is 1; m, f, share (voxels,)."""
    at = torch.arange(bins, device=m.device, dtype=m.dtype)
    total = torch.zeros(bins, bins, dtype=torch.float64, device=m.device)
    for low in range(0, len(m), _block(m)):
        part = slice(low, low + _block(m))
        a, b = m[part], f[part]
        there = _window(_place(b, bins), at)
        if share is not None:
            there *= share[part, None]
        total += _window(_place(a, bins), at).T @ there
    return total / m.numel() if share is None else total


def _information(joint: Tensor) -> tuple[Tensor, Tensor]:
    """Mutual information of a joint histogram, and the derivative by each entry."""
    with torch.enable_grad():
        p = joint.requires_grad_()
        independent = p.sum(1, keepdim=True) * p.sum(0, keepdim=True)
        information = (p * ((p + SMOOTHING) / (independent + SMOOTHING)).log()).sum()
        (table,) = torch.autograd.grad(information, p)
    return information.detach(), table


def _slope(x: Tensor, y: Tensor, table: Tensor, out: Tensor) -> None:
    """Set out = Σ over bins w'(x) · (table @ window(y)), or 0 where x is clamped.

    x, y, out (voxels,); table (bins, bins).
    """
    bins = len(table)
    at = torch.arange(bins, device=x.device, dtype=x.dtype)
    block = _block(x)
    for a, b, into in zip(x.split(block), y.split(block), out.split(block), strict=True):
        w = _window(_place(a, bins), at)
        pull = _window(_place(b, bins), at) @ table.T
        pull *= w
        # w'(x) of bin n is 2·sharpness · w · (n - mean), with the mean over all bins weighted by w
        into.copy_(pull @ at - (w @ at) * pull.sum(1))
        into.mul_(2 * SHARPNESS).mul_((a >= 0) & (a <= 1))
