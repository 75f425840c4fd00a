"""The exponential of a velocity: a transform with an inverse, exp(-v).

Source: Arsigny et al., "A Log-Euclidean Framework for Statistics on Diffeomorphisms", MICCAI 2006.
"""

from __future__ import annotations

import torch
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
