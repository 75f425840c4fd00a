"""Soft clusters: the share of each voxel in each cluster, differentiable by the descriptor.

This is one round of the EM algorithm for round Gaussians of one width, from the result of K-means.

References
----------
A. P. Dempster et al., "Maximum likelihood from incomplete data via the EM algorithm", JRSS B, 1977.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .kmeans import KMeans


def memberships(features: Tensor, found: KMeans, temperature: Tensor) -> tuple[Tensor, Tensor]:
    """Memberships of vectors in clusters, and the weighted centres.

    The membership is ``m_n(v) = softmax over n of -‖d(v) - S_n‖² / (temperature · s²)``. Here
    ``S_n`` are the centres of K-means, and ``s²`` is the mean squared distance of the vectors to
    their own centres. The new centres are the means weighted by membership.

    The temperature has no unit. As it goes to 0, memberships and centres tend to those of K-means.
    Gradients go to the features, through the distances and the weighted centres, and to the
    temperature. No gradients go through s² and K-means. A cluster without vectors has no members.

    Parameters
    ----------
    features : Tensor, shape (b, p, c)
        The vectors that were clustered.
    found : KMeans
        The result of K-means.
    temperature : Tensor, shape ()
        Softness of the memberships.

    Returns
    -------
    memberships : Tensor, shape (b, p, n)
        Shares that sum to 1 over the clusters.
    centres : Tensor, shape (b, n, c)
        Means of the features, weighted by membership.
    """
    centres = found.centres.to(features.dtype)
    squared = (
        features.square().sum(2, keepdim=True)
        + centres.square().sum(2)[:, None]
        - 2 * features @ centres.mT
    ).clamp(min=0)  # (b, p, n)  # fmt: skip
    with torch.no_grad():
        scale = squared.gather(2, found.labels[..., None]).mean(1, keepdim=True)  # (b, 1, 1)
        # rounding errors of the distances
        noise = torch.finfo(features.dtype).eps * features.square().sum(2).mean(1)
        scale = torch.maximum(scale, noise[:, None, None]).clamp(
            min=torch.finfo(features.dtype).tiny
        )
        present = torch.zeros(centres.shape[:2], dtype=torch.bool, device=features.device)
        present.scatter_(1, found.labels, True)
    scores = -squared / (temperature * scale)
    m = scores.masked_fill(~present[:, None], -torch.inf).softmax(2)
    total = m.sum(1)[..., None]  # (b, n, 1)
    return m, m.mT @ features / torch.where(total > 0, total, 1)
