"""Per-pair refinement: Adam on a displacement, coarse to fine, likeness of images plus smoothness.

No network is involved. The displacement of one pair is optimised, from zero or from the network's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor

from sacbnet.config.registration import WEIGHTS, RefineOptions
from sacbnet.losses import box_mean
from sacbnet.losses.registry import Gradient, Similarity
from sacbnet.losses.terms import similarity_loss, smoothness_loss
from sacbnet.spatial.unfold import unfold
from sacbnet.spatial.warp import sample, warp

from .lattice import coarsened, resized

StepProgress = Callable[[int, int, float], None]  # (steps done, steps in all, loss)
LARGE = 2e6  # voxels
# smallest relative volume of a tetrahedron that a level may leave behind: a larger one costs
# similarity
MARGIN = 0.02
DETAIL = 1 / 3  # share of a start's detail that is taken over


@dataclass(frozen=True, eq=False)
class Guide:
    """Places that are known to belong together.

    Parameters
    ----------
    at : Tensor of float32, shape (n, 3)
        Where the landmarks of the fixed image lie, voxels.
    to : Tensor of float32, shape (n, 3)
        Where they belong in the moving image, voxels of the same grid.
    """

    at: Tensor
    to: Tensor

    def missed(self, u: Tensor, s: int) -> Tensor:
        """Measure how far a displacement misses the landmarks.

        Parameters
        ----------
        u : Tensor, shape (1, 3, i', j', k')
            Displacement at a level, in voxels of the level.
        s : int
            Factor by which the level is coarsened.

        Returns
        -------
        Tensor, scalar
            Sum of the squared distances over the voxels of the level, in voxels² of the level.
        """
        at = (self.at + 0.5) / s - 0.5
        there = at.T.reshape(1, 3, -1, 1, 1)
        found = sample(u, there, padding="border")[0, :, :, 0, 0].T  # (n, 3)
        return (found - (self.to - self.at) / s).square().sum() / u[0, 0].numel()


@dataclass(frozen=True)
class LevelReport:
    """What one level of the refinement did.

    Parameters
    ----------
    level : int
        Factor by which the working grid is coarsened.
    steps : int
        Steps that were taken.
    loss_before, loss_after : float
        Loss on this level's grid before the first step and at the best step: negated squared local
        correlation plus λ times smoothness.
    """

    level: int
    steps: int
    loss_before: float
    loss_after: float


def refine(
    *,
    fixed: Tensor,
    moving: Tensor,
    options: RefineOptions,
    start_vox: Tensor | None = None,
    fixed_mask: Tensor | None = None,
    moving_mask: Tensor | None = None,
    guide: Guide | None = None,
    progress: StepProgress | None = None,
) -> tuple[Tensor, tuple[LevelReport, ...]]:
    """Optimise the displacement that carries one image onto another.

    Minimises ``unlikeness(moved, fixed) + λ · mean-square gradient`` over ``u = start + up(δ)``,
    where δ lies first on a coarse grid, then on finer ones. The optimisation starts from the
    start's coarse motion and one third of its detail (see `_calmed`). The start's folds are mended
    first: an optimiser would be caught in them. No global random state is read or changed, and no
    gradients are kept.

    Parameters
    ----------
    fixed, moving : Tensor, shape (1, c, i, j, k)
        The images, intensities in [0, 1]: c contrasts of each, in one order. Their likeness is the
        mean over the contrasts.
    options : RefineOptions
        Levels, steps, weights.
    start_vox : Tensor, shape (1, 3, i, j, k), or None, default None
        Displacement to start from, voxels; None: zero.
    fixed_mask, moving_mask : Tensor, shape (1, 1, i, j, k), or None, default None
        1 where the image counts. The moving mask is warped along; only voxels inside both masks
        count in the similarity.
    guide : Guide or None, default None
        Landmarks that pull the displacement towards them.
    progress : StepProgress or None, default None
        Called after each step with the steps done, the steps in all, and the loss. Steps that a
        level spares count as done.

    Returns
    -------
    displacement_vox : Tensor, shape (1, 3, i, j, k)
        The displacement, voxels.
    levels : tuple[LevelReport, ...]
        What each level did; () where no step was asked for.
    """
    shape = tuple(fixed.shape[2:])
    start = (
        torch.zeros(1, 3, *shape, device=fixed.device) if start_vox is None else start_vox.float()
    )
    levels = _levels(shape, options)
    each = [_at_level(shape, s, options) for s in levels]
    total = sum(o.iterations for o in each)
    if not total:
        return start, ()
    start = unfold(_calmed(start, levels[0])[0], margin=MARGIN)[0][None]
    delta: Tensor | None = None
    done, reports = 0, []
    for n, (s, o) in enumerate(zip(levels, each, strict=True)):
        level = _level(moving, fixed, fixed_mask, moving_mask, guide, s, o)
        u = coarsened(start, s) / s
        if delta is not None:
            u = u + resized(delta, level.fixed.shape[2:]) * (levels[n - 1] / s)
        found, report = _optimise(level, s, u, o, _Counter(progress, done, total))
        # folds are mended level by level: it is cheap on a coarse lattice, and hardly any folds
        # reach the next level
        found = unfold(found[0], margin=MARGIN)[0][None]
        delta = found - coarsened(start, s) / s
        done += o.iterations
        reports.append(report)
    assert delta is not None
    return start + resized(delta, shape) * levels[-1], tuple(reports)


def improves(
    u_vox: Tensor,
    *,
    fixed: Tensor,
    moving: Tensor,
    options: RefineOptions,
    fixed_mask: Tensor | None = None,
    moving_mask: Tensor | None = None,
    than: Tensor | None = None,
) -> bool:
    """Say whether a displacement has a smaller loss than none, on the last grid but one.

    A network that does not know what it is shown must not lead the refinement astray.

    Parameters
    ----------
    u_vox : Tensor, shape (1, 3, i, j, k)
        A displacement, voxels.
    fixed, moving, options, fixed_mask, moving_mask
        As of `refine`.
    than : Tensor, shape (1, 3, i, j, k), or None, default None
        Another displacement, voxels, that takes the place of none.

    Returns
    -------
    bool
        Whether the loss is smaller.
    """
    s = _levels(tuple(fixed.shape[2:]), options)[-2:][0]
    level = _level(moving, fixed, fixed_mask, moving_mask, None, s, options)
    u = coarsened(u_vox.float(), s) / s
    with torch.no_grad():
        other = torch.zeros_like(u) if than is None else coarsened(than.float(), s) / s
        return bool(level.loss(u, options) < level.loss(other, options))


def _calmed(start: Tensor, s: int) -> Tensor:
    """Keep all coarse motion of a start, and one third of the detail beyond the coarsest grid.

    A network's detail is in part mistaken, and stiff steps cannot take it back; the optimiser finds
    what the images show again. Mean Dice on 10 pairs of the hippocampus set (30 steps): .797 from
    zero; with all, half, a third and none of the detail .806, .810, .808 and .800. On 2 pairs of
    LPBA40 without affine (60 steps), where the network's own .707 is poor: .739 from zero; with
    half and a third .738 and .740.
    """
    return DETAIL * start + (1 - DETAIL) * resized(coarsened(start, s), start.shape[2:])


def _levels(shape: tuple[int, ...], o: RefineOptions) -> list[int]:
    """The factors to use: those that leave every axis three correlation boxes wide, or 1."""
    wanted = o.levels or ((8, 4, 2, 1) if prod(shape) >= LARGE else (4, 2, 1))
    return [s for s in wanted if min(shape) // s >= 3 * o.box(s)] or [1]


def _at_level(shape: tuple[int, ...], s: int, o: RefineOptions) -> RefineOptions:
    """The options of one level.

    In a large volume the steps are less stiff, and at full resolution fewer and shorter.
    """
    if prod(shape) < LARGE:
        return o
    o = replace(o, stiffness=o.stiffness_large)
    if s > 1 or not o.iterations:
        return o
    return replace(
        o,
        iterations=max(1, int(o.at_full * o.iterations + 1e-9)),
        learning_rate=0.3 * o.learning_rate,
    )


@dataclass(frozen=True)
class _Level:
    moving: Tensor
    fixed: Tensor
    likeness: Similarity
    fixed_mask: Tensor | None
    moving_mask: Tensor | None
    guide: Guide | None
    factor: int

    def loss(self, u: Tensor, o: RefineOptions) -> Tensor:
        """u: (1, 3, i', j', k') in voxels of the level."""
        mask = self.fixed_mask
        if self.moving_mask is not None:
            seen = warp(self.moving_mask, u.detach())
            mask = seen if mask is None else mask * seen
        moved = warp(self.moving, u).split(1, 1)
        each = [
            similarity_loss(m, f, self.likeness, mask)
            for m, f in zip(moved, self.fixed.split(1, 1), strict=True)
        ]
        unlike = torch.stack(each).mean()
        loss = WEIGHTS[o.metric] * unlike + o.smoothness * smoothness_loss(u, Gradient())
        return loss if self.guide is None else loss + o.guidance * self.guide.missed(u, self.factor)


def _level(
    moving: Tensor,
    fixed: Tensor,
    fixed_mask: Tensor | None,
    moving_mask: Tensor | None,
    guide: Guide | None,
    s: int,
    o: RefineOptions,
) -> _Level:
    f_mask, m_mask = (None if x is None else coarsened(x, s) for x in (fixed_mask, moving_mask))
    images = coarsened(moving, s), coarsened(fixed, s)
    return _Level(*images, o.likeness(s), f_mask, m_mask, guide, s)


@dataclass(frozen=True)
class _Counter:
    progress: StepProgress | None
    done: int
    total: int

    def __call__(self, step: int, loss: float) -> None:
        if self.progress is not None:
            self.progress(self.done + step, self.total, loss)


def _optimise(
    level: _Level, s: int, start: Tensor, o: RefineOptions, tell: _Counter
) -> tuple[Tensor, LevelReport]:
    """Adam at one level, from and to a displacement (1, 3, i', j', k') in voxels of the level."""
    parameters = torch.zeros_like(start, requires_grad=True)
    adam = torch.optim.Adam([parameters], lr=o.learning_rate, betas=(0.9, 0.99), fused=True)
    best = torch.zeros_like(start)
    losses: list[float] = []
    for step in range(o.iterations):
        adam.zero_grad()
        loss = level.loss(start + _Stiffen.apply(parameters, *o.stiffness), o)
        losses.append(float(loss.detach()))
        # the best parameters are kept, because Adam takes full steps even at an optimum
        if losses[-1] <= min(losses):
            best.copy_(parameters.detach())
        if _stands_still(losses[1:], o):
            tell(o.iterations, losses[-1])
            break
        loss.backward()
        adam.step()
        tell(step + 1, losses[-1])
    return start + _Stiffen.apply(best, *o.stiffness), LevelReport(
        s, len(losses), losses[0], min(losses)
    )


def _stands_still(losses: list[float], o: RefineOptions) -> bool:
    last, before = losses[-o.patience :], losses[-2 * o.patience : -o.patience]
    return len(before) == o.patience and min(before) - min(last) < o.tolerance


class _Stiffen(torch.autograd.Function):
    """`times` box means of side `window`, with zeros beyond the edge.

    The box is symmetric, so the operation is its own transpose.
    """

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
