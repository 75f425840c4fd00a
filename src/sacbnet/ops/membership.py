"""Soft clusters: how much each voxel belongs to each, differentiable by its descriptor.

Source: the soft assignment of the EM algorithm for round Gaussians of one width (Dempster et al., JRSS B 1977), one
round of it, from where K-means ends.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .kmeans import KMeans


def memberships(features: Tensor, found: KMeans, temperature: Tensor) -> tuple[Tensor, Tensor]:
    """features (b, p, c), what K-means `found`, temperature () -> memberships (b, p, n) and centres (b, n, c).

    m_n(v) = softmax over n of -‖d(v) - S_n‖² / (temperature · s²), s² being the mean squared distance of the voxels to
    their own centres; then the centres are the means weighted by membership. The temperature has no unit, and the two
    tend to K-means' own as it goes to 0. Gradients go to features (through the distances and through the centres, not
    through s² and K-means) and temperature. A cluster without voxels has no members.
    """
    centres = found.centres.to(features.dtype)
    squared = (
        features.square().sum(2, keepdim=True)
        + centres.square().sum(2)[:, None]
        - 2 * features @ centres.mT
    ).clamp(min=0)  # (b, p, n)  # fmt: skip
    with torch.no_grad():
        scale = squared.gather(2, found.labels[..., None]).mean(1, keepdim=True)  # (b, 1, 1)
        noise = torch.finfo(features.dtype).eps * features.square().sum(2).mean(
            1
        )  # of the distances' own rounding
        scale = torch.maximum(scale, noise[:, None, None]).clamp(
            min=torch.finfo(features.dtype).tiny
        )
        present = torch.zeros(centres.shape[:2], dtype=torch.bool, device=features.device)
        present.scatter_(1, found.labels, True)
    scores = -squared / (temperature * scale)
    m = scores.masked_fill(~present[:, None], -torch.inf).softmax(2)
    total = m.sum(1)[..., None]  # (b, n, 1)
    return m, m.mT @ features / torch.where(total > 0, total, 1)
