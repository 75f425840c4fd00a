"""Local repair of a displacement that folds: smooth it where it folds, as little as possible, and nowhere else."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .jacobian import folds


def unfold(displacement_vox: Tensor, margin: float = 0.02, max_rounds: int = 60) -> tuple[Tensor, dict[str, float]]:
    """Return a displacement without folds, and what was changed.

    displacement_vox: (3, i, j, k), voxels. Every tetrahedron of the result (see `folds`) keeps a relative volume above
    `margin`. Each round blends the field with its own 3³ mean around the voxels at fault; the neighbourhood grows
    while they persist, so in the limit the field becomes constant there, which cannot fold.

    The report: voxels_changed_percent, largest_change_vox, rounds; `remaining_voxels` is 0 unless max_rounds was hit.
    """
    u = displacement_vox.clone()
    bad = folds(u, margin)
    rounds = 0
    while bool(bad.any()) and rounds < max_rounds:
        radius = 1 + rounds // 4
        _smooth_at(u, bad, radius)
        rounds += 1
        bad = folds(u, margin)
    change = (u - displacement_vox).abs().amax(dim=0)
    return u, {
        "voxels_changed_percent": 100 * float((change > 1e-6).float().mean()),
        "largest_change_vox": float(change.max()),
        "rounds": float(rounds),
        "remaining_voxels": float(bad.sum()),
    }


def _smooth_at(u: Tensor, bad: Tensor, radius: int) -> None:
    """Blend u in place with its 3³ mean, fully at `bad` voxels and fading to nothing over `radius` voxels around."""
    index = bad.nonzero()
    low = (index.amin(dim=0) - radius - 2).clamp_min(0)
    high = torch.minimum(index.amax(dim=0) + radius + 3, torch.tensor(bad.shape, device=bad.device))
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    weight = bad[box].to(u.dtype)[None, None]
    for _ in range(radius):
        weight = F.max_pool3d(weight, 3, 1, 1)
    weight = torch.maximum(F.avg_pool3d(F.pad(weight, (1,) * 6), 3, 1), bad[box].to(u.dtype)[None, None])[0]
    part = u[(slice(None), *box)]
    mean = F.avg_pool3d(F.pad(part[None], (1,) * 6, mode="replicate"), 3, 1)[0]
    u[(slice(None), *box)] = part + weight * (mean - part)
