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


@torch.no_grad()
def match_spread(moving: Tensor, fixed: Tensor, window: int = 3) -> Tensor:
    """Trace of the covariance of the offset under the softmax of `match`, voxels²: (b, c, i, j, k) twice -> (b, 1, ..).

    Running sums over the offsets: one score a voxel is held at a time. No gradient.
    """
    r = window // 2
    with torch.autocast(fixed.device.type, enabled=False):
        padded, fixed = F.pad(moving.float(), (r,) * 6), fixed.float()
        i, j, k = fixed.shape[2:]
        top = torch.full_like(fixed[:, 0], -torch.inf)
        total, first, second = torch.zeros_like(top), [torch.zeros_like(top) for _ in range(3)], torch.zeros_like(top)
        for x, y, z in product(range(window), repeat=3):
            score = (padded[:, :, x : x + i, y : y + j, z : z + k] * fixed).sum(1)
            new = torch.maximum(top, score)
            fade, weight = (top - new).exp(), (score - new).exp()
            top, total = new, total * fade + weight
            offset = (x - r, y - r, z - r)
            first = [sum_ * fade + o * weight for sum_, o in zip(first, offset, strict=True)]
            second = second * fade + sum(o * o for o in offset) * weight
        spread = second / total - sum((sum_ / total).square() for sum_ in first)
    return spread.clamp(min=0)[:, None]
