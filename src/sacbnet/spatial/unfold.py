"""Local repair of a displacement that folds: few voxels move, and by as little as needed."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from sacbnet.kernels.cpu import tetrahedra as compiled

from .jacobian import CORNERS, folded_cells, folds

BETWEEN = 10  # rounds of pushing between two tests of whether they help
STUCK = 0.7  # above this share of cells that are still folded, the pushes do not help
LARGEST = 1e6  # voxels; the volumes of larger displacements exceed the range of float32
# Visits of cells, per voxel and in any volume, after which the repair ends. Usual folds take fewer
# than 3 per voxel; a field that is folded everywhere would take 700, which are minutes.
MOST_WORK, ALWAYS = 10, 10_000_000
LONGEST = 2.0  # longest push, in voxels per unit of slope


def unfold(
    displacement_vox: Tensor, margin: float = 0.02, max_rounds: int = 700
) -> tuple[Tensor, dict[str, float]]:
    """Return a displacement without folds, and a report of the changes.

    Every tetrahedron of the result (see `sacbnet.spatial.jacobian.folds`) has a relative volume
    above `margin`. Each round projects every tetrahedron that is too small onto the nearest shape
    that is large enough, to first order: its four corners are pushed along the gradient of its
    volume. A voxel of several tetrahedra takes the mean of their pushes.

    Where ten rounds leave most of the cells folded, the displacement near these cells is replaced
    by its 3×3×3 mean. The neighbourhood grows with each replacement. In the limit the displacement
    is constant there, and a constant displacement cannot fold.

    The computation runs on the CPU in a fixed order. It ends after `max_rounds` rounds, or after 10
    visits of cells per voxel and 10 million more: its time is bounded by the volume, however much
    is folded.

    Parameters
    ----------
    displacement_vox : Tensor, shape (3, i, j, k)
        The displacement in voxels.
    margin : float, default 0.02
        Relative volume that each tetrahedron of the result exceeds.
    max_rounds : int, default 700
        Largest number of rounds.

    Returns
    -------
    displacement_vox : Tensor, shape (3, i, j, k)
        The repaired displacement in voxels.
    report : dict of str to float
        ``voxels_changed``, ``voxels_changed_percent``, ``mean_change_vox`` (over the changed
        voxels), ``largest_change_vox``, ``rounds``, and ``remaining_voxels``: the number of voxels
        at folds, 0 unless one of the two limits was reached or the displacement is not finite.

    References
    ----------
    M. Müller et al., "Position Based Dynamics", Journal of Visual Communication and Image
    Representation, 2007, for the projected constraints.
    """
    given = displacement_vox.detach().to("cpu", torch.float32).contiguous()
    if min(given.shape[1:]) < 2:  # there is no volume that could fold
        return displacement_vox.clone(), _report(given, given, 0, 0)
    u, work = given.clone(), _Work(given)
    goal = margin + 0.2 * margin + 0.005
    cells = _faulty(u, margin)
    # NaN fails this comparison, too. Pushes would only spread such values; the caller rejects them.
    if not bool((u.abs() < LARGEST).all()):
        max_rounds = 0
    rounds, smoothings, before = 0, 0, len(cells)
    left = MOST_WORK * given[0].numel() + ALWAYS
    while len(cells) and rounds < max_rounds and left > 0:
        rounds += 1
        left -= len(cells)
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
    pushed = (after != before).any(dim=0)  # usually few
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
    """Voxel numbers of the first corners of the folded cells."""
    _, j, k = u.shape[1:]
    at = folded_cells(u, margin).nonzero()
    return (at[:, 0] * j + at[:, 1]) * k + at[:, 2]


def _around(
    index: Tensor, low: int, high: int, shape: torch.Size, within: torch.Size | None = None
) -> Tensor:
    """Numbers of the voxels that lie `low` to `high` steps along each axis from the given voxels.

    Each number appears once, in ascending order. Voxels outside `within` (by default the shape) are
    left out.
    """
    for axis in range(3):
        stride = prod(shape[axis + 1 :])
        steps = torch.arange(low, high + 1)
        place = (index // stride % shape[axis])[:, None] + steps
        inside = (place >= 0) & (place < (within or shape)[axis])
        index = torch.unique((index[:, None] + steps * stride)[inside])
    return index


def _smooth(u: Tensor, index: Tensor, radius: int) -> Tensor:
    """Replace u in place by its 3×3×3 mean up to `radius` voxels around the given voxels.

    The edges are repeated. Returns the numbers of the replaced voxels.
    """
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
    """Memory for the pushes.

    It holds the sums of the pushes (3, i, j, k), the number of pushes at each voxel (i, j, k), and
    the numbers of the pushed voxels.
    """

    def __init__(self, u: Tensor) -> None:
        # zeros and empty memory cost nothing until they are written to
        self.push_sum, self.times = torch.zeros_like(u), torch.zeros(u.shape[1:])
        self.touched = torch.empty(self.times.numel(), dtype=torch.int64)

    def push(self, u: Tensor, cells: Tensor, margin: float, goal: float) -> Tensor:
        """Push the corners of the small tetrahedra of these cells apart, in place.

        Returns the numbers of the voxels that moved.
        """
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
    """Shortest pushes on the corners of small tetrahedra that restore their volume, to first order.

    Parameters
    ----------
    u : Tensor, shape (3, i, j, k)
        The displacement in voxels.
    cells : Tensor of int64, shape (n,)
        Voxel numbers of the first corners of the cells.
    push : Tensor, shape (3, i, j, k)
        Zeros; the pushes are added to it.
    times : Tensor, shape (i, j, k)
        Zeros; the number of pushes at each voxel is added to it.
    touched : Tensor of int64, shape (i * j * k,)
        Memory for the compiled form; unused here.
    margin : float
        Tetrahedra with at most this relative volume are pushed.
    goal : float
        Relative volume that the pushes aim at.

    Returns
    -------
    Tensor of int64
        Numbers of the voxels that were pushed.
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
