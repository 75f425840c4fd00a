"""Steps that fold nothing: a step is shortened where the whole of it would turn a piece of the lattice over.

A smooth one-to-one map may still turn tetrahedra over between its samples, where it shears within a voxel; so no bound
on a velocity and no number of integration steps excludes it. Looking and stepping back, as a line search does, can.
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

ROUNDS = (
    12  # each halves the step where it folds; what folds in spite of that folded before the step
)
REACH = 2  # voxels around a fold that are slowed down as well
Followed = TypeVar("Followed")


def backtrack(
    step: Tensor, follow: Callable[[Tensor], Followed], folded: Callable[[Followed], Tensor]
) -> Followed:
    """`follow(step)`, the step (b, n, i, j, k) halved about the folds until there are none.

    folded: where on the step's lattice a step that was followed folds, (b, 1, i, j, k) bool. One that folds nowhere is
    taken whole.
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
    """`compose(outer, step, padding="border")` of as much of the step as folds nothing: (b, 3, i, j, k), voxels."""
    return backtrack(
        step_vox, lambda step: compose(outer_vox, step, padding="border"), folded_voxels
    )


@torch.no_grad()
def folded_voxels(displacement_vox: Tensor) -> Tensor:
    """(b, 3, i, j, k) -> (b, 1, i, j, k) bool: `jacobian.folds` of each of the batch."""
    return torch.stack([folds(u) for u in displacement_vox])[:, None]
