"""Local repair of a displacement that folds: its voxels are pushed as little as that takes, and others not at all."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from sacbnet.kernels.cpu import tetrahedra as compiled

from .jacobian import CORNERS, folded_cells, folds

BETWEEN = 10  # rounds of pushing before it is asked whether they help
STUCK = 0.7  # share of the cells at fault that are so still: above it they do not
LARGEST = 1e6  # voxels: beyond, the volumes leave what float32 holds
LONGEST = 2.0  # voxels per unit of slope


def unfold(
    displacement_vox: Tensor, margin: float = 0.02, max_rounds: int = 700
) -> tuple[Tensor, dict[str, float]]:
    """Return a displacement without folds, and what was changed.

    displacement_vox: (3, i, j, k), voxels. Every tetrahedron of the result (see `folds`) keeps a relative volume above
    `margin`. Each round projects every tetrahedron that is too small onto the nearest place, to first order, where it
    is not: its four corners are pushed along the gradient of its volume, and a voxel that belongs to several takes the
    mean of their pushes (projected constraints, as in Müller et al., "Position Based Dynamics", 2007). Where ten rounds
    leave most of the cells as they were, the field is replaced by its 3³ mean around those at fault, in a neighbourhood
    that grows, so that in the limit it becomes constant there, which cannot fold. Worked out on the CPU, in one order.

    The report: voxels_changed, voxels_changed_percent, mean_change_vox (of those), largest_change_vox, rounds;
    `remaining_voxels` is 0 unless max_rounds was hit.
    """
    given = displacement_vox.detach().to("cpu", torch.float32).contiguous()
    if min(given.shape[1:]) < 2:  # no volume that could fold
        return displacement_vox.clone(), _report(given, given, 0, 0)
    u, work = given.clone(), _Work(given)
    goal = margin + 0.2 * margin + 0.005
    cells = _faulty(u, margin)
    if not bool(
        (u.abs() < LARGEST).all()
    ):  # nor NaN: for the caller to refuse, pushes would only spread it
        max_rounds = 0
    rounds, smoothings, before = 0, 0, len(cells)
    while len(cells) and rounds < max_rounds:
        rounds += 1
        if rounds % BETWEEN == 0 and len(cells := _faulty(u, margin)) > STUCK * before:
            touched = _smooth(u, _around(cells, 0, 1, u.shape[1:]), 1 + smoothings // 4)
            smoothings += 1
        else:
            touched = work.push(u, cells, margin, goal)
        before = len(cells) if rounds % BETWEEN == 0 else before
        size = torch.Size(n - 1 for n in u.shape[1:])
        cells = _around(touched, -1, 0, u.shape[1:], size) if len(touched) else _faulty(u, margin)
    remaining = int(folds(u, margin).sum()) if len(cells) else 0
    return u.to(displacement_vox) if rounds else displacement_vox.clone(), _report(
        given, u, rounds, remaining
    )


def _report(before: Tensor, after: Tensor, rounds: int, remaining: int) -> dict[str, float]:
    pushed = (after != before).any(dim=0)  # few, as a rule
    change = (after - before)[:, pushed].norm(dim=0)
    changed = change > 1e-6
    count = int(changed.sum())
    return {
        "voxels_changed": count,
        "voxels_changed_percent": 100 * count / pushed.numel(),
        "mean_change_vox": float(change[changed].mean()) if count else 0.0,
        "largest_change_vox": float(change.max()) if len(change) else 0.0,
        "rounds": rounds,
        "remaining_voxels": remaining,
    }


def _faulty(u: Tensor, margin: float) -> Tensor:
    """The voxel numbers of the first corners of the cells at fault."""
    _, j, k = u.shape[1:]
    at = folded_cells(u, margin).nonzero()
    return (at[:, 0] * j + at[:, 1]) * k + at[:, 2]


def _around(
    index: Tensor, low: int, high: int, shape: torch.Size, within: torch.Size | None = None
) -> Tensor:
    """Numbers of the voxels low..high steps along each axis from those numbered, each once, in order; none outside
    `within`, by default the shape."""
    for axis in range(3):
        stride = prod(shape[axis + 1 :])
        steps = torch.arange(low, high + 1)
        place = (index // stride % shape[axis])[:, None] + steps
        inside = (place >= 0) & (place < (within or shape)[axis])
        index = torch.unique((index[:, None] + steps * stride)[inside])
    return index


def _smooth(u: Tensor, index: Tensor, radius: int) -> Tensor:
    """Replace u in place by its 3³ mean, edges repeated, up to `radius` voxels around those numbered; returns which."""
    shape = u.shape[1:]
    index = _around(index, -radius, radius, shape)
    i, j, k = (index // prod(shape[a + 1 :]) % shape[a] for a in range(3))
    total = torch.zeros(3, len(index))
    for a in (-1, 0, 1):
        for b in (-1, 0, 1):
            for c in (-1, 0, 1):
                at = [
                    (x + d).clamp(0, n - 1)
                    for x, d, n in zip((i, j, k), (a, b, c), shape, strict=True)
                ]
                total += u[:, at[0], at[1], at[2]]
    u.view(3, -1)[:, index] = total / 27
    return index


class _Work:
    """Memory for the pushes: their sums (3, i, j, k), how many met at a voxel (i, j, k), and which were pushed."""

    def __init__(self, u: Tensor) -> None:
        # zeros and empties cost nothing until they are written to
        self.push_sum, self.times = torch.zeros_like(u), torch.zeros(u.shape[1:])
        self.touched = torch.empty(self.times.numel(), dtype=torch.int64)

    def push(self, u: Tensor, cells: Tensor, margin: float, goal: float) -> Tensor:
        """Push apart, in place, what is too small in these cells; returns the numbers of the voxels that moved."""
        of = push_apart if not compiled.takes(u) else compiled.push_apart
        touched = of(u, cells, self.push_sum, self.times, self.touched, margin, goal)
        total, times = self.push_sum.view(3, -1), self.times.view(-1)
        u.view(3, -1)[:, touched] += total[:, touched] / times[touched]
        total[:, touched] = 0
        times[touched] = 0
        return touched


def push_apart(
    u: Tensor,
    cells: Tensor,
    push: Tensor,
    times: Tensor,
    touched: Tensor,
    margin: float,
    goal: float,
) -> Tensor:
    """The shortest pushes on the corners of each tetrahedron of relative volume <= margin that, to first order, make
    it `goal`.

    u (3, i, j, k), voxels; cells: voxel numbers of their first corners. The pushes are added to push (3, i, j, k), and
    counted in times (i, j, k), both zero before. Returns the numbers of the voxels that were pushed. touched is for the
    compiled form.
    """
    _, j, k = u.shape[1:]
    flat, sums, counts = u.view(3, -1), push.view(3, -1), times.view(-1)
    for corners, scale in CORNERS:
        at = torch.stack([cells + (a * j + b) * k + c for a, b, c in corners])  # (4, cells)
        places = flat[:, at] + torch.tensor(corners, dtype=u.dtype).T[:, :, None]  # (3, 4, cells)
        a, b, c = (places[:, n] - places[:, 0] for n in (1, 2, 3))
        slopes = [torch.linalg.cross(x, y, dim=0) for x, y in ((b, c), (c, a), (a, b))]
        volume = (a * slopes[0]).sum(0) * scale
        small = ~(volume > margin)
        slope = torch.stack([-(slopes[0] + slopes[1] + slopes[2]), *slopes], 1)[:, :, small] * scale
        far = ((goal - volume[small]) / (slope.square().sum((0, 1)) + 1e-3)).clamp(max=LONGEST)
        index = at[:, small].reshape(-1)
        sums.index_add_(1, index, (far * slope).reshape(3, -1))
        counts.index_add_(0, index, torch.ones(len(index)))
    return counts.nonzero()[:, 0]
