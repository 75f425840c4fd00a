"""K-means of voxel descriptors: deterministic, bounded, one sample at a time.

Source: Lloyd 1982; seeding by k-means++ (Arthur & Vassilvitskii 2007). SACB-Net (Cheng et al., CVPR 2025, section 3.2)
clusters the descriptors of each image at each level by itself.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import InputError

SEEDING_SAMPLE = 16384  # voxels among which the seeds are drawn: enough, and drawing from all would cost several rounds


class KMeans(NamedTuple):
    """labels (b, p) int64; centres (b, n, c), at least float32; rounds: those each sample took."""

    labels: Tensor
    centres: Tensor
    rounds: tuple[int, ...]


@torch.no_grad()
def kmeans(
    features: Tensor,
    clusters: int,
    *,
    seeds: Tensor | None = None,
    max_rounds: int = 20,
    tolerance: float = 1e-10,
    seed: int = 0,
) -> KMeans:
    """Cluster the p feature vectors of each sample, features (b, p, c), into `clusters` groups; no gradient.

    Starts from the voxels `seeds` (b, n) where given, else by k-means++ from a generator of its own started with
    `seed`: the global random state is neither read nor changed. A sample ends when the squared shift of its centres,
    summed, is <= tolerance, or after max_rounds (20 rounds cost 0.3% of inertia where convergence takes about 100).
    Samples are clustered one after the other, so a batch gives exactly what its samples give alone.

    A cluster that loses all its voxels is put on the voxel farthest from its centre. A cluster whose seed repeats an
    earlier one's value (squared distance <= tolerance; always so where there are more clusters than distinct voxels)
    takes no part: it stays on its seed, empty, and which of the two has the voxels is not left to rounding.

    Half precision is widened to float32 first. Raises InputError for NaN, infinite or no features, or bad seeds.
    """
    _check(features, clusters, seeds, max_rounds)
    with torch.autocast(features.device.type, enabled=False):
        samples = []
        for s in range(len(features)):
            x = features[s].to(torch.promote_types(features.dtype, torch.float32))  # (p, c)
            start = _plus_plus(x, clusters, seed) if seeds is None else x[seeds[s].to(x.device)]
            samples.append(_lloyd(x, start, max_rounds, tolerance))
    labels, centres, rounds = zip(*samples, strict=True)
    return KMeans(torch.stack(labels), torch.stack(centres), rounds)


def _check(features: Tensor, clusters: int, seeds: Tensor | None, max_rounds: int) -> None:
    if features.ndim != 3 or 0 in features.shape:
        raise InputError(f"the features to cluster have shape {tuple(features.shape)}; (b, p, c), none 0, was expected")
    if clusters < 1 or max_rounds < 1:
        raise InputError(f"K-means got {clusters} clusters and {max_rounds} rounds; at least 1 of each was expected")
    low, high = torch.aminmax(features.detach())  # either is NaN if any value is
    if not bool(torch.isfinite(low) & torch.isfinite(high)):
        raise InputError("the features to cluster hold NaN or infinite values; check the images and the weights")
    if seeds is not None:
        if tuple(seeds.shape) != (features.shape[0], clusters):
            raise InputError(f"the seeds have shape {tuple(seeds.shape)}; {(features.shape[0], clusters)} was expected")
        if int(seeds.min()) < 0 or int(seeds.max()) >= features.shape[1]:
            raise InputError(f"a seed lies outside the {features.shape[1]} voxels; indices from 0 were expected")


def _plus_plus(x: Tensor, clusters: int, seed: int) -> Tensor:
    """Seeds of one sample: x (p, c) -> (n, c).

    Drawing a voxel with probability ~ d² is finding the least of (exponential variate / d²). The variates come from
    the CPU whatever the device, so every device draws alike.
    """
    generator = torch.Generator().manual_seed(seed)
    if len(x) > SEEDING_SAMPLE:
        x = x[torch.randint(len(x), (SEEDING_SAMPLE,), generator=generator).to(x.device)]
    race = torch.empty(clusters, len(x), dtype=torch.float64).exponential_(generator=generator).to(x)
    centres = [x[race[0].argmin()]]
    nearest = torch.full_like(race[0], torch.inf)
    for n in range(1, clusters):
        nearest = torch.minimum(nearest, (x - centres[-1]).square().sum(1))
        centres.append(x[(race[n] / nearest).argmin()])  # all 0: infinite everywhere, the first voxel is repeated
    return torch.stack(centres)


def _lloyd(x: Tensor, centres: Tensor, max_rounds: int, tolerance: float) -> tuple[Tensor, Tensor, int]:
    """Lloyd's rounds on one sample: x (p, c), centres (n, c) -> labels (p,), their means (n, c), rounds."""
    names = torch.arange(len(centres), device=x.device)[:, None]
    gaps = (centres[:, None] - centres).square().sum(-1)
    duplicate = (gaps <= tolerance).tril(-1).any(1)  # (n,)
    rounds, shift = 0, torch.inf
    while rounds < max_rounds and shift > tolerance:
        rounds += 1
        labels = _nearest(x, centres, duplicate)
        members = (labels == names).to(x.dtype)  # (n, p); a product of matrices sums in a fixed order, scatter does not
        counts = members.sum(1)
        means = torch.where(counts[:, None] > 0, (members @ x) / counts.clamp(min=1)[:, None], centres)
        emptied = (counts == 0) & ~duplicate
        if bool(emptied.any()):
            distance = (x - centres[labels]).square().sum(1)
            far = distance.topk(min(len(centres), len(x))).indices
            means[emptied] = x[far[: int(emptied.sum())]]
        shift = float((means - centres).square().sum())
        centres = means
    return labels, centres, rounds


def _nearest(x: Tensor, centres: Tensor, duplicate: Tensor) -> Tensor:
    """The nearest centre of each voxel, the first of equals: |s|² - 2 x·s orders as the distance does."""
    norms = centres.square().sum(1).masked_fill(duplicate, torch.inf)
    scores = torch.addmm(norms[:, None], centres, x.T, alpha=-2)  # (n, p)
    return scores.min(0).indices  # argmin is ten times slower here
