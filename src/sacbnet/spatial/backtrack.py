"""Steps without folds: a step is shortened where the whole step would fold the lattice.

A smooth one-to-one map can still fold tetrahedra between its samples, where it shears within a
voxel. Therefore no bound on a velocity and no number of integration steps excludes folds. Tests for
folds and shorter steps, as in a line search, do exclude them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from .exponential import smooth
from .jacobian import folds
from .warp import compose

# Each round halves the step near folds. A place that still folds after these rounds folded before
# the step.
ROUNDS = 12
REACH = 2  # voxels around a fold in which the step is shortened as well
Followed = TypeVar("Followed")


def backtrack(
    step: Tensor, follow: Callable[[Tensor], Followed], folded: Callable[[Followed], Tensor]
) -> Followed:
    """Follow a step, and shorten the step near folds until there are none.

    A step that folds nowhere is taken as a whole. Near a fold, each of up to 12 rounds halves the
    step.

    Parameters
    ----------
    step : Tensor, shape (b, n, i, j, k)
        The step.
    follow : callable
        Computes the result of a step.
    folded : callable
        Finds where such a result folds: a bool tensor of shape (b, 1, i, j, k) on the step's
        lattice.

    Returns
    -------
    object
        The result of the last step that `follow` computed. It still folds if folds existed before
        the step, or if 12 rounds were not enough.
    """
    found = follow(step)
    for _ in range(ROUNDS):
        bad = folded(found)
        if not bool(bad.any()):
            break
        near = F.max_pool3d(bad.to(step.dtype), 2 * REACH + 1, 1, REACH)
        step = step * (1 - smooth(near) / 2)
        found = follow(step)
    return found


def compose_unfolded(outer_vox: Tensor, step_vox: Tensor) -> Tensor:
    """Compose a transform with as much of a step as causes no folds.

    Parameters
    ----------
    outer_vox : Tensor, shape (b, 3, i, j, k)
        Displacement of the transform, in voxels.
    step_vox : Tensor, shape (b, 3, i, j, k)
        Displacement of the step, in voxels. It is applied before the transform.

    Returns
    -------
    Tensor, shape (b, 3, i, j, k)
        ``compose(outer_vox, step, padding="border")`` with the shortened step.
    """
    return backtrack(
        step_vox, lambda step: compose(outer_vox, step, padding="border"), folded_voxels
    )


@torch.no_grad()
def folded_voxels(displacement_vox: Tensor) -> Tensor:
    """Voxels at the corners of folded cells, for a batch; see `sacbnet.spatial.jacobian.folds`.

    Parameters
    ----------
    displacement_vox : Tensor, shape (b, 3, i, j, k)
        Displacements in voxels.

    Returns
    -------
    Tensor of bool, shape (b, 1, i, j, k)
        True at the corners of folded cells.
    """
    return torch.stack([folds(u) for u in displacement_vox])[:, None]
