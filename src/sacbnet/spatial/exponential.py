"""The exponential of a velocity: a transform with an inverse, exp(-v).

Source: Arsigny et al., "A Log-Euclidean Framework for Statistics on Diffeomorphisms", MICCAI 2006.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .warp import compose


def exponential(velocity_vox: Tensor, steps: int = 7) -> Tensor:
    """Where points flow to in unit time: velocity (b, 3, i, j, k) -> displacement (b, 3, i, j, k), both in voxels.

    Scaling and squaring: `steps` times the displacement v / 2^steps is composed with itself. Beyond the edge the
    velocity is that of the edge. The result is at least float32.
    """
    wide = torch.promote_types(velocity_vox.dtype, torch.float32)
    displacement_vox = velocity_vox.to(wide) / 2**steps
    for _ in range(steps):
        displacement_vox = compose(displacement_vox, displacement_vox, padding="border")
    return displacement_vox


def smooth(velocity: Tensor) -> Tensor:
    """Means of three voxels along each axis, twice: matching may send neighbours to either side of a border, and no
    number of small steps makes a map of that. (b, n, i, j, k) -> same."""
    around = F.pad(velocity, (2,) * 6, mode="replicate")
    for axis in (
        2,
        3,
        4,
    ):  # sums of slices: five times as fast as avg_pool3d on a CPU, with its gradient
        a, b, c, d, e = (around.narrow(axis, n, velocity.shape[axis]) for n in range(5))
        around = ((a + e).add(b + d, alpha=2).add(c, alpha=3)) / 9
    return around
