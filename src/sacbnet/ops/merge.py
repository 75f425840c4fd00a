"""The number of clusters of an image: clusters of K-means are merged while little is lost.

Each step merges the pair of clusters whose merger raises the sum of squared distances to the
centres least. The clusterings are nested, so one K-means serves all numbers of clusters.

References
----------
J. H. Ward, "Hierarchical grouping to optimize an objective function", JASA 1963.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .kmeans import KMeans


@torch.no_grad()
def merge(found: KMeans, features: Tensor, least_share: float) -> KMeans:
    """Merge clusters until the next merger would cost too much variance.

    The remaining clusters of each sample are numbered 0, 1, ... in the order in which their centres
    first appear. Clusters without vectors are removed. A sample gives the same result in a batch as
    alone.

    Parameters
    ----------
    found : KMeans
        The result of K-means.
    features : Tensor, shape (b, p, c)
        The vectors that were clustered.
    least_share : float
        No merger happens that costs this share of the variance of the features, or more.

    Returns
    -------
    KMeans
        The merged clusters. There are as many centres as the sample with the most clusters needs.
        Further centres of the other samples are 0 and have no vectors.
    """
    labels, centres = found.labels, found.centres
    b, n, c = centres.shape
    counts = torch.zeros(b, n, dtype=torch.int64, device=labels.device)
    counts.scatter_add_(1, labels, torch.ones_like(labels))
    variance = features.to(centres.dtype).var(1, correction=0).sum(1)  # (b,)
    merged = [
        _ward(
            of_sample.double().cpu().numpy(),
            sizes.cpu().numpy(),
            least_share * float(v) * labels.shape[1],
        )
        for of_sample, sizes, v in zip(centres, counts, variance, strict=True)
    ]
    most = max(len(new) for new, _ in merged)
    padded = np.zeros((b, most, c))
    for s, (new, _) in enumerate(merged):
        padded[s, : len(new)] = new
    names = torch.from_numpy(np.stack([name for _, name in merged])).to(labels.device)  # (b, n)
    return KMeans(names.gather(1, labels), torch.from_numpy(padded).to(centres), found.rounds)


def _ward(centres: np.ndarray, counts: np.ndarray, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """Merge centres (n, c) of clusters with these counts.

    Returns the remaining centres (m, c), and the new number of each old cluster (n,).
    """
    groups = [[int(g)] for g in np.flatnonzero(counts)]
    centre = [centres[g[0]] for g in groups]
    size = [float(counts[g[0]]) for g in groups]
    while len(groups) > 1:
        middle, weight = np.stack(centre), np.array(size)
        cost = weight[:, None] * weight / (weight[:, None] + weight)
        cost = cost * np.square(middle[:, None] - middle).sum(2)
        cost[np.tril_indices(len(groups))] = np.inf
        a, b = divmod(int(cost.argmin()), len(groups))
        if cost[a, b] >= limit:
            break
        centre[a] = (size[a] * centre[a] + size[b] * centre[b]) / (size[a] + size[b])
        size[a] += size[b]
        groups[a] += groups[b]
        del groups[b], centre[b], size[b]
    names = np.zeros(len(counts), dtype=np.int64)
    for name, group in enumerate(groups):
        names[group] = name
    return np.stack(centre), names
