"""A start for refinement where no network helps: a discrete search, coarse to fine.

At each level every voxel of a coarse lattice tries the offsets of a small window. The images are
compared by MIND-SSC, so their contrasts may differ. Then a smooth displacement is found by turns:
each voxel takes the offset whose cost plus coupling to the smooth displacement is least, and the
offsets are averaged. The coupling grows from turn to turn.

References
----------
M. P. Heinrich, B. W. Papież, J. A. Schnabel, H. Handels, "Non-parametric discrete registration with
convex optimisation", WBIR 2014.

H. Siebert, L. Hansen, M. P. Heinrich, "Fast 3D registration with accurate optimisation and little
learning for Learn2Reg 2021", 2021 (ConvexAdam).
"""

from __future__ import annotations

from itertools import product
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from sacbnet.losses.mind import mind_descriptors
from sacbnet.spatial.warp import compose, warp

from .lattice import coarsened, resized

LARGE = 2e6  # voxels of a volume whose lattices are twice as coarse
# (voxels between the points of the lattice, reach of the window in these steps)
PLAN = ((8, 2), (4, 2), (2, 1))
COUPLING = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)  # per squared step of the lattice
LEAST_SIDE = 4  # points of a lattice along an axis
SILENT = 1e-4  # weight of a place that has no say, and of a step that nothing asks for


@torch.no_grad()
def convex_start(
    *,
    fixed: Tensor,
    moving: Tensor,
    fixed_mask: Tensor | None = None,
    moving_mask: Tensor | None = None,
) -> Tensor:
    """Find a smooth displacement by discrete search.

    Parameters
    ----------
    fixed, moving : Tensor, shape (1, 1, i, j, k)
        The images, of any contrast.
    fixed_mask, moving_mask : Tensor, shape (1, 1, i, j, k), or None, default None
        1 where the image counts. A place without a say takes the displacement of its
        neighbourhood.

    Returns
    -------
    Tensor, shape (1, 3, i, j, k)
        The displacement, voxels. It may fold.
    """
    shape = tuple(fixed.shape[2:])
    coarser = 2 if prod(shape) >= LARGE else 1
    u = torch.zeros(1, 3, *shape, device=fixed.device)
    for step, reach in PLAN:
        s = step * coarser
        if min(shape) >= LEAST_SIDE * s:
            found = _search(fixed, moving, fixed_mask, moving_mask, u, s, reach)
            u = compose(u, s * resized(found, shape), padding="border")
    return u


def _search(
    fixed: Tensor,
    moving: Tensor,
    fixed_mask: Tensor | None,
    moving_mask: Tensor | None,
    u: Tensor,
    s: int,
    reach: int,
) -> Tensor:
    """What is left to find after u: (1, 3, ...) on a lattice s times as coarse, in its steps."""
    f, m = _described(fixed, s), _described(warp(moving, u), s)
    size = f.shape[2:]
    window = range(-reach, reach + 1)
    offsets = torch.tensor(list(product(window, repeat=3)), dtype=f.dtype, device=f.device)
    inside = torch.ones_like(f[:, :1])
    if moving_mask is not None:
        inside = coarsened(warp(moving_mask, u), s)
    costs, counts = f.new_empty(len(offsets), *size), f.new_empty(len(offsets), *size)
    around_m, around_inside = (F.pad(x, (reach,) * 6, mode="replicate") for x in (m, inside))
    for n, (i, j, k) in enumerate(offsets.long().tolist()):
        x, y, z = (
            slice(reach + o, reach + o + length) for o, length in zip((i, j, k), size, strict=True)
        )
        costs[n] = (f - around_m[:, :, x, y, z]).square_().mean(1)[0]
        counts[n] = around_inside[0, 0, x, y, z]
    say = torch.ones_like(inside) if fixed_mask is None else coarsened(fixed_mask, s)
    if moving_mask is not None:  # outside the moving image an offset is as good as the others
        known = (costs * counts).sum(0) / counts.sum(0).clamp(min=SILENT)
        costs = costs * counts + known * (1 - counts)
        say = say * inside
    # where all offsets cost the same, nothing moves
    costs = costs * say[0] + SILENT * offsets.square().sum(1).view(-1, 1, 1, 1)
    return _coupled(_averaged(costs[None])[0], offsets, say.clamp(min=SILENT))


def _coupled(costs: Tensor, offsets: Tensor, say: Tensor) -> Tensor:
    """The smooth displacement (1, 3, i, j, k) of least cost.

    costs (n, i, j, k); offsets (n, 3); say (1, 1, i, j, k), the weight of a place in the averages.
    """
    weights = _averaged(_averaged(say))

    def smooth(chosen: Tensor) -> Tensor:
        found = offsets[chosen].permute(3, 0, 1, 2)[None]
        return _averaged(_averaged(found * say)) / weights

    v = smooth(costs.argmin(0))
    for weight in COUPLING:
        apart = torch.zeros_like(costs)
        for axis in range(3):
            apart += (offsets[:, axis, None, None, None] - v[0, axis]).square_()
        v = smooth(apart.mul_(weight).add_(costs).argmin(0))
    return v


def _described(image: Tensor, s: int) -> Tensor:
    """MIND-SSC at half the spacing of the lattice, averaged onto it: (1, 12, i', j', k')."""
    half = s // 2
    return coarsened(mind_descriptors(coarsened(image, half)[0, 0], 1, 1)[None], s // half)


def _averaged(x: Tensor) -> Tensor:
    """Means of 3³ voxels; the edges are repeated."""
    return F.avg_pool3d(F.pad(x, (1,) * 6, mode="replicate"), 3, 1)
