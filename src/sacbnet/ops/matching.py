"""Local matching without parameters: where, within one voxel, does each fixed voxel find its like?

Source: Cheng et al., SACB-Net, CVPR 2025, section 3.3.
"""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from ..compiled import matching as compiled
from ..compiled import native
from .dispatch import triton_serves


def match(moving: Tensor, fixed: Tensor) -> Tensor:
    """Expected offset of each fixed voxel's match: moving, fixed (b, c, i, j, k) -> (b, 3, i, j, k), voxels in [-1, 1].

    By the fastest form for the device at hand; `match_plain` defines the result. Sums and result are at least float32.
    """
    if native.usable(moving, fixed) and moving.shape == fixed.shape:  # unlike shapes: the plain form's error
        return compiled.match(moving, fixed)
    if triton_serves(moving, fixed):
        from .gpu.matching import match as match_on_gpu  # not to be imported without Triton

        return match_on_gpu(moving, fixed)
    return match_plain(moving, fixed)


def match_plain(moving: Tensor, fixed: Tensor) -> Tensor:
    """Expected offset of each fixed voxel's match: moving, fixed (b, c, i, j, k) -> (b, 3, i, j, k), voxels in [-1, 1].

    Softmax over the raw dot products of a fixed feature vector with the 27 moving ones around it; zeros beyond the
    edge compete like others. At least float32 throughout: unscaled scores overflow half precision. The 27 products
    are summed one at a time, so no more than one feature map is held besides the 27 scores.
    """
    dtype = torch.promote_types(torch.promote_types(moving.dtype, fixed.dtype), torch.float32)
    with torch.autocast(fixed.device.type, enabled=False):
        padded, fixed = F.pad(moving.to(dtype), (1,) * 6), fixed.to(dtype)
        i, j, k = fixed.shape[2:]
        steps = list(product(range(3), repeat=3))
        scores = torch.stack([(padded[:, :, x : x + i, y : y + j, z : z + k] * fixed).sum(1) for x, y, z in steps], 1)
        offsets = torch.tensor(steps, device=fixed.device, dtype=dtype) - 1  # (27, 3)
        return torch.einsum("btijk,ta->baijk", scores.softmax(1), offsets)
