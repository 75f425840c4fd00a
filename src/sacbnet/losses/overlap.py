"""Overlap of warped labels as a loss, without a channel for each label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sacbnet.errors import InputError
from sacbnet.spatial.trilinear import CORNERS, interpolate_with_slopes
from sacbnet.spatial.warp import warp

from .common import at_least_single, displacement, full_precision


def dice_loss(
    displacement_vox: Tensor, moving_labels: Tensor, fixed_labels: Tensor, labels: Sequence[int]
) -> Tensor:
    """Compute 1 - the mean soft Dice of labels that are warped linearly.

    Dice of a label is 2 Σ A·B / (Σ A + Σ B). A is the label's mask in the moving map, warped
    linearly with zeros beyond the edge; B is its mask in the fixed map. All sums are linear; there
    are no squares.

    No mask is made. For each voxel, of the eight corners around p + u(p) those count whose label is
    the fixed one's. Σ A of all labels together is the transposed warp of ones, added up by label.
    So time and memory do not depend on the number of labels. The loss is computed in at least
    float32.

    Parameters
    ----------
    displacement_vox : Tensor, shape (b, 3, i, j, k)
        Displacement on the fixed grid, in voxels.
    moving_labels, fixed_labels : Tensor, shape (b, 1, i, j, k)
        Label maps, whole numbers.
    labels : sequence of int
        Labels that count.

    Returns
    -------
    Tensor, scalar
        Mean over the labels that either map of a sample has, then over the samples, in [0, 1]. A
        sample without any of the labels costs 0.

    Raises
    ------
    InputError
        For shapes that do not belong together, label maps that are not whole numbers, or no labels.
    """
    _check(displacement_vox, moving_labels, fixed_labels, labels)
    (u,) = at_least_single(displacement_vox)
    with full_precision(u):
        numbers = [_numbered(x[:, 0], labels) for x in (moving_labels, fixed_labels)]
        return _Dice.apply(u, *numbers, len(set(labels)))


def _check(u: Tensor, moving: Tensor, fixed: Tensor, labels: Sequence[int]) -> None:
    displacement(u)
    expected = (u.shape[0], 1, *u.shape[2:])
    for name, x in (("moving", moving), ("fixed", fixed)):
        if tuple(x.shape) != expected:
            raise InputError(
                f"the {name} labels have shape {tuple(x.shape)}; the displacement's {expected} was"
                " expected"
            )
        if x.is_floating_point():
            raise InputError(
                f"the {name} labels are {x.dtype}; whole numbers were expected: convert them with"
                " .long()"
            )
    if not labels:
        raise InputError("no labels were given for the Dice loss; name those to be scored")


def _numbered(x: Tensor, labels: Sequence[int]) -> Tensor:
    """Replace the labels by 1, 2, ... in ascending order, and all others by 0; int64."""
    values = torch.tensor(sorted(set(labels)), device=x.device)
    x = x.long().contiguous()
    at = torch.searchsorted(values, x).clamp_(max=len(values) - 1)
    return torch.where(values[at] == x, at + 1, 0)


class _Dice(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, moving: Tensor, fixed: Tensor, count: int) -> Tensor:
        slope = torch.zeros_like(u) if ctx.needs_input_grad[0] else None
        loss = u.new_zeros(())
        for n in range(len(u)):  # one sample at a time
            loss += _sample_loss(
                u[n : n + 1], moving[n], fixed[n], count, None if slope is None else slope[n]
            )
        ctx.save_for_backward(None if slope is None else slope.div_(len(u)))
        return loss / len(u)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (slope,) = ctx.saved_tensors
        return slope * grad, None, None, None


def _sample_loss(
    u: Tensor, moving: Tensor, fixed: Tensor, count: int, slope: Tensor | None
) -> Tensor:
    """The loss of one sample; its gradient is added to slope (3, i, j, k).

    u (1, 3, i, j, k); moving, fixed (i, j, k), numbered labels.
    """
    labelled = fixed.reshape(-1).nonzero()[:, 0]
    target = fixed.reshape(-1)[labelled]
    share, of_share = _matches(moving, u[0], labelled, target, slope is not None)

    wanted, there = (
        torch.bincount(target, minlength=count + 1),
        torch.bincount(moving.reshape(-1), minlength=count + 1),
    )
    common = torch.bincount(target, share.double(), minlength=count + 1)
    warped = torch.bincount(moving.reshape(-1), _transposed_ones(u).double(), minlength=count + 1)
    total = (warped + wanted).clamp_(min=torch.finfo(u.dtype).tiny)
    present = wanted + there > 0
    present[0] = False  # labels that do not count
    scored = present.sum().clamp(min=1)
    dice = torch.where(present, 2 * common / total, 0)
    if slope is not None and of_share is not None:
        by_common, by_total = (
            torch.where(present, x / (scored * total), 0).to(u.dtype)
            for x in (torch.full_like(dice, -2), dice)
        )
        slope.view(3, -1)[:, labelled] += by_common[target] * of_share
        with torch.enable_grad():
            at = u.detach().requires_grad_()
            (rest,) = torch.autograd.grad(warp(by_total[moving][None, None], at).sum(), at)
        slope += rest[0]
    return (present.any().double() - dice.sum() / scored).to(u.dtype)


def _transposed_ones(u: Tensor) -> Tensor:
    """The weight that the warp by u gives to each voxel, summed over all places: (i·j·k,)."""
    with torch.enable_grad():
        image = u.new_zeros((1, 1, *u.shape[2:]), requires_grad=True)
        (taken,) = torch.autograd.grad(warp(image, u.detach()).sum(), image)
    return taken.reshape(-1)


class _Points(NamedTuple):
    """Some voxels p of the grid: at = p + u(p) (3, n), and the label number (n,) to find there."""

    at: Tensor
    target: Tensor


def _matches(
    moving: Tensor, u: Tensor, voxels: Tensor, target: Tensor, with_slope: bool
) -> tuple[Tensor, Tensor | None]:
    """Share of `target` in `moving` at p + u(p) of the voxels (n,), and its slope (3, n) by u."""
    share = u.new_empty(len(voxels))
    slope = u.new_empty((3, len(voxels))) if with_slope else None
    block = 1 << (15 if u.device.type == "cpu" else 22)  # on a CPU they fit the cache
    for low in range(0, len(voxels), block):
        part = slice(low, low + block)
        here = torch.stack(torch.unravel_index(voxels[part], moving.shape))
        points = _Points(here + u.view(3, -1)[:, voxels[part]], target[part])
        corner = points.at.floor()
        share[part], of_share = _cell(moving, points, corner, with_slope)
        if slope is None or of_share is None:
            continue
        # at a lattice point the slope is the mean of both sides', as in the compiled warp
        between = (corner == points.at).any(0).nonzero()[:, 0]
        if len(between):
            points = _Points(points.at[:, between], points.target[between])
            other = _cell(moving, points, points.at.ceil() - 1, True)[1]
            assert other is not None
            of_share[:, between] = (of_share[:, between] + other) / 2
        slope[:, part] = of_share
    return share, slope


def _cell(
    moving: Tensor, points: _Points, corner: Tensor, with_slope: bool
) -> tuple[Tensor, Tensor | None]:
    """The same, in the cells whose lower corners are `corner` (3, n)."""
    size = torch.tensor(moving.shape, device=moving.device)[:, None]
    found = torch.stack([corner, corner + 1])
    inside = ((found >= 0) & (found < size)).unbind(0)  # beyond the edge nothing matches
    index = found.clamp_(min=0).minimum(size - 1).long()
    matching = torch.stack(
        [
            (moving[index[a, 0], index[b, 1], index[c, 2]] == points.target)
            & (inside[a][0] & inside[b][1] & inside[c][2])
            for a, b, c in CORNERS
        ]
    )
    matching = matching.to(corner.dtype).view(2, 2, 2, -1)  # 1 where the label matches, else 0
    share, slopes = interpolate_with_slopes(matching, points.at - corner)
    return share, torch.stack(slopes) if with_slope else None
