"""Per-pair refinement: Adam on a displacement, coarse to fine, local correlation plus smoothness.

No network is involved: what is optimised is the displacement of this pair alone, from zero or from the network's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .losses import box_mean, gradient_loss, ncc_loss
from .spatial.unfold import unfold
from .spatial.warp import identity, sample

Progress = Callable[[int, int, float], None]
LARGE = 2e6  # voxels
COARSE_MARGIN = 0.1  # smallest relative volume of a tetrahedron that a level may leave behind


@dataclass(frozen=True)
class RefineOptions:
    """iterations: Adam steps at each level. levels: factors by which the working grid is coarsened, in order;
    None is 4, 2, 1, and 8 before them for a volume of 2 million voxels or more (a whole brain at 1 mm). In such a
    volume level 1 gets a fifth of the steps, a third as long: a step costs eight times as much there, and little is
    left to find.

    smoothness: weight λ of the mean square gradient (voxels of the level). window: side of the correlation box, in
    voxels of the working grid.
    noise: SD of intensity, of a range of 1, at and below which a box counts as noise: it has no say in the correlation.
    stiffness: (side, times) of the box means that turn the optimised parameters into the displacement: Adam gives every
    voxel a step of the same size, and this keeps neighbours together.
    """

    iterations: int = 60
    levels: tuple[int, ...] | None = None
    learning_rate: float = 1.0
    smoothness: float = 1.0
    window: int = 9
    noise: float = 0.018
    stiffness: tuple[int, int] = (5, 2)

    def box(self, factor: int) -> int:
        """Side of the correlation box in voxels of a level: what `window` working voxels come to, at least 5."""
        side = round(self.window / factor)
        return max(side + (side + 1) % 2, min(5, self.window))


def refine(
    moving: Tensor,
    fixed: Tensor,
    options: RefineOptions,
    start_vox: Tensor | None = None,
    fixed_mask: Tensor | None = None,
    moving_mask: Tensor | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """The displacement (1, 3, i, j, k) in voxels that carries `moving` onto `fixed`, both (1, 1, i, j, k) in [0, 1].

    Minimises NCC(moved, fixed) + λ · mean-square gradient over u = start + up(δ), δ first on a coarse lattice. Where
    masks (1, 1, i, j, k) are given only voxels in both (the moving one is warped along) count in the first term.
    `progress(done, total, loss)` is called after each step. No global random state, no gradients kept.
    """
    shape = tuple(fixed.shape[2:])
    start = torch.zeros(1, 3, *shape, device=fixed.device) if start_vox is None else start_vox.float()
    delta: Tensor | None = None
    levels = _levels(shape, options)
    each = [_at_level(shape, s, options) for s in levels]
    for n, (s, o) in enumerate(zip(levels, each, strict=True)):
        masks = (None if mask is None else _coarsen(mask, s) for mask in (fixed_mask, moving_mask))
        level = _Level(_coarsen(moving, s), _coarsen(fixed, s), o.box(s), *masks)
        size = level.fixed.shape[2:]
        base = _coarsen(start, s) / s
        before = torch.zeros_like(base) if delta is None else _resize(delta, size) * (levels[n - 1] / s)
        step = _Counter(progress, sum(e.iterations for e in each[:n]), sum(e.iterations for e in each))
        delta = _optimise(level, base, before, o, step)
        # folds are mended level by level: on a coarse lattice it is cheap, and hardly any reach the next
        delta = delta + (unfold((base + delta)[0], margin=COARSE_MARGIN)[0] - (base + delta)[0])
    assert delta is not None
    return start + _resize(delta, shape) * levels[-1]


def _levels(shape: tuple[int, ...], o: RefineOptions) -> list[int]:
    """The factors to be used: those that leave every axis three correlation boxes wide, or 1."""
    wanted = o.levels or ((8, 4, 2, 1) if prod(shape) >= LARGE else (4, 2, 1))
    return [s for s in wanted if min(shape) // s >= 3 * o.box(s)] or [1]


def _at_level(shape: tuple[int, ...], s: int, o: RefineOptions) -> RefineOptions:
    """The options of one level: fewer and shorter steps at the full resolution of a large volume."""
    if s > 1 or prod(shape) < LARGE:
        return o
    return replace(o, iterations=max(1, o.iterations // 5), learning_rate=0.3 * o.learning_rate)


@dataclass(frozen=True)
class _Level:
    moving: Tensor
    fixed: Tensor
    window: int
    fixed_mask: Tensor | None
    moving_mask: Tensor | None


@dataclass(frozen=True)
class _Counter:
    progress: Progress | None
    done: int
    total: int

    def __call__(self, step: int, loss: Tensor) -> None:
        if self.progress is not None:
            self.progress(self.done + step, self.total, float(loss))


def _optimise(level: _Level, base: Tensor, before: Tensor, o: RefineOptions, report: _Counter) -> Tensor:
    """Adam at one level; returns δ with before ≤ δ's start, (1, 3, i', j', k') in voxels of the level."""
    parameters = torch.zeros_like(before, requires_grad=True)
    here = identity(tuple(level.fixed.shape[2:]), base.device)
    adam = torch.optim.Adam([parameters], lr=o.learning_rate, betas=(0.9, 0.99))
    best, best_loss = torch.zeros_like(before), float("inf")
    for step in range(o.iterations):
        adam.zero_grad()
        u = base + before + _Stiffen.apply(parameters, *o.stiffness)
        at = here + u
        mask = level.fixed_mask
        if level.moving_mask is not None:
            seen = sample(level.moving_mask, at.detach())
            mask = seen if mask is None else mask * seen
        likeness = ncc_loss(sample(level.moving, at), level.fixed, level.window, mask, o.noise**4 * level.window**6)
        loss = likeness + o.smoothness * gradient_loss(u)
        if float(loss.detach()) < best_loss:  # Adam takes full steps even at an optimum: the best seen is kept
            best, best_loss = parameters.detach().clone(), float(loss.detach())
        loss.backward()
        adam.step()
        report(step + 1, loss.detach())
    return before + _Stiffen.apply(best, *o.stiffness)


class _Stiffen(torch.autograd.Function):
    """`times` box means of side `window`. The box is symmetric, so it is its own transpose (zeros beyond the edge)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, window: int, times: int) -> Tensor:
        ctx.args = (window, times)
        for _ in range(times):
            x = box_mean(x, window)
        return x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        window, times = ctx.args
        for _ in range(times):
            grad = box_mean(grad.contiguous(), window)
        return grad, None, None


def _coarsen(x: Tensor, s: int) -> Tensor:
    """Means of s³ blocks; the last block of an axis that s does not divide holds the voxels that are left."""
    return x if s == 1 else F.avg_pool3d(x, s, ceil_mode=True, count_include_pad=False)


def _resize(x: Tensor, size: torch.Size | tuple[int, ...]) -> Tensor:
    return F.interpolate(x, size=tuple(size), mode="trilinear", align_corners=False)
